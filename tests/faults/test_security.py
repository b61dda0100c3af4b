"""Somebody who wants in, or wants the server down: refused with the right code, in bounded memory, no secret told."""

import base64
import json
import os
import stat
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from tests.server_fixtures import Client, ServerProcess, server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

TOKEN = "fixed-token-of-this-test-0123456789"
GROWTH = 40 * 1024 * 1024
pytestmark = pytest.mark.fault("F26", "foreign pages and names, wrong tokens, forged and deep frames, floods")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("attacked"), EDCHAT_TOKEN=TOKEN) as process:
        yield process


@pytest.fixture(autouse=True)
def unharmed(running: ServerProcess) -> Iterator[None]:
    """After each attack: the others are served, the memory is what it was, and no log has the token."""
    assert running.process.pid is not None
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    yield
    client = Client(running, session=uuid.uuid4().hex).open()
    client.say("hello")
    assert client.until_over() == "completed"
    client.close()
    assert process.memory_info().rss - before < GROWTH
    for log in ("server.log", "audit.jsonl"):
        assert TOKEN not in (running.data_dir / log).read_text(encoding="utf-8")


BEARER = {"Authorization": f"Bearer {TOKEN}"}
STRANGERS: dict[str, tuple[dict[str, str], int]] = {
    "a foreign page": (BEARER | {"Origin": "https://evil.example"}, 403),
    "a page without an origin": (BEARER | {"Origin": "null"}, 403),
    "a page whose name begins like ours": (BEARER | {"Origin": "http://127.0.0.1.evil.example"}, 403),
    "a page whose address has ours as its user": (BEARER | {"Origin": "http://localhost@evil.example"}, 403),
    "a rebound name": (BEARER | {"Host": "evil.example"}, 403),
    "a rebound name that begins like ours": (BEARER | {"Host": "localhost.evil.example:8001"}, 403),
    "no token": ({}, 401),
    "another token": ({"Authorization": "Bearer wrong"}, 401),
    "the token's beginning": ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
    "the token and more": ({"Authorization": f"Bearer {TOKEN}0"}, 401),
    "an empty token": ({"Authorization": "Bearer "}, 401),
    "the token under another scheme": ({"Authorization": f"Basic {TOKEN}"}, 401),
    "the token as a cookie": ({"Cookie": f"token={TOKEN}"}, 401),
    "a token that is not ASCII": ({"Authorization": "Bearer \u00fc\u00fc"}, 401),
}


def request(running: ServerProcess, path: str, headers: dict[str, str], *, upgrade: bool = False) -> tuple[int, str]:
    """Ask by hand, since decent clients do not let such headers out; return status and body."""
    told = {"Host": urlsplit(running.url).netloc} | headers
    if upgrade:
        told |= {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(), "Sec-WebSocket-Protocol": "edchat.v2",
        }
    connection = HTTPConnection(urlsplit(running.url).netloc, timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in told.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, "" if answer.status in (101, 200) else answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/ws/chat", "/api/stories", "/v2/sessions/s1/events?client=c&conn=1"])
@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_is_refused(running: ServerProcess, who: str, path: str) -> None:
    headers, expected = STRANGERS[who]
    status, body = request(running, path, headers, upgrade=path == "/ws/chat")
    assert status == expected
    assert TOKEN not in body


@pytest.mark.parametrize(("path", "status"), [("/ws/chat", 101), ("/api/stories", 200)])
def test_who_has_the_token_gets_in(running: ServerProcess, path: str, status: int) -> None:
    assert request(running, path, BEARER, upgrade=path == "/ws/chat")[0] == status


@pytest.mark.parametrize("name", ["token", "access_token", "ticket", "authorization"])
def test_a_token_in_the_address_opens_nothing_and_is_in_no_log(running: ServerProcess, name: str) -> None:
    assert request(running, f"/ws/chat?{name}={TOKEN}", {}, upgrade=True)[0] == 401
    assert request(running, f"/api/stories?{name}={TOKEN}", {})[0] == 401


# ---------------------------------------------------------------------------------------------- after the door


def raw(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Return the bytes of one frame, right or wrong."""
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    bit, size = (0x80 if masked else 0), len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    return head + (bytes(4) if masked else b"") + payload  # a mask of zeros leaves the payload as it is


def ended_with(client: Client, send: Callable[[Client], object]) -> int | None:
    """Attack, and return the code with which the connection ended."""
    assert client.ws is not None
    try:
        send(client)
        while True:
            client.ws.recv(15)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    except OSError:
        return None
    finally:
        client.close()


def bytes_of(*frames: bytes) -> Callable[[Client], object]:
    def send(client: Client) -> None:
        assert client.ws is not None
        client.ws.socket.sendall(b"".join(frames))

    return send


BREAKERS: dict[str, tuple[Callable[[Client], object], set[int | None]]] = {
    "a frame of 4 MiB": (bytes_of(raw(1, b"x" * 4 * 1024 * 1024)), {1009, None}),
    "a frame that says it has 2^60 bytes": (bytes_of(b"\x81\xff" + struct.pack("!Q", 2**60) + bytes(4)), {1009}),
    "text that is not UTF-8": (bytes_of(raw(1, b'{"type":"ping","data":{"x":"\xff\xfe"}}')), {1007}),
    "text cut inside a letter": (bytes_of(raw(1, b'{"type":"ping","data":{"x":"\xc3')), {1007}),
    "a frame without a mask": (bytes_of(raw(1, b"{}", masked=False)), {1002}),
    "an unknown opcode": (bytes_of(raw(3, b"{}")), {1002}),
    "compressed without agreement": (bytes_of(raw(1, b"{}", rsv=0x40)), {1002}),
    "a ping of 200 bytes": (bytes_of(raw(9, b"x" * 200)), {1002}),
    "a continuation of nothing": (bytes_of(raw(0, b"x")), {1002}),
    "a message inside a message": (bytes_of(raw(1, b"x", fin=False), raw(1, b"y")), {1002}),
    "a message of 5000 parts": (bytes_of(raw(1, b"x", fin=False), *[raw(0, b"x", fin=False)] * 5000), {1009}),
    "100000 acknowledgements of one value": (
        bytes_of(*[raw(1, b'{"type":"ack","ack":1}')] * 100_000), {4429, None}
    ),
    "100000 pings of ours": (bytes_of(*[raw(1, b'{"type":"ping","data":{}}')] * 100_000), {4429, None}),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", BREAKERS)
def test_who_breaks_the_protocol_loses_that_connection_alone(running: ServerProcess, how: str) -> None:
    send, codes = BREAKERS[how]
    assert ended_with(Client(running, session=uuid.uuid4().hex).open(), send) in codes


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


ANSWERED: dict[str, str] = {
    "arrays in arrays": "[" * 100_000,
    "objects in objects": '{"type":"ping","data":' + deep(20_000) + "}",
    "an endless number": '{"type":"seen","data":{"seq":1' + "0" * 5000 + "}}",
    "a number beyond any": '{"type":"ping","data":{"n":1e999999}}x',
    "half a pair of surrogates": '{"type":"message","id":"m","csn":1,"data":{"content":"\\ud800"}}',
    "no object": '"message"',
    "no type": "{}",
    "a type that is no text": '{"type":{}}',
    "an unknown type": '{"type":"sudo","data":{}}',
    "a message id that is a path": '{"type":"message","id":"../../x","csn":1,"data":{"content":"x"}}',
    "a message id of 100000 letters": json.dumps(
        {"type": "message", "id": "m" * 100_000, "csn": 1, "data": {"content": "x"}}
    ),
    "a negative count": '{"type":"message","id":"m","csn":-1,"data":{"content":"x"}}',
    "a count beyond 64 bits": '{"type":"message","id":"m","csn":99999999999999999999,"data":{"content":"x"}}',
    "a content that is no text": '{"type":"message","id":"m","csn":1,"data":{"content":["x"]}}',
    "a message of 100000 letters": json.dumps(
        {"type": "message", "id": "m", "csn": 1, "data": {"content": "x" * 100_000}}
    ),
}


@pytest.mark.parametrize("what", ANSWERED)
def test_what_makes_no_sense_is_answered_with_an_error_and_the_connection_stays(
    running: ServerProcess, what: str
) -> None:
    client = Client(running, session=uuid.uuid4().hex).open()
    client.send(ANSWERED[what])
    client.send({"type": "ping", "data": {"n": 1}})
    answers = []
    while not answers or answers[-1]["type"] != "pong":
        answers.append(client.recv())
    assert [a["type"] for a in answers if a["type"] in ("error", "nack")], answers
    assert "Traceback" not in json.dumps(answers)
    client.close()


@pytest.mark.parametrize(
    "hello",
    [
        {"session": "../../etc/passwd"}, {"session": ""}, {"session": "s" * 65}, {"session": "s\u0000"},
        {"session": "s\n"}, {"client": "'; DROP TABLE runs; --"}, {"cursor": -1}, {"cursor": 2**70},
        {"conn": 1.5}, {"epoch": ["e"]},
    ],
    ids=str,
)
def test_a_hello_that_makes_no_sense_gets_nowhere(running: ServerProcess, hello: dict[str, Any]) -> None:
    good = {"proto": 2, "session": "s1", "client": "c1", "conn": 1, "cursor": 0, "epoch": None, "csn": 0}
    with connect(
        running.ws, subprotocols=[Subprotocol("edchat.v2")], additional_headers=BEARER, proxy=None
    ) as ws:
        ws.send(json.dumps({"type": "hello", "data": good | hello}))
        answers = []
        with suppress(ConnectionClosed):
            while True:
                answers.append(ws.recv(15))
        assert ws.close_code == 4400
    assert {json.loads(answer)["type"] for answer in answers} == {"error"}


def test_compression_is_not_agreed_to(running: ServerProcess) -> None:
    with connect(running.ws, additional_headers=BEARER, proxy=None, compression="deflate") as ws:
        assert ws.response is not None
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


def test_a_request_body_beyond_the_limit_is_refused_before_it_is_read(running: ServerProcess) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(4000):
            yield b"x" * 65536

    with running.http(headers=BEARER) as http, suppress(httpx.WriteError):  # it did not wait for the end of it
        assert http.post("/v2/sessions/s1/frames", content=endless()).status_code == 413


def test_a_client_of_one_session_learns_nothing_of_another(running: ServerProcess) -> None:
    secret = Client(running, session="private-one").open()
    secret.say("the secret plan")
    secret.until_over()
    secret.close()
    curious = Client(running, session="private-two", client=secret.client, cursor=1, epoch=secret.epoch).open()
    assert curious.welcome["resume"] == "snapshot"
    curious.say("hello")
    curious.until_over()
    assert "secret plan" not in json.dumps(curious.frames)
    curious.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights in another way")
def test_what_is_on_the_disk_is_readable_by_its_owner_alone(running: ServerProcess) -> None:
    for file in running.data_dir.rglob("*"):
        if file.name != "server.log":  # made by the test itself
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
