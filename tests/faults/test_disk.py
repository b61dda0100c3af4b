"""A disk that takes no more, under a running server: it acknowledges nothing that is not stored, and recovers alone."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.faults import oracle
from tests.processes import wait_until
from tests.server_fixtures import Client, ServerProcess, server

from edchat_widget import Chat

if sys.platform != "win32":
    import resource

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process's files by prlimit")



@contextmanager
def no_writes(pid: int | None) -> Iterator[None]:
    """Each write of this process to a file fails while the block runs."""
    assert pid is not None
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # killed meanwhile
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """The disk has not one byte left while the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):  # there is no room for one more
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.fault("F12", "a small disk is full for 2 s, in the middle of an answer")
@pytest.mark.parametrize("after", [1, 5])
def test_a_disk_that_is_full_for_a_while_delays_and_loses_nothing(
    small_disk: Path, tmp_path: Path, after: int
) -> None:
    with interrupted(small_disk / "data", tmp_path / "home", after) as (running, _), full(small_disk):
        time.sleep(2)
        assert running.process.poll() is None, "it did not survive"
        assert not healthy(running)
        assert oracle.stories(running) in ([], ["Login"]), "it still reads"


@pytest.mark.fault("F12", "each write of the server fails for 2 s, in the middle of an answer")
@pytest.mark.parametrize("after", [1, 5])
def test_a_disk_that_takes_no_write_delays_and_loses_nothing(tmp_path: Path, after: int) -> None:
    with (
        interrupted(tmp_path / "data", tmp_path / "home", after) as (running, _),
        no_writes(running.process.pid),
        running.http() as http,
    ):
        time.sleep(2)
        assert running.process.poll() is None, "it did not survive"
        said = http.get("/health").json()
        assert said["status"] == "unhealthy"
        assert "disk" in said["reason"], "the reason is the disk, whatever else does not work for it"


@contextmanager
def interrupted(data: Path, home: Path, after: int) -> Iterator[tuple[ServerProcess, Chat]]:
    """Run the block after so many events of an answer, with another message behind it; check that both are answered."""
    with (
        server(data, "--pause", "0.02", EDCHAT_TOKEN="t") as running,
        Chat(running.url, token="t", session="s1", data_dir=home, reconnect_interval=0.2) as chat,
    ):
        watcher = Client(running, client="watcher").open()
        asked = [chat.send("make Login")]
        while watcher.cursor < after:
            watcher.recv()
        shown = dict(watcher.log)
        watcher.close()
        threading.Timer(0.3, lambda: asked.append(chat.send("make Logout"))).start()
        yield running, chat
        wait_until(lambda: len(asked) == 2, what="the second message is sent")
        assert [pending.result(60).state for pending in asked] == ["complete", "complete"]
        assert oracle.stories(running) == ["Login", "Logout"]
        view = oracle.check_session(running, shown=[shown], states=["completed", "completed"])
        assert oracle.made(view) == ["STORY-1", "STORY-2"]
        wait_until(lambda: healthy(running), what="it says that it is well again")


def healthy(running: ServerProcess) -> bool:
    with running.http() as http:
        return bool(http.get("/health").status_code == 200)


@pytest.mark.fault("F12", "kill -9 while each write fails")
def test_a_server_killed_on_a_disk_that_fails_starts_again_when_it_works(tmp_path: Path) -> None:
    with server(tmp_path / "data", "--pause", "0.02") as first:
        client = Client(first).open()
        client.say("make Login", id="m-1")
        client.until("tool_execution", status="completed")
        with no_writes(first.process.pid):
            time.sleep(0.5)
            first.kill()
        shown = oracle.read_to_the_cut(client)
    with server(tmp_path / "data") as second:
        client.server = second
        client.open()
        oracle.until_over(client)
        view = oracle.check_session(second, shown=[shown], stayed=client)
        assert (oracle.made(view), oracle.stories(second)) == (["STORY-1"], ["Login"])
        client.close()
