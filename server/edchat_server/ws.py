"""The WebSocket route: version 2 by subprotocol, the origin's frames otherwise.

A connection is two tasks: the reader here, which never awaits a run, and the writer, which reads the log.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from datetime import UTC, datetime

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from edchat_protocol import PROTOCOL, SUBPROTOCOL_V2
from edchat_protocol.codec import decode_down, decode_up, encode
from edchat_protocol.errors import ErrorCode, FrameError
from edchat_protocol.frames import (
    Cancel,
    ErrorFrame,
    Frame,
    Goaway,
    GoawayData,
    Hello,
    HelloData,
    MessageFrame,
    Ping,
    Pong,
    Seen,
    StatusData,
    StatusFrame,
    Up,
    UserMessage,
    Welcome,
    WelcomeData,
)

from . import delivery
from .core import HEARTBEAT_SECONDS, LIMITS, Core
from .errors import error_frame
from .intake import answer, command_of
from .store import Accepted, StoreError, Trimmed, utc_now
from .store.base import Greeting
from .v1 import Projection

HELLO_SECONDS = 5.0
SEND_SECONDS = 20.0
CLOSE_SECONDS = 1.0

_SESSION = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
_log = logging.getLogger("edchat.server.ws")


async def serve(ws: WebSocket, core: Core, *, patience: float = SEND_SECONDS) -> None:
    """Serve one WebSocket until it ends. A peer that reads nothing for `patience` seconds is cut off."""
    v2 = SUBPROTOCOL_V2 in ws.scope["subprotocols"]
    await ws.accept(subprotocol=SUBPROTOCOL_V2 if v2 else None)
    peer: _V2 | _V1 = _V2(ws, core, patience) if v2 else _V1(ws, core, patience)
    code = None
    try:
        await peer.serve()
    except WebSocketDisconnect as gone:
        code = gone.code
    except Trimmed:
        code = 4413
        await peer.close(code, "too far behind")
    except StoreError as exc:
        code = 1011
        _log.error("a connection ends because the store failed: %s", exc)
        await peer.close(code, "the store failed")
    except Exception:  # noqa: BLE001 - the root of the connection's tasks
        code = 1011
        _log.exception("a connection ends because of a defect")
        await peer.close(code, "the server failed")
    finally:
        peer.left(code)


class _Peer:
    """What both versions share: sending, reading, and the end."""

    def __init__(self, ws: WebSocket, core: Core, patience: float) -> None:
        self._ws = ws
        self._core = core
        self._patience = patience
        self._session: str | None = None

    async def send(self, frame: Frame) -> None:
        """Write one frame."""
        await self.write(encode(frame))

    async def write(self, body: bytes) -> None:
        """Write one frame that is JSON already. A peer that reads nothing for long is cut off."""
        try:
            async with asyncio.timeout(self._patience):
                await self._ws.send_text(body.decode())
        except TimeoutError:
            await self.close(4413, "too slow")
            self._ws.scope["state"]["abort"]()  # what such a peer has not read, uvicorn would offer for ever
            raise WebSocketDisconnect(4413) from None
        except RuntimeError:  # Starlette's word for a socket that was closed by our own side
            raise WebSocketDisconnect(1006) from None

    async def close(self, code: int, reason: str) -> None:
        """Close the socket, if it is open still."""
        # A peer that reads nothing keeps uvicorn from sending anything, the close frame included.
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(min(CLOSE_SECONDS, self._patience)):
                await self._ws.close(code, reason)

    async def receive(self) -> Up | None:
        """Return the next frame; None: it could not be taken, and the peer was told why."""
        message = await self._ws.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", 1006))
        text = message.get("text")
        raw: str | bytes = text if text is not None else message.get("bytes") or b""
        try:
            return decode_up(raw)
        except FrameError as exc:
            _log.warning("a frame was refused: %s: %.200s", exc.code, exc)
            await self.send(error_frame(exc.code, str(exc), ref=exc.ref))
            return None

    async def alongside(self, writer: Awaitable[None], reader: Awaitable[None]) -> None:
        """Run the writer while the reader reads; the end of either ends both."""
        tasks = [asyncio.ensure_future(writer), asyncio.ensure_future(reader)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    def joined(self, session: str, version: int) -> None:
        """Log and audit the beginning."""
        self._session = session
        _log.info("connect: session %s, version %d", session, version)
        self._core.audit.write(session, "chat", "connect", version=version)

    def left(self, code: int | None) -> None:
        """Log and audit the end."""
        if self._session is not None:
            _log.info("disconnect: session %s, code %s", self._session, code)
            self._core.audit.write(self._session, "chat", "disconnect", code=code)


class _V2(_Peer):
    """hello, welcome, then the log from the client's cursor on."""

    async def serve(self) -> None:
        hello = await self._hello()
        if hello is None:
            return
        core, data = self._core, hello.data
        if core.hub.draining.is_set():
            await self.close(1012, "the server is going away")
            return
        greeting = await core.store.greet(
            data.session, data.client, data.conn, cursor=data.cursor, epoch=data.epoch
        )
        if greeting.stale:
            await self.close(4409, "superseded by a newer connection")
            return
        with core.hub.place(data.session, data.client, data.conn, self.close) as place:
            self.joined(data.session, 2)
            await self.send(welcome(core, data.session, greeting))
            core.hub.greeted(data.session, data.client, place)
            await self.alongside(self._write(data, greeting), self._read(data))

    async def _hello(self) -> Hello | None:
        try:
            async with asyncio.timeout(min(HELLO_SECONDS, self._patience)):
                frame = await self.receive()
        except TimeoutError:
            await self.close(4408, "no hello came")
            return None
        if not isinstance(frame, Hello):
            await self.send(error_frame("bad_frame", "the first frame must be hello"))
            await self.close(4400, "the first frame must be hello")
            return None
        if frame.data.proto != PROTOCOL:
            await self.send(error_frame("bad_frame", f"hello: proto {PROTOCOL} is spoken here"))
            await self.close(4504, f"proto {PROTOCOL} is spoken here")
            return None
        return frame

    async def _write(self, hello: HelloData, greeting: Greeting) -> None:
        core, session, cursor = self._core, hello.session, hello.cursor
        with core.hub.listen(session) as listener:
            if not greeting.replay:
                async for out in delivery.snapshot(core.store, session):
                    await self.write(out.body)
                    cursor = out.seq or 0
            leaving = False
            async with aclosing(delivery.follow(core.store, listener, session, cursor)) as batches:
                async for rows in batches:
                    for out in delivery.events(rows):
                        await self.write(out.body)
                    if core.hub.draining.is_set() and not leaving:
                        leaving = True  # and stay: the last events of a run may still come
                        await self.send(goaway())

    async def _read(self, hello: HelloData) -> None:
        while True:
            frame = await self.receive()
            match frame:
                case None | Pong() | Seen():
                    pass
                case Ping():
                    await self.send(Pong(data=frame.data))
                case Hello():
                    await self.send(error_frame("bad_frame", "hello was said already"))
                case UserMessage() | Cancel():
                    await self._take(frame, hello)

    async def _take(self, frame: UserMessage | Cancel, hello: HelloData) -> None:
        if frame.id is None or frame.csn is None:
            await self.send(error_frame("bad_frame", "message: id and csn are needed", ref=frame.id))
            return
        command = command_of(frame, session=hello.session, client=hello.client, message_id=frame.id)
        await self.send(answer(command, await self._core.intake.take(command)))


class _V1(_Peer):
    """The origin's frames, exactly; what was missed since the last connection is pushed once."""

    async def serve(self) -> None:
        session = self._ws.query_params.get("session_id") or f"ws-{datetime.now(UTC).timestamp():.6f}"
        if not _SESSION.fullmatch(session):
            await self.send(_error("bad_frame", "session_id: takes 1 to 64 of letters, digits and _.~-"))
            await self.close(1008, "bad session_id")
            return
        store = self._core.store
        _, head = await store.head(session)
        seen = await store.v1_cursor(session)
        if seen is None:
            await store.set_v1_cursor(session, head)
        self.joined(session, 1)
        hello = StatusData(status="connected", session_id=session, message="Connected to the PM agent")
        await self.send(StatusFrame(timestamp=utc_now(), data=hello))
        await self.alongside(self._write(session, head if seen is None else seen, head), self._read(session))

    async def _write(self, session: str, cursor: int, head: int) -> None:
        core, projection = self._core, Projection()
        with core.hub.listen(session) as listener:
            async with aclosing(delivery.follow(core.store, listener, session, cursor, holes=True)) as batches:
                async for rows in batches:
                    for row in rows:
                        for frame in projection.frames(decode_down(row.body)):  # type: ignore[arg-type]
                            final = isinstance(frame, MessageFrame | ErrorFrame)
                            if final or row.seq > head:
                                await self.send(frame)
                            if final:
                                # Shielded: who leaves after an answer must not get it again.
                                await asyncio.shield(core.store.set_v1_cursor(session, row.seq))

    async def _read(self, session: str) -> None:
        connection = uuid.uuid4()
        count = 0
        while True:
            frame = await self.receive()
            match frame:
                case None | Pong():
                    pass
                case Ping():
                    await self.send(Pong(timestamp=utc_now(), data=frame.data or {}))
                case UserMessage():
                    count += 1
                    message_id = frame.id or str(uuid.uuid5(connection, str(count)))
                    await self._take(frame, session, message_id)
                case _:
                    kind = frame.__struct_config__.tag
                    text = f"type {kind!r} needs the subprotocol {SUBPROTOCOL_V2}"
                    await self.send(_error("unknown_type", text))

    async def _take(self, frame: UserMessage, session: str, message_id: str) -> None:
        bare = UserMessage(data=frame.data, session_id=frame.session_id)
        command = command_of(bare, session=session, client="v1", message_id=message_id)
        outcome = await self._core.intake.take(command)
        if not isinstance(outcome, Accepted):
            await self.send(_error(outcome.code, outcome.message))


def welcome(core: Core, session: str, greeting: Greeting) -> Welcome:
    """Return the answer to a `hello`, on either carrier."""
    return Welcome(
        data=WelcomeData(
            proto=PROTOCOL, session=session, epoch=greeting.epoch, store=core.store.id, head=greeting.head,
            accepted_csn=greeting.accepted_csn, resume="replay" if greeting.replay else "snapshot",
            hb=HEARTBEAT_SECONDS, limits=LIMITS, agent=core.agent, runs=greeting.runs,
            replica=core.settings.replica,
        )
    )


def goaway(code: int = 1012, reason: str = "the server is going away") -> Goaway:
    """Return the goodbye before an end that the server wants; by default, because it stops."""
    return Goaway(data=GoawayData(retry_after_ms=500 if code == 1012 else 0, reason=reason, code=code))


def _error(code: ErrorCode, message: str) -> ErrorFrame:
    return msgspec.structs.replace(error_frame(code, message), timestamp=utc_now())
