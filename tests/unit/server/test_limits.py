"""Limits: the pure counting, and what a peer is told by a real server that has small ones."""

import json
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server_fixtures import Client, ServerProcess, server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edchat_server.door import Door, TooMany
from edchat_server.limits import Buckets, Caps, TokenBucket, Turnstile, spread_ms
from edchat_server.settings import Settings, SettingsError

pytestmark = pytest.mark.fault("F26", "too many messages, clients, connections, hellos; requests that never end")


@given(st.lists(st.floats(0, 5), min_size=1, max_size=300))
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(pauses: list[float]) -> None:
    now, taken = 0.0, list[float]()
    bucket = TokenBucket(6, 10, now)
    for pause in pauses:
        now += pause
        if bucket.take(now) == 0:
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= 10 + 6 * (taken[last] - start) + 1e-6


@given(st.integers(1, 50), st.floats(0.1, 50))
def test_who_comes_back_when_told_is_let_in(burst: int, rate: float) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    assert [bucket.take(0.0) for _ in range(burst)] == [0.0] * burst
    wait = bucket.take(0.0)
    assert wait > 0
    assert bucket.take(wait * 0.9) > 0
    assert bucket.take(wait + 1e-9) == 0.0


def test_a_crowd_that_is_sent_away_gets_turns_of_its_own() -> None:
    turnstile = Turnstile(200, 50, 0.0)
    turns = [turnstile.enter(0.0) for _ in range(500)]
    assert turns[:50] == [0.0] * 50
    assert turns[50:] == pytest.approx([n / 200 for n in range(1, 451)])
    returned = sorted(turns[50:])
    assert [turnstile.enter(at + 1e-6) for at in returned] == [0.0] * 450


def test_what_is_kept_of_strangers_is_bounded() -> None:
    buckets = Buckets(1, 1, limit=100)
    for n in range(10_000):
        buckets.take(n, 0.0)
    assert len(buckets._of) == 100


def test_all_who_are_sent_away_together_come_back_apart() -> None:
    few = [spread_ms(3, jitter / 100, per_second=200) for jitter in range(101)]
    many = [spread_ms(2000, jitter / 100, per_second=200) for jitter in range(101)]
    assert (min(few), max(few)) == (500, 1000)
    assert (min(many), max(many)) == (500, 10_500)


def test_two_users_who_take_one_clients_name_have_a_seat_each() -> None:
    door = Door(Caps(clients_per_user=1))
    operator, ada = door.client("s", "c", None), door.client("s", "c", "ada")
    with pytest.raises(TooMany, match="ada has 1 clients"):
        door.client("s", "d", "ada")
    operator.__exit__()
    ada.__exit__()
    with door.client("s", "d", "ada"):
        pass


def test_limits_come_from_the_environment(tmp_path: Path) -> None:
    env = {"EDCHAT_DATA_DIR": str(tmp_path), "EDCHAT_LIMIT_CLIENTS_PER_SESSION": "3"}
    assert Settings.from_env(env).caps.clients_per_session == 3
    with pytest.raises(SettingsError, match="EDCHAT_LIMIT_COMMAND_BURST='no'"):
        Settings.from_env(env | {"EDCHAT_LIMIT_COMMAND_BURST": "no"})


# ------------------------------------------------------------------------------------------ a real server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    limits = {
        "COMMANDS_PER_10S": "10", "COMMAND_BURST": "3", "CLIENTS_PER_SESSION": "2", "HELLO_SECONDS": "1",
        "FRAME_BURST": "200", "SEND_SECONDS": "2",
    }
    env = {f"EDCHAT_LIMIT_{name}": value for name, value in limits.items()}
    with server(tmp_path_factory.mktemp("server"), **env) as process:
        yield process


@pytest.fixture
def client(strict: ServerProcess) -> Iterator[Client]:
    made = Client(strict, session=uuid.uuid4().hex).open()
    yield made
    made.close()


def bearer(running: ServerProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {running.ready['token']}"}


def test_too_many_messages_are_refused_with_a_time_and_taken_later(client: Client) -> None:
    assert client.welcome["limits"]["commands_per_10s"] == 10
    for n in range(1, 5):
        client.send({"type": "message", "id": f"m{n}", "csn": n, "data": {"content": "hello"}})
    nack = client.until("nack")["data"]
    assert (nack["code"], nack["final"]) == ("rate_limited", False)
    assert 0 < nack["retry_after_ms"] <= 1000
    time.sleep(nack["retry_after_ms"] / 1000)
    client.send({"type": "message", "id": "m4", "csn": 4, "data": {"content": "hello"}})
    while client.until("ack")["ack"] != 4:
        pass
    while sum(e["type"] == "status" and e["data"]["status"] == "completed" for e in client.log.values()) < 4:
        client.recv()


def test_the_origins_clients_are_told_in_its_own_frames(strict: ServerProcess) -> None:
    with strict.http(headers=bearer(strict)) as http:
        answers = [http.post("/api/agent/process", json={"message": "hello"}) for _ in range(5)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].json()["data"]["code"] == "rate_limited"


def test_one_client_too_many_is_sent_away_and_the_others_stay(strict: ServerProcess) -> None:
    session = uuid.uuid4().hex
    first, second, third = (Client(strict, session=session, client=f"c{n}") for n in range(3))
    first.open()
    second.open()
    with pytest.raises(ConnectionClosed) as refused:
        third.open()
    assert refused.value.rcvd is not None
    assert refused.value.rcvd.code == 4429
    assert third.frames[-1]["type"] == "goaway"
    assert third.frames[-1]["data"]["retry_after_ms"] >= 5000
    with strict.http(headers=bearer(strict)) as http:
        place = f"/v2/sessions/{session}/events"
        answer = http.get(place, params={"client": "c3", "conn": 1})
        assert answer.status_code == 429
        # A client that changes its carrier is there already.
        assert http.get(place, params={"client": "c0", "conn": 2, "wait": 0}).status_code == 200
    first.close()
    second.say("hello")
    assert second.until_over() == "completed"
    third.close()
    third.open()
    for each in (second, third):
        each.close()


@pytest.mark.parametrize("frame", [{"type": "ack", "ack": 1}, {"type": "ping"}, {"type": "nonsense"}])
def test_a_flood_of_frames_ends_that_connection_and_costs_no_memory(
    strict: ServerProcess, client: Client, frame: dict[str, Any]
) -> None:
    process = psutil.Process(strict.process.pid)
    before = process.memory_info().rss
    raw = json.dumps(frame)
    with suppress(ConnectionClosed):
        for _ in range(100_000):
            client.send(raw)
    assert client.closed_code() == 4429
    assert client.frames[-1]["data"]["code"] == 4429
    assert process.memory_info().rss - before < 8_000_000


def test_a_flood_of_pings_whose_answers_nobody_reads_costs_no_memory(strict: ServerProcess) -> None:
    process = psutil.Process(strict.process.pid)
    client = Client(strict, session=uuid.uuid4().hex).open()
    before = process.memory_info().rss
    flood = (b"\x89\xfd\0\0\0\0" + b"x" * 125) * 500
    sent = 0
    with suppress(TimeoutError, OSError), deaf(strict, session=uuid.uuid4().hex) as mute:
        mute.settimeout(1)
        while sent < 60_000_000:
            sent += mute.send(flood)
    assert sent < 60_000_000, "the server went on reading"
    assert process.memory_info().rss - before < 8_000_000
    client.say("hello")
    assert client.until_over() == "completed"
    client.close()


def deaf(running: ServerProcess, session: str) -> Any:
    """A WebSocket by hand that says hello and then reads nothing."""
    host, port = running.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, int(port)), 5)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(
        f"GET /ws/chat HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: edchat.v2\r\nAuthorization: Bearer {running.ready['token']}\r\n\r\n".encode()
    )
    assert raw.recv(1).startswith(b"H")
    hello = json.dumps({"type": "hello", "data": {"proto": 2, "session": session, "client": "deaf", "conn": 1}})
    raw.sendall(text_frame(hello.encode()))
    return closing(raw)


def text_frame(body: bytes) -> bytes:
    assert len(body) < 126
    return b"\x81" + bytes([0x80 | len(body)]) + b"\0\0\0\0" + body


def test_a_message_of_endless_empty_fragments_ends_the_connection(strict: ServerProcess) -> None:
    with deaf(strict, session=uuid.uuid4().hex) as raw:
        raw.sendall(b"\x01\x80\0\0\0\0")
        with suppress(OSError):
            for _ in range(1100):
                raw.sendall(b"\x00\x80\0\0\0\0")
        raw.settimeout(10)
        seen = bytearray()
        with suppress(ConnectionResetError):
            while piece := raw.recv(65536):
                seen += piece
    assert b"\x03\xf1" in seen, "no 1009"


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_whoever_does_not_finish_a_request_is_cut_off(strict: ServerProcess, start: bytes) -> None:
    host, port = strict.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), 10)) as raw:
        raw.sendall(start)
        with suppress(ConnectionResetError):
            assert raw.recv(1) == b""


def test_a_connection_that_is_used_again_has_the_same_time_for_each_request(strict: ServerProcess) -> None:
    host, port = strict.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), 10)) as raw:
        for _ in range(3):
            raw.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += raw.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.5)
        raw.sendall(b"GET / HT")
        with suppress(ConnectionResetError):
            assert raw.recv(1) == b""


def test_hellos_beyond_the_rate_are_told_when_to_come(tmp_path: Path) -> None:
    env = {"EDCHAT_LIMIT_HELLOS_PER_SECOND": "2", "EDCHAT_LIMIT_HELLO_BURST": "2"}
    with server(tmp_path / "data", **env) as running, ExitStack() as opened:
        for n in range(2):
            opened.callback(Client(running, client=f"c{n}").open().close)
        late = Client(running, client="late")
        with pytest.raises(ConnectionClosed) as refused:
            late.open()
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == 4429
        wait = late.frames[-1]["data"]["retry_after_ms"]
        assert 0 < wait <= 1000
        with running.http(headers=bearer(running)) as http:
            answer = http.get("/v2/sessions/s/events", params={"client": "h", "conn": 1, "wait": 0})
            assert answer.status_code == 429
            time.sleep(float(answer.headers["Retry-After"]))
            assert http.get("/v2/sessions/s/events", params={"client": "h", "conn": 1, "wait": 0}).status_code == 200
        late.close()


def test_connections_from_one_address_are_counted(tmp_path: Path) -> None:
    with server(tmp_path / "data", EDCHAT_LIMIT_CONNECTIONS_PER_ADDRESS="2") as running:
        two = [Client(running, client=f"c{n}").open() for n in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            Client(running, client="c3").open()
        assert refused.value.response.status_code == 429
        with running.http(headers=bearer(running)) as http:
            assert http.get("/api/status").status_code == 429
        two[0].close()
        deadline = time.monotonic() + 10
        with running.http(headers=bearer(running)) as http:
            while http.get("/api/status").status_code != 200:
                assert time.monotonic() < deadline
        two[1].close()


def test_a_stream_that_nobody_reads_ends(strict: ServerProcess) -> None:
    session = uuid.uuid4().hex
    host, port = strict.url.removeprefix("http://").split(":")
    with closing(socket.socket()) as raw, strict.http(headers=bearer(strict)) as http:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((host, int(port)))
        raw.sendall(
            f"GET /v2/sessions/{session}/events?client=c1&conn=1 HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {strict.ready['token']}\r\n\r\n".encode()
        )
        talker = Client(strict, session=session, client="d").open()
        for _ in range(8):
            talker.say("big 1000000")
            talker.until_over()
            time.sleep(1)
        talker.close()
        deadline = time.monotonic() + 20
        while http.get("/api/status").json()["connections"]:
            assert time.monotonic() < deadline, "the stream holds its place for ever"
            time.sleep(0.2)
    log = (strict.data_dir / "server.log").read_text(encoding="utf-8")
    assert "because nobody reads it" in log
    assert "Traceback" not in log
    assert "ERROR" not in log
