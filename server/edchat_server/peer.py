"""One WebSocket, whatever it speaks: sending, reading, and the end."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from edchat_protocol.codec import decode_up, encode
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import Frame, StatusFrame, Up

from .core import Core
from .errors import error_frame
from .identity import LOOK_SECONDS, Identity, Standing

CLOSE_SECONDS = 1.0

_log = logging.getLogger("edchat.server.ws")


class Dismissed(Exception):
    """The connection ends with this close code, for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Peer:
    """What both versions share: sending, reading, and the end."""

    def __init__(self, ws: WebSocket, core: Core, patience: float) -> None:
        self._ws = ws
        self._core = core
        self._patience = patience
        self._flow = core.door.flow()
        self._session: str | None = None
        self._who: Identity | None = ws.scope["state"]["identity"]

    @property
    def who(self) -> Identity:
        """Who is at the other end. Raises `Dismissed` for somebody who has not said it."""
        if self._who is None:
            raise Dismissed(4502, "a valid ticket is needed")
        return self._who

    @property
    def is_known(self) -> bool:
        """Whether it is known who is at the other end."""
        return self._who is not None

    def show(self, ticket: str | None) -> None:
        """Take the ticket of somebody who could send no token. Raises `Dismissed` if it is none."""
        if self._who is None:
            found = None if ticket is None else self._core.tickets.redeem(ticket)
            if found is None or self._core.tokens.seconds_left(found) <= 0:
                raise Dismissed(4502, "a valid ticket is needed")
            self._who = found
            self._ws.scope["state"]["known"]()

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

    async def dismiss(self, code: int, reason: str, retry_after_ms: int = 0) -> None:
        """Say why and when to come back, then close."""
        with suppress(WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(min(CLOSE_SECONDS, self._patience)):
                await self._say_goodbye(code, reason, retry_after_ms)
        await self.close(code, reason)

    async def _say_goodbye(self, code: int, reason: str, retry_after_ms: int) -> None:
        raise NotImplementedError

    async def receive(self) -> Up | None:
        """Return the next frame; None: it could not be taken, and the peer was told why.

        Raises:
            TooMany: the peer sends more than anybody needs.
            WebSocketDisconnect: it is gone.
        """
        message = await self._ws.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", 1006))
        self._core.door.frame(self._flow)
        text = message.get("text")
        raw: str | bytes = text if text is not None else message.get("bytes") or b""
        try:
            return decode_up(raw)
        except FrameError as exc:
            _log.warning("a frame was refused: %s: %.200s", exc.code, exc)
            await self.send(error_frame(exc.code, str(exc), ref=exc.ref))
            return None

    async def alongside(self, *parts: Awaitable[None]) -> None:
        """Run the writer, the reader and what else there is; the end of one ends all. So does the end of a token."""
        tasks = [asyncio.ensure_future(part) for part in parts]
        if self.who.name is not None:
            tasks.append(asyncio.ensure_future(self._watch_token()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:  # the writer's word first: when it cuts the peer off, the reader ends as well
            if task in done:
                task.result()

    async def _watch_token(self) -> None:
        standing = Standing(self._core.tokens, self.who)
        while True:
            match standing.look():
                case "gone":
                    raise Dismissed(4501, "the token has expired or was removed")
                case "expiring":
                    await self.warn(self._core.auth_expiring())
            await asyncio.sleep(LOOK_SECONDS)

    async def warn(self, frame: StatusFrame) -> None:
        """Say something that is not part of the log."""
        await self.send(frame)

    def joined(self, session: str, version: int) -> None:
        """Log and audit the beginning."""
        self._session = session
        _log.info("connect: session %s, version %d", session, version)
        self._core.audit.write(session, "chat", "connect", version=version, user=self.who.name)

    def left(self, code: int | None) -> None:
        """Log and audit the end."""
        if self._session is not None:
            _log.info("disconnect: session %s, code %s", self._session, code)
            self._core.audit.write(self._session, "chat", "disconnect", code=code, user=self.who.name)
