"""A disk that really has no space left, where this machine lets a test make one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server_fixtures import ROOT, environment

MOUNT = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -m tests.faults.full_disk "$1"'


def can_mount(folder: Path) -> bool:
    """Whether a test may make a disk of its own, which nobody else sees."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    tried = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64k none "$1"', "sh", str(folder)]
    try:
        return subprocess.run(tried, check=False, capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


@pytest.mark.fault("F12", "a disk of 1 MiB runs full, and has room again")
def test_a_full_disk_loses_nothing_acknowledged_and_heals(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("a disk can be made only as root on Linux; the limit of a file's size stands in elsewhere")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(disk), sys.executable],
        check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment(),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "full" in found["refused"]
    assert "full" in found["trouble"]
    assert found["still"], "there was room before it was made"
    assert found["seen"] >= found["shown"], "a full disk must not keep anybody from reading"
    assert found["healed"]
    assert found["again"]
    assert found["kept"] == found["taken"], "what was acknowledged is gone"
    assert found["unfinished"] == found["taken"] + 1, "a message became two runs, or none"
