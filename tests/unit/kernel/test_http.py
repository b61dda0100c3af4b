"""The HTTP carrier against a server in the same process that does as it is told."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest
from tests.unit.kernel.scripted import ScriptedServer

from edchat_protocol.codec import encode
from edchat_protocol.frames import Goaway, GoawayData, HelloData, Ping
from edchat_widget._core.buffering import HeldStreams
from edchat_widget._io.http import HttpTransport
from edchat_widget._io.polls import Polls
from edchat_widget.errors import ConnectionLost, EdChatError, RemoteProtocolError

HELLO = HelloData(proto=2, session="s1", client="c1", conn=1)
Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


def client(answer: Answer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://h", transport=httpx.MockTransport(answer))


class Quiet:
    """A source that says what it is given, and then nothing."""

    way = "http"
    heard_at = 0.0
    suspicions = 0

    def __init__(self, *frames: bytes | EdChatError | httpx.HTTPError, ends: bool = False) -> None:
        self._frames = frames
        self._ends = ends

    async def frames(self) -> Any:
        for frame in self._frames:
            if isinstance(frame, Exception):
                raise frame
            yield frame
        if not self._ends:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        pass


async def carried(source: Any, answer: Answer, *, held: HeldStreams | None = None) -> HttpTransport:
    return HttpTransport(client(answer), source, HELLO, server="http://h", held=held or HeldStreams())


async def nothing(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"acks": []})


async def lost(transport: HttpTransport) -> EdChatError:
    try:
        while True:
            await asyncio.wait_for(transport.receive(), 5)
    except EdChatError as error:
        return error
    finally:
        await transport.close()


@pytest.mark.parametrize("code", [1012, 4409, 4501, 4429])
def test_the_end_of_a_stream_has_the_code_of_the_goodbye_before_it(code: int) -> None:
    async def main() -> EdChatError:
        said = encode(Goaway(data=GoawayData(code=code, reason="so be it")))
        return await lost(await carried(Quiet(said, ends=True), nothing))

    error = asyncio.run(main())
    assert isinstance(error, ConnectionLost)
    assert error.close_code == code


def test_a_post_on_a_connection_that_the_server_let_go_is_sent_again_once() -> None:
    bodies: list[bytes] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(await request.aread())
        if len(bodies) == 1:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(200, json={"acks": [{"type": "ack", "ack": 1}]})

    async def main() -> bytes | str:
        transport = await carried(Quiet(), answer)
        await transport.send(b'{"type":"message","id":"m1","csn":1,"data":{"content":"x"}}')
        frame = await asyncio.wait_for(transport.receive(), 5)
        await transport.close()
        return frame

    assert json.loads(asyncio.run(main()))["ack"] == 1
    assert bodies[0] == bodies[1]


def test_a_server_that_answers_no_post_is_lost_and_not_hammered() -> None:
    posts: list[int] = []

    async def answer(_request: httpx.Request) -> httpx.Response:
        posts.append(1)
        raise httpx.ReadError("reset")

    async def main() -> EdChatError:
        transport = await carried(Quiet(), answer)
        await transport.send(encode(Ping(data={"n": 1})))
        return await lost(transport)

    assert isinstance(asyncio.run(main()), ConnectionLost)
    assert len(posts) == 2


@pytest.mark.parametrize(("body", "error"), [
    (b"<html>", RemoteProtocolError), (b'{"acks":[]}' + b" " * 17_000_000, RemoteProtocolError)])
def test_what_answers_a_post_must_be_a_chat_server_and_brief(body: bytes, error: type[EdChatError]) -> None:
    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body)

    async def main() -> EdChatError:
        transport = await carried(Quiet(), answer)
        await transport.send(encode(Ping(data={"n": 1})))
        return await lost(transport)

    assert isinstance(asyncio.run(main()), error)


def test_a_stream_that_is_silent_while_commands_are_answered_is_held_back_when_it_happens_twice() -> None:
    held = HeldStreams()

    async def main() -> list[bool]:
        known = []
        for _ in range(2):
            transport = await carried(Quiet(httpx.ReadTimeout("silence")), nothing, held=held)
            transport._answered_at = 1.0
            await lost(transport)
            known.append(held.known("http://h", asyncio.get_running_loop().time()))
        return known

    assert asyncio.run(main()) == [False, True]


def test_a_server_that_is_silent_in_all_things_is_not_taken_for_a_held_stream() -> None:
    held = HeldStreams()

    async def main() -> bool:
        for _ in range(3):
            await lost(await carried(Quiet(httpx.ReadTimeout("silence")), nothing, held=held))
        return held.known("http://h", asyncio.get_running_loop().time())

    assert not asyncio.run(main())


# --------------------------------------------------------------------------------------------------- polls


class Log:
    """Answers polls from a scripted server's log; `faulty` may spoil each answer."""

    def __init__(self, faulty: Callable[[int, bytes], httpx.Response | None] = lambda n, body: None) -> None:
        self.server = ScriptedServer()
        self.asked: list[dict[str, str]] = []
        self._faulty = faulty

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        self.asked.append(params)
        welcome, *frames = self.server.welcome(HelloData(
            proto=2, session="s1", client="c1", conn=1, cursor=int(params["cursor"]), epoch=params.get("epoch")))
        body = b'{"welcome":%s,"frames":[%s]}' % (welcome, b",".join(frames))
        return self._faulty(len(self.asked), body) or httpx.Response(200, content=body)


def seqs(frame: bytes) -> list[int]:
    said = json.loads(frame)
    inner = said["data"]["frames"] if said["type"] in ("events", "snapshot") else [said]
    return [each["seq"] for each in inner if "seq" in each]


def polled(log: Log, count: int, hello: HelloData = HELLO) -> list[int]:
    """Return the seqs of the first `count` events, as polls bring them while the agent works."""
    async def main() -> list[int]:
        async with client(log) as http:
            polls = Polls(http, hello)
            await polls.greeted()
            found: list[int] = []
            async with asyncio.timeout(20):
                async for frame in polls.frames():
                    found += seqs(frame)
                    log.server.step()
                    if len(found) >= count:
                        return found
        return found

    log.server._begin("m1", "one")
    return asyncio.run(main())


@pytest.mark.parametrize("epoch", [None, "e1"])
def test_each_poll_goes_on_where_the_last_one_ended(epoch: str | None) -> None:
    log = Log()
    assert polled(log, 8, msgspec.structs.replace(HELLO, epoch=epoch)) == list(range(1, 9))
    assert [a["wait"] for a in log.asked[:2]] == ["0", "12"]
    cursors = [int(a["cursor"]) for a in log.asked]
    assert cursors[:2] == [0, 2]
    assert cursors == sorted(set(cursors))
    assert {a["conn"] for a in log.asked} == {"1"}
    assert {a.get("epoch") for a in log.asked[1:]} == {"e1"}


def test_a_lost_poll_is_asked_again() -> None:
    def faulty(number: int, _body: bytes) -> httpx.Response | None:
        if number == 2:
            raise httpx.ReadTimeout("lost")
        return None

    log = Log(faulty)
    assert polled(log, 4) == [1, 2, 3, 4, 5]


def test_a_stored_answer_does_not_make_it_spin() -> None:
    stored: list[bytes] = []

    def faulty(_number: int, body: bytes) -> httpx.Response:
        stored.append(body)
        return httpx.Response(200, content=stored[0])

    log = Log(faulty)

    async def main() -> None:
        async with client(log) as http:
            polls = Polls(http, HELLO)
            await polls.greeted()
            with suppress(TimeoutError):
                async with asyncio.timeout(2.5):
                    async for _ in polls.frames():
                        pass

    log.server._begin("m1", "one")
    asyncio.run(main())
    assert len(log.asked) <= 5


@pytest.mark.parametrize("answer", [
    httpx.Response(200, content=b"<html>"), httpx.Response(200, json={"welcome": {"type": "pong"}}),
    httpx.Response(200, json={"frames": []})])
def test_what_is_no_poll_is_not_taken_for_one(answer: httpx.Response) -> None:
    async def main() -> None:
        async with client(Log(lambda _n, _body: answer)) as http:
            await Polls(http, HELLO).greeted()

    with pytest.raises(EdChatError):
        asyncio.run(main())


def test_no_log_line_has_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        http = client(nothing)
        http.headers["Authorization"] = "Bearer sesame"
        transport = HttpTransport(
            http, Quiet(httpx.ReadError("x")), HELLO, server="http://h", held=HeldStreams())
        await transport.send(encode(Ping(data={"n": 1})))
        await lost(transport)

    asyncio.run(main())
    assert "sesame" not in caplog.text
