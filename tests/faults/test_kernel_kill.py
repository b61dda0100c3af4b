"""A kernel killed at any step: the next one finishes what it left, and each message is answered once."""

import ast
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from tests.faults import oracle
from tests.faults.kernel import Job
from tests.faults.kernel_process import kernel
from tests.processes import free_port, wait_until
from tests.server_fixtures import ServerProcess, environment, server

STORED = [  # the message is in the outbox's file, so it must arrive
    "outbox_file.py:add:return:1",
    "outbox_file.py:store:return:3",
    "ws.py:send:call:1",
    "ws.py:send:call:2",
    "ws.py:send:return:2",
    "outbox.py:accept:call:2",
    "outbox.py:accept:return:2",
    "driver.py:submit:return:1",
    "publisher.py:flush:return:2",
]


OPTIONS = {"reconnect_interval": 0.2, "failover": "never"}  # what another server would take is not what is asked here


def job(running: ServerProcess | str, tmp_path: Path, **given: object) -> Job:
    url = running if isinstance(running, str) else running.url
    return Job(url=url, home=str(tmp_path / "home"), **{"options": OPTIONS, **given})  # type: ignore[arg-type]


def users(view: list[oracle.Seen]) -> list[str]:
    return [part[1] for part in view if part[0] == "user"]


def next_kernel_shows(running: ServerProcess, tmp_path: Path, **given: object) -> list[oracle.Seen]:
    """Start the next kernel, wait until it has nothing left to do, and compare what it shows with the server's log."""
    with kernel(job(running, tmp_path, **given), tmp_path / "kernel.log", EDCHAT_TOKEN="t") as after:
        shown = Counter({tuple(seen): n for *seen, n in after.told("shown")})
        after.ended()
    view = oracle.check_session(running, states=["completed"] * len(oracle.endings(oracle.whole_log(running))))
    assert shown == oracle.shown_in(view)
    return view


@pytest.mark.fault("F6", "kill -9 of a kernel at a place of its own code")
@pytest.mark.parametrize("place", STORED)
def test_a_message_that_was_stored_is_answered_once_by_the_next_kernel(tmp_path: Path, place: str) -> None:
    with server(tmp_path / "data", EDCHAT_TOKEN="t") as running:
        told = job(running, tmp_path, say=["make Login"], die_at=place)
        with kernel(told, tmp_path / "kernel.log") as first:
            first.died()
        view = next_kernel_shows(running, tmp_path)
        assert users(view) == ["make Login"]
        assert oracle.stories(running) == ["Login"]


@pytest.mark.fault("F6", "kill -9 before the message is stored")
def test_a_message_that_was_not_stored_was_not_promised(tmp_path: Path) -> None:
    with server(tmp_path / "data", EDCHAT_TOKEN="t") as running:
        told = job(running, tmp_path, say=["make Login"], die_at="outbox_file.py:add:call:1")
        with kernel(told, tmp_path / "kernel.log") as first, pytest.raises(AssertionError):
            first.told("stored")
        assert users(next_kernel_shows(running, tmp_path, say=["hello"])) == ["hello"]


@pytest.mark.fault("F6", "kill -9 with messages queued, no server met yet")
def test_messages_queued_before_any_server_was_met_survive_in_order(tmp_path: Path) -> None:
    port = free_port()
    told = job(f"http://127.0.0.1:{port}", tmp_path, say=["one", "two", "three"], wait=False)
    with kernel(told, tmp_path / "kernel.log") as first:
        for _ in range(3):
            first.told("stored")
        first.kill()
    with server(tmp_path / "data", "--port", str(port), EDCHAT_TOKEN="t") as running:
        assert users(next_kernel_shows(running, tmp_path, say=["four"])) == ["one", "two", "three", "four"]


@pytest.mark.fault("F6", "kill -9 with messages written that nobody has confirmed")
def test_messages_on_the_wire_are_sent_again_and_taken_once(tmp_path: Path) -> None:
    with server(tmp_path / "data", EDCHAT_TOKEN="t") as running:
        with kernel(job(running, tmp_path, then=HOLD), tmp_path / "kernel.log") as first:
            first.told("connected")
            with frozen(running.process.pid):
                first.told("written")
                first.kill()
        view = next_kernel_shows(running, tmp_path)
        assert users(view) == ["make Login", "make Logout"]
        assert oracle.stories(running) == ["Login", "Logout"]


HOLD = """
while chat.connection.state != 'connected': time.sleep(0.01)
tell(connected=True)
time.sleep(0.3)
asked += [chat.send('make Login'), chat.send('make Logout')]
while [m.state for m in chat.view.messages] != ['sent', 'sent']: time.sleep(0.01)
tell(written=True)
time.sleep(60)
"""


class frozen:  # noqa: N801 - reads as what it does
    """A process that does not run while the block does."""

    def __init__(self, pid: int | None) -> None:
        assert pid is not None
        self._pid = pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(self._pid, signal.SIGCONT)


@pytest.mark.fault("F6", "kill -9 while the answer streams")
def test_an_answer_that_streams_is_complete_in_the_next_kernel(tmp_path: Path) -> None:
    with server(tmp_path / "data", "--pause", "0.02", EDCHAT_TOKEN="t") as running:
        streaming = "while not any(m.role == 'assistant' for m in chat.view.messages): time.sleep(0.01)\n" \
            "tell(streaming=True)"
        with kernel(job(running, tmp_path, say=["slow 40"], then=streaming), tmp_path / "kernel.log") as first:
            first.told("streaming")
            first.kill()
        view = next_kernel_shows(running, tmp_path)
        assert users(view) == ["slow 40"]
        assert len(oracle.texts(view)) == 1


@pytest.mark.fault("F6", "kill -9 while it takes over a dead kernel's outbox")
@pytest.mark.parametrize(
    "place",
    ["outbox_file.py:_take_over:call:1", "outbox_file.py:add:return:1", "outbox_file.py:add:return:2",
     "outbox_file.py:discard:call:1", "outbox_file.py:discard:return:1", "ws.py:send:return:2",
     "outbox.py:accept:return:2"],
)
def test_a_kernel_that_dies_while_it_takes_over_another_ones_outbox_doubles_nothing(tmp_path: Path, place: str) -> None:
    port = free_port()
    nowhere = f"http://127.0.0.1:{port}"
    log = tmp_path / "kernel.log"
    with kernel(job(nowhere, tmp_path, wait=False, then="tell(there=True)"), log) as holder:  # has the first outbox
        holder.told("there")
        with kernel(job(nowhere, tmp_path, say=["make Login", "make Logout"], wait=False), log) as second:
            second.told("stored")
            second.told("stored")
            second.kill()
        holder.kill()
    with server(tmp_path / "data", "--port", str(port), EDCHAT_TOKEN="t") as running:
        with kernel(job(nowhere, tmp_path, die_at=place), log) as heir:
            heir.died()
        view = next_kernel_shows(running, tmp_path)
        assert users(view) == ["make Login", "make Logout"]
        assert oracle.stories(running) == ["Login", "Logout"]


@pytest.mark.fault("F6", "kill -9 between two servers with different stores")
def test_what_was_written_to_another_server_is_in_doubt_and_not_asked_here(tmp_path: Path) -> None:
    port = free_port()
    told = ("--port", str(port))
    with (
        server(tmp_path / "a", *told, EDCHAT_TOKEN="t") as one,
        kernel(job(one, tmp_path, then=HOLD), tmp_path / "kernel.log") as first,
    ):
        first.told("connected")
        with frozen(one.process.pid):
            first.told("written")
            first.kill()
            one.kill()
    with server(tmp_path / "b", *told, EDCHAT_TOKEN="t") as other:
        with kernel(job(other, tmp_path, say=["hello"]), tmp_path / "kernel.log", EDCHAT_TOKEN="t") as after:
            states = after.told("states")
            after.ended()
        assert oracle.stories(other) == []
        assert [text for role, text, state in states if role == "user" and state == "in_doubt"] == [
            "make Login", "make Logout"
        ]


@pytest.mark.fault("F6", "kill -9 of a real kernel while a cell runs")
@pytest.mark.skipif(sys.platform == "win32", reason="the event loop of pyzmq")
def test_a_real_kernel_killed_in_the_middle_of_a_cell_has_its_answer_when_it_is_started_again(tmp_path: Path) -> None:
    with server(tmp_path / "data", "--pause", "0.05", EDCHAT_TOKEN="t") as running:
        chat = f"chat = Chat({running.url!r}, token='t', session='s1', data_dir={str(tmp_path / 'home')!r})"
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(env=environment(), extra_arguments=["--IPKernelApp.log_level=ERROR"])
        try:
            first = manager.blocking_client()
            first.start_channels()
            first.wait_for_ready(30)
            cell = f"from edchat_widget import Chat; import time; {chat}; chat.send('make Login'); time.sleep(60)"
            first.execute(cell)
            wait_until(lambda: oracle.endings(oracle.whole_log(running)) or oracle.stories(running), what="the story")
            first.stop_channels()
            manager.restart_kernel(now=True)
            second = manager.blocking_client()
            second.start_channels()
            second.wait_for_ready(30)
            told: list[str] = []
            second.execute_interactive(
                f"from edchat_widget import Chat; {chat}; reply = chat.ask('hello')\n"
                "print([m.text for m in chat.messages])",
                timeout=60, output_hook=lambda message: told.append(message["content"].get("text", "")),
            )
            second.stop_channels()
        finally:
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
        view = oracle.check_session(running, states=["completed", "completed"])
        assert oracle.made(view) == ["STORY-1"]
        shown = ast.literal_eval("".join(told))
        assert [text for text in shown if text in ("make Login", "hello")] == ["make Login", "hello"]
        assert len(shown) == 4
