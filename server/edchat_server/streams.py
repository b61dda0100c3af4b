"""The two ways down of the HTTP carrier: a stream of server-sent events, and the long poll.

Both read the same log from the same cursor, and say the same frames as a WebSocket.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

import msgspec

from edchat_protocol.codec import encode
from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import Goaway, Ping, StatusFrame

from . import delivery
from .core import Core
from .errors import HttpError
from .hub import Listener
from .identity import Identity, Standing
from .store import Trimmed
from .store.base import Greeting, Row

# Some proxies hold back the first kilobytes of a response.
PREFACE = b":" + b" " * 2048 + b"\nretry: 1000\n\n"
_REFUSALS: dict[int, tuple[int, ErrorCode]] = {4409: (409, "conflict"), 4501: (401, "unauthorized")}


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
    who: Identity


class _End:
    """Why a reader is to end: a newer connection, its token, the server. `warning`: the token will, soon."""

    def __init__(self, core: Core, listener: Listener, who: Identity) -> None:
        self._core = core
        self._standing = Standing(core.tokens, who)
        self.said: Goaway | None = None
        self.warning: StatusFrame | None = None
        self.listener = listener

    async def close(self, code: int, reason: str) -> None:
        """End the reader at its next look."""
        self.said = self._core.goaway(code, reason)
        self.listener.ring()

    def look(self) -> bool:
        """Return whether it is time to end; `said` is then what to say."""
        if self.said is None:
            match self._standing.look():
                case "gone":
                    self.said = self._core.goaway(4501, "the token has expired or was removed")
                case "expiring":
                    self.warning = self._core.auth_expiring()
        if self.said is None and self._core.hub.draining.is_set():
            self.said = self._core.goaway()
        return self.said is not None


async def stream(core: Core, reader: Reader, pace: Pace) -> AsyncGenerator[bytes, None]:
    """Yield the log from the cursor on, as server-sent events; the first one is `welcome`."""
    loop = asyncio.get_running_loop()
    session, epoch, cursor = reader.session, reader.greeting.epoch, reader.cursor
    with core.hub.listen(session) as listener:
        end = _End(core, listener, reader.who)
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
                async with aclosing(delivery.follow(core.store, listener, session, cursor, look_every=1.0)) as batches:
                    async for rows in batches:
                        for out in delivery.events(rows):
                            yield _sse(out.body, epoch, out.seq)
                        if end.look() or loop.time() >= last:
                            break
                        if end.warning is not None:
                            yield _sse(encode(end.warning))
                            end.warning = None
                        if rows:
                            beat = loop.time() + pace.heartbeat
                        elif loop.time() >= beat:
                            beat = loop.time() + pace.heartbeat
                            yield _sse(encode(Ping()))
            yield _sse(encode(end.said or core.goaway(reason="the stream is renewed", retry_after_ms=0)))


@dataclass(frozen=True, kw_only=True)
class Polled:
    """The answer to one poll. `sent` is to be called when it is on its way: older connections end then."""

    body: bytes
    sent: Callable[[], Awaitable[None]]


async def poll(core: Core, reader: Reader, wait: float) -> Polled:
    """Return what is new behind the cursor, as soon as there is something, at the latest after `wait` seconds.

    Raises:
        HttpError: 409, a newer connection of the client took the place of this one; 401, the token ended.
    """
    session, cursor = reader.session, reader.cursor
    out: list[delivery.Outgoing] = []
    with core.hub.listen(session) as listener:
        end = _End(core, listener, reader.who)
        with core.hub.place(session, reader.client, reader.conn, end.close) as place:
            if not reader.greeting.replay:
                out = [page async for page in delivery.snapshot(core.store, session)]
                cursor, wait = out[-1].seq or 0, 0
            with suppress(Trimmed):  # the next poll brings a snapshot
                out += delivery.events(await _new_rows(core, session, cursor, end, wait))
    if end.said is not None and not out and end.said.data.code in _REFUSALS:
        status, code = _REFUSALS[end.said.data.code]
        raise HttpError(status, code, end.said.data.reason)
    frames = [msgspec.Raw(each.body) for each in out]
    frames += [msgspec.Raw(encode(frame)) for frame in (end.warning, end.said) if frame is not None]
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
        if end.look() or rows or left <= 0:
            return rows
        await end.listener.wait(min(1.0, left))


def _sse(body: bytes, epoch: str = "", seq: int | None = None) -> bytes:
    head = f"id: {epoch}:{seq}\n".encode() if seq is not None else b""
    return head + b"data: " + body + b"\n\n"
