"""A server killed at any step of a run, then a new one on its files: nothing lost, nothing doubled."""

import json
from pathlib import Path

import pytest
from tests.server_fixtures import Client, ServerProcess, fold, server
from websockets.exceptions import ConnectionClosed

KILLED = 137
POINTS = [
    "accept_committed",
    "claimed",
    "checkpoint_committed",
    "checkpoint_committed:3",
    "appended:2",
    "part_messages",
    "part_updates",
    "effect_before",
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
]


def whole_log(running: ServerProcess) -> dict[int, dict[str, object]]:
    """The log from its first event, by replay."""
    reader = Client(running, client="reader")
    reader.open()
    epoch = reader.welcome["epoch"]
    reader.close()
    reader = Client(running, client="reader2", epoch=epoch)
    reader.open()
    assert reader.welcome["resume"] == "replay"
    while reader.cursor < reader.welcome["head"]:
        reader.recv()
    reader.close()
    return reader.log


def snapshot(running: ServerProcess) -> dict[int, dict[str, object]]:
    reader = Client(running, client="late")
    reader.open()
    assert reader.welcome["resume"] == "snapshot"
    while reader.cursor < reader.welcome["head"]:
        reader.recv()
    reader.close()
    return reader.log


@pytest.mark.fault("F4", "kill -9 at a named place, two stories")
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_server_finishes_the_run_and_makes_each_story_once(tmp_path: Path, point: str) -> None:
    data = tmp_path / "data"
    message = {"type": "message", "id": "m-1", "csn": 1, "data": {"content": "make Login | Logout"}}
    with server(data, EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        client.send(message)
        code = first.wait()
        assert code == KILLED, (data / "server.log").read_text(encoding="utf-8")
        seen_before = read_to_the_cut(client)

    with server(data) as second:
        client.server = second
        client.open()
        client.send(message)
        ack = client.until("ack")
        assert ack["data"]["duplicate"] is True
        while not ended(client.log):
            client.recv()
        assert sorted(stories(second)) == ["Login", "Logout"]

        log = whole_log(second)
        assert sorted(log) == list(range(1, len(log) + 1)), "a gap in the log"
        assert {n: log[n] for n in seen_before} == seen_before, "what was shown has changed"
        view = fold(log)
        assert view == fold(client.log), "who stayed and who came later see different things"
        assert view == fold(snapshot(second)), "the snapshot shows something else than the log"
        tools = sorted(part[1:] for part in view if part[0] == "tool")
        assert tools == [("create_story", "completed", "STORY-1"), ("create_story", "completed", "STORY-2")]
        answers = [part for part in view if part[0] == "text"]
        assert len(answers) == 2, answers
        assert [part for part in view if part[0] == "run"] == [("run", "completed")]
        client.close()


def read_to_the_cut(client: Client) -> dict[int, dict[str, object]]:
    try:
        while True:
            client.recv()
    except (ConnectionClosed, OSError):
        pass
    return {n: json.loads(json.dumps(event)) for n, event in client.log.items()}


def ended(log: dict[int, dict[str, object]]) -> bool:
    return any(
        event["type"] == "status" and event["data"]["status"] == "completed"  # type: ignore[index]
        for event in log.values()
    )


def stories(running: ServerProcess) -> list[str]:
    with running.http(headers={"Authorization": f"Bearer {running.ready['token']}"}) as http:
        return [story["title"] for story in http.get("/api/stories").json()["stories"]]
