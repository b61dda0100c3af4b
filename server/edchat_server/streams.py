"""The two ways down of the HTTP carrier: a stream of server-sent events, and the long poll.

Both read the same log from the same cursor, and say the same frames as a WebSocket.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

import msgspec

from edchat_protocol.codec import encode
from edchat_protocol.frames import Goaway, Ping

from . import delivery
from .core import Core
from .errors import HttpError
from .hub import Listener
from .store import Trimmed
from .store.base import Greeting, Row

# Some proxies hold back the first kilobytes of a response.
PREFACE = b":" + b" " * 2048 + b"\nretry: 1000\n\n"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a stream says something, and how long it lasts; seconds."""

    heartbeat: float = 10.0
    rotate: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Who reads, and from where on."""

    session: str
    client: str
    conn: int
    cursor: int
    greeting: Greeting


class _End:
    """Why a reader is to end before its time: set by whoever closes its place."""

    def __init__(self, core: Core, listener: Listener) -> None:
        self._core = core
        self.said: Goaway | None = None
        self.listener = listener

    async def close(self, code: int, reason: str) -> None:
        """End the reader at its next look."""
        self.said = self._core.goaway(code, reason)
        self.listener.ring()


async def stream(core: Core, reader: Reader, pace: Pace) -> AsyncGenerator[bytes, None]:
    """Yield the log from the cursor on, as server-sent events; the first one is `welcome`."""
    loop = asyncio.get_running_loop()
    session, epoch, cursor = reader.session, reader.greeting.epoch, reader.cursor
    with core.hub.listen(session) as listener:
        end = _End(core, listener)
        with core.hub.place(session, reader.client, reader.conn, end.close) as place:
            yield PREFACE
            yield _sse(encode(core.welcome(session, reader.greeting)))
            core.hub.greeted(session, reader.client, place)
            if not reader.greeting.replay:
                async for out in delivery.snapshot(core.store, session):
                    yield _sse(out.body, epoch, out.seq)
                    cursor = out.seq or 0
            last = loop.time() + pace.rotate
            beat = loop.time() + pace.heartbeat
            with suppress(Trimmed):  # the next stream begins with a snapshot
                async with aclosing(delivery.follow(core.store, listener, session, cursor)) as batches:
                    async for rows in batches:
                        for out in delivery.events(rows):
                            yield _sse(out.body, epoch, out.seq)
                        if end.said is not None or core.hub.draining.is_set() or loop.time() >= last:
                            break
                        if rows:
                            beat = loop.time() + pace.heartbeat
                        elif loop.time() >= beat:
                            beat = loop.time() + pace.heartbeat
                            yield _sse(encode(Ping()))
            yield _sse(encode(end.said or core.goaway()))


@dataclass(frozen=True, kw_only=True)
class Polled:
    """The answer to one poll. `sent` is to be called when it is on its way: older connections end then."""

    body: bytes
    sent: Callable[[], Awaitable[None]]


async def poll(core: Core, reader: Reader, wait: float) -> Polled:
    """Return what is new behind the cursor, as soon as there is something, at the latest after `wait` seconds.

    Raises:
        HttpError: 409, a newer connection of the client took the place of this one.
    """
    session, cursor = reader.session, reader.cursor
    out: list[delivery.Outgoing] = []
    with core.hub.listen(session) as listener:
        end = _End(core, listener)
        with core.hub.place(session, reader.client, reader.conn, end.close) as place:
            if not reader.greeting.replay:
                out = [page async for page in delivery.snapshot(core.store, session)]
                cursor, wait = out[-1].seq or 0, 0
            with suppress(Trimmed):  # the next poll brings a snapshot
                out += delivery.events(await _new_rows(core, session, cursor, end, wait))
    if end.said is not None and not out:
        raise HttpError(409, "conflict", end.said.data.reason)
    frames = [msgspec.Raw(each.body) for each in out]
    if core.hub.draining.is_set():
        frames.append(msgspec.Raw(encode(core.goaway())))
    greeting = msgspec.Raw(encode(core.welcome(session, reader.greeting)))

    async def sent() -> None:
        core.hub.greeted(session, reader.client, place)

    return Polled(body=msgspec.json.encode({"welcome": greeting, "frames": frames}), sent=sent)


async def _new_rows(core: Core, session: str, cursor: int, end: _End, wait: float) -> list[Row]:
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    while True:
        rows = await delivery.read(core.store, session, cursor)
        left = until - loop.time()
        if rows or left <= 0 or end.said is not None or core.hub.draining.is_set():
            return rows
        await end.listener.wait(min(1.0, left))


def _sse(body: bytes, epoch: str = "", seq: int | None = None) -> bytes:
    head = f"id: {epoch}:{seq}\n".encode() if seq is not None else b""
    return head + b"data: " + body + b"\n\n"
