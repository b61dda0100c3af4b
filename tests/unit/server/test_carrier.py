"""The HTTP carrier's two ways down, and the change from one carrier to another, on a real server process."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server_fixtures import Client, ServerProcess, fold, server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("server"), "--pause", "0.005") as process:
        yield process


@pytest.fixture
def http(running: ServerProcess) -> Iterator[httpx.Client]:
    with running.http(headers={"Authorization": f"Bearer {running.ready['token']}"}) as made:
        yield made


class Poller:
    """Polls as docs/protocol.md says, and keeps what it is sent in a `Client`'s log."""

    def __init__(self, http: httpx.Client, reader: Client) -> None:
        self.http, self.reader = http, reader
        self.answers = 0
        reader.conn += 1

    def poll(self, wait: int = 25) -> list[dict[str, Any]]:
        reader = self.reader
        answer = self.http.get(
            f"/v2/sessions/{reader.session}/events", timeout=35,
            params={"client": reader.client, "conn": reader.conn, "cursor": reader.cursor, "wait": wait}
            | ({"epoch": reader.epoch} if reader.epoch else {}),
        )
        answer.raise_for_status()
        found = answer.json()
        self.answers += 1
        reader.welcome = found["welcome"]["data"]
        reader.epoch = reader.welcome["epoch"]
        frames: list[dict[str, Any]] = found["frames"]
        for frame in frames:
            reader.take(frame)
        return frames

    def until_over(self) -> None:
        while not any(
            e["type"] == "status" and e["data"]["status"] == "completed" for e in self.reader.log.values()
        ):
            self.poll()


def say(http: httpx.Client, session: str, text: str) -> None:
    frame = {"type": "message", "id": uuid.uuid4().hex, "csn": 1, "data": {"content": text}}
    body = {"client": "poster", "conn": 1, "frames": [frame]}
    assert http.post(f"/v2/sessions/{session}/frames", json=body).json()["acks"][0]["type"] == "ack"


def test_a_run_is_seen_whole_by_polling(running: ServerProcess, http: httpx.Client) -> None:
    session = uuid.uuid4().hex
    poller = Poller(http, Client(running, session=session))
    assert poller.poll(wait=0) == []
    say(http, session, "make Login | Logout")
    poller.until_over()
    by_socket = Client(running, session=session, client="d", epoch=poller.reader.epoch).open()
    while by_socket.cursor < poller.reader.cursor:
        by_socket.recv()
    assert by_socket.log == poller.reader.log
    by_socket.close()


def test_a_late_poller_gets_the_whole_snapshot_at_once(running: ServerProcess, http: httpx.Client) -> None:
    session = uuid.uuid4().hex
    talker = Client(running, session=session, client="d").open()
    talker.say("big 300000")
    talker.until_over()
    late = Poller(http, Client(running, session=session))
    frames = late.poll()
    assert {f["type"] for f in frames} == {"snapshot"}
    assert len(frames) >= 2
    assert late.reader.cursor == talker.cursor
    assert fold(late.reader.log) == fold(talker.log)
    assert late.poll(wait=0) == []
    talker.close()


def test_a_poll_waits_no_longer_than_it_says(running: ServerProcess, http: httpx.Client) -> None:
    poller = Poller(http, Client(running, session=uuid.uuid4().hex))
    began = time.monotonic()
    assert poller.poll(wait=1) == []
    assert time.monotonic() - began >= 0.9


@pytest.mark.parametrize("wait", ["-1", "soon", "1.5"])
def test_a_wait_that_is_none_is_refused(http: httpx.Client, wait: str) -> None:
    answer = http.get("/v2/sessions/s/events", params={"client": "c", "conn": 1, "wait": wait})
    assert answer.status_code == 400
    assert "wait" in answer.json()["data"]["error"]


def in_background(work: Any) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    return thread, result


def test_a_poll_of_an_older_connection_ends_when_a_newer_one_has_its_welcome(
    running: ServerProcess, http: httpx.Client
) -> None:
    session = uuid.uuid4().hex
    place = f"/v2/sessions/{session}/events"
    http.get(place, params={"client": "c1", "conn": 1, "wait": 0})

    def old() -> int:
        with running.http(headers=http.headers) as other:
            return other.get(place, params={"client": "c1", "conn": 1, "wait": 25}, timeout=35).status_code

    thread, result = in_background(old)
    time.sleep(0.3)
    newer = Client(running, session=session, client="c1", conn=1).open()
    thread.join(10)
    assert result == [409]
    assert http.get(place, params={"client": "c1", "conn": 1, "wait": 0}).status_code == 409
    newer.close()


@pytest.mark.parametrize("newer", ["stream", "poll"])
def test_the_socket_stays_until_the_other_carrier_is_greeted(
    running: ServerProcess, http: httpx.Client, newer: str
) -> None:
    session = uuid.uuid4().hex
    socket = Client(running, session=session).open()
    params: dict[str, Any] = {"client": "c1", "conn": 2, "cursor": 0, "epoch": socket.epoch}
    place = f"/v2/sessions/{session}/events"
    if newer == "stream":
        with http.stream("GET", place, params=params) as stream:
            lines = stream.iter_lines()
            assert '"welcome"' in next(line for line in lines if line.startswith("data: "))
            assert socket.closed_code() == 4409
            say(http, session, "hello")
            assert '"message"' in next(line for line in lines if line.startswith("data: "))
    else:
        assert http.get(place, params=params | {"wait": 0}).json()["welcome"]["type"] == "welcome"
        assert socket.closed_code() == 4409


def test_a_stream_is_told_that_a_newer_connection_took_its_place(
    running: ServerProcess, http: httpx.Client
) -> None:
    session = uuid.uuid4().hex
    with http.stream("GET", f"/v2/sessions/{session}/events", params={"client": "c1", "conn": 1}) as stream:
        lines = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
        assert next(lines)["type"] == "welcome"
        socket = Client(running, session=session, client="c1", conn=1).open()
        last = list(lines)[-1]
        assert (last["type"], last["data"]["code"]) == ("goaway", 4409)
        socket.say("hello")
        assert socket.until_over() == "completed"
        socket.close()


def test_a_poll_ends_early_when_the_server_stops(tmp_path: Path) -> None:
    with server(tmp_path / "data") as stopping:
        headers = {"Authorization": f"Bearer {stopping.ready['token']}"}
        with stopping.http(headers=headers) as http:
            poller = Poller(http, Client(stopping))
            poller.poll(wait=0)
            thread, result = in_background(poller.poll)
            time.sleep(0.3)
            stopping.process.terminate()
            thread.join(10)
        assert [frame["type"] for frame in result[0]] == ["goaway"]
        assert stopping.wait() == 0
