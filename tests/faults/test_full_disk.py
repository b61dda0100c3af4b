"""A disk that really has no space left, where this machine lets a test make one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.processes import free_port, wait_until
from tests.server_fixtures import ROOT, Client, ServerProcess, environment, fold

SERVE = 'mount -t tmpfs -o size=40m none "$1" && exec "$2" -m edchat_server --port "$3" --data-dir "$1"'
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


@pytest.mark.fault("F12", "the disk under a running server runs full, and has room again")
def test_a_server_refuses_what_it_cannot_keep_says_why_and_recovers_by_itself(tmp_path: Path) -> None:
    disk, port = tmp_path / "disk", free_port()
    disk.mkdir()
    if not can_mount(disk):
        pytest.skip("a disk can be made only as root on Linux")
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        ["unshare", "-m", "sh", "-c", SERVE, "sh", str(disk), sys.executable, str(port)], env=environment(), stderr=log,
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: health(url)[0] == 200, what="the server is up")
            client = Client(ServerProcess(process, url, disk, {"token": None})).open()  # type: ignore[arg-type]
            client.say("Create a story for Login")
            client.until_over()

            filler = Path(f"/proc/{process.pid}/root{disk}/somebody-elses")
            filler.write_bytes(b"x" * 30 * 2**20)
            said = client.say("Create a story for Logout")
            nack = client.until("nack")
            assert (nack["ref"], nack["data"]["code"], nack["data"]["final"]) == (said, "storage", False)
            assert "disk is nearly full" in nack["data"]["message"]
            status, body = health(url)
            assert status == 503
            assert "disk is nearly full" in body["reason"]
            late = Client(client.server, client="late").open()
            while late.cursor < late.welcome["head"]:
                late.recv()
            assert fold(late.log) == fold(client.log), "a full disk must not keep anybody from reading"
            late.close()

            filler.unlink()
            wait_until(lambda: health(url)[0] == 200, what="the server has recovered")
            client.csn -= 1
            client.say("Create a story for Logout", id=said)
            assert not client.until("ack")["data"].get("duplicate"), "what was refused had been kept"
            assert client.until_over() == "completed"
            client.close()
        finally:
            process.terminate()
            process.wait(15)


def health(url: str) -> tuple[int, dict[str, str]]:
    try:
        answer = httpx.get(f"{url}/health", trust_env=False, timeout=5)
    except httpx.TransportError:
        return 0, {}
    return answer.status_code, answer.json()
