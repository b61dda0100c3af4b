"""A server killed at any step of a run, then a new one on its files: nothing lost, nothing doubled."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults import late_save, oracle
from tests.faults.kernel import shown_by
from tests.processes import free_port
from tests.server_fixtures import ROOT, Client, ServerProcess, environment, server

from edchat_widget import Chat

KILLED = 137
NOT_YET_TAKEN = ("accept_before", "accept_written")
POINTS = [
    "accept_before",
    "accept_written",
    "accept_committed",
    "claimed",
    "checkpoint_committed",
    "checkpoint_committed:3",
    "appended:2",
    "part_messages",
    "part_updates",
    "effect_before",
    "effect_before:2",
    "effect_written",
    "effect_written:2",
    "effect_committed",
    "effect_committed:2",
    "part_custom:2",
    "part_updates:2",
    "part_updates:3",
    "checkpoint_committed:7",
    "part_messages:9",
    "part_updates:4",
    "checkpoint_committed:9",
    "finish_before",
    "finish_written",
    "finish_committed",
]
TWO = {"type": "message", "id": "m-1", "csn": 1, "data": {"content": "make Login | Logout"}}
ONE = {"type": "message", "id": "m-1", "csn": 1, "data": {"content": "make Login"}}


def killed(running: ServerProcess) -> None:
    code = running.wait()
    assert code == KILLED, (running.data_dir / "server.log").read_text(encoding="utf-8")


@pytest.mark.fault("F4", "kill -9 at a named place, two stories")
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_server_finishes_the_run_and_makes_each_story_once(tmp_path: Path, point: str) -> None:
    data = tmp_path / "data"
    with server(data, EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        client.send(TWO)
        killed(first)
        seen_before = oracle.read_to_the_cut(client)

    with server(data) as second:
        client.server = second
        client.open()
        client.send(TWO)
        assert client.until("ack")["data"].get("duplicate", False) is (point not in NOT_YET_TAKEN)
        oracle.until_over(client)
        assert oracle.stories(second) == ["Login", "Logout"]
        view = oracle.check_session(second, shown=[seen_before], stayed=client)
        assert oracle.made(view) == ["STORY-1", "STORY-2"]
        assert len(oracle.texts(view)) == 2, view
        client.close()


@pytest.mark.fault("F4", "kill -9 at a named place, one story")
@pytest.mark.parametrize(
    "point",
    ["accept_written", "effect_before", "effect_written", "effect_committed", "part_updates:2", "finish_before"],
)
def test_a_killed_server_makes_a_single_story_once(tmp_path: Path, point: str) -> None:
    data = tmp_path / "data"
    with server(data, EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        client.send(ONE)
        killed(first)
        seen_before = oracle.read_to_the_cut(client)
    with server(data) as second:
        client.server = second
        client.open()
        client.send(ONE)
        oracle.until_over(client)
        assert oracle.stories(second) == ["Login"]
        view = oracle.check_session(second, shown=[seen_before], stayed=client)
        assert oracle.made(view) == ["STORY-1"]
        assert len(oracle.texts(view)) == 2, view
        client.close()


@pytest.mark.fault("F4", "kill -9 while it says goodbye")
@pytest.mark.parametrize("point", ["draining", "parked", ""])
def test_a_server_that_dies_while_it_stops_leaves_the_run_to_the_next(tmp_path: Path, point: str) -> None:
    data = tmp_path / "data"
    with server(data, "--pause", "0.05", "--drain", "0.1", EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        client.send(TWO)
        client.until("tool_execution", status="completed")
        assert first.process.pid is not None
        os.kill(first.process.pid, signal.SIGTERM)
        seen_before = oracle.read_to_the_cut(client)
        assert first.wait() == (KILLED if point else 0)
    with server(data) as second:
        client.server = second
        client.open()
        oracle.until_over(client)
        assert oracle.stories(second) == ["Login", "Logout"]
        view = oracle.check_session(second, shown=[seen_before], stayed=client)
        assert oracle.made(view) == ["STORY-1", "STORY-2"]
        client.close()


@pytest.mark.fault("F4", "kill -9 at a named place, seen by a Chat that stays, over either carrier")
@pytest.mark.parametrize(
    ("point", "websocket"),
    [("accept_before", True), ("accept_written", True), ("accept_committed", True), ("accept_committed", False),
     ("effect_written", True), ("effect_committed", True), ("effect_committed", False), ("part_messages:9", True),
     ("finish_before", True), ("finish_before", False), ("finish_committed", True)],
)
def test_a_chat_that_stays_shows_the_answer_once(tmp_path: Path, point: str, *, websocket: bool) -> None:
    data, port = tmp_path / "data", free_port()
    told = ("--port", str(port))
    url = f"http://127.0.0.1:{port}"
    options = {"reconnect_interval": 0.2, "enable_websocket": websocket, "failover": "never"}
    with Chat(url, token="t", session="s1", data_dir=tmp_path / "home", **options) as chat:
        with server(data, *told, EDCHAT_TOKEN="t", EDCHAT_FAIL_POINT=point) as first:
            asked = chat.send("make Login | Logout")
            killed(first)
        with server(data, *told, EDCHAT_TOKEN="t") as second:
            reply = asked.result(timeout=60)
            assert reply.state == "complete"
            assert oracle.stories(second) == ["Login", "Logout"]
            view = oracle.check_session(second)
            assert oracle.made(view) == ["STORY-1", "STORY-2"]
            assert shown_by(chat.view) == oracle.shown_in(view)


def acted(file: Path, durability: str) -> list[str]:
    """Live twice, and return the tool calls that have acted."""
    command = [sys.executable, "-m", late_save.__name__, str(file), durability]
    first, again = (
        subprocess.run(command, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
        for _ in range(2)
    )
    assert (first.returncode, again.returncode) == (KILLED, 0), first.stderr + again.stderr
    found: list[str] = json.loads(again.stdout)
    return found


@pytest.mark.fault("F5", "kill -9 inside the tool, over LangGraph itself")
@pytest.mark.parametrize(("durability", "stories"), [("sync", 1), ("async", 2), ("exit", 2)])
def test_only_saving_at_once_makes_a_story_once(tmp_path: Path, durability: str, stories: int) -> None:
    """Why nothing else than ``sync`` is taken: the model is asked again, and names its call anew."""
    assert len(acted(tmp_path / "thread.db", durability)) == stories
