"""One WebSocket, whatever it speaks: sending, reading, and the end."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from edchat_protocol.codec import decode_up, encode
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import Frame, Up

from .core import Core
from .errors import error_frame

CLOSE_SECONDS = 1.0

_log = logging.getLogger("edchat.server.ws")


class Peer:
    """What both versions share: sending, reading, and the end."""

    def __init__(self, ws: WebSocket, core: Core, patience: float) -> None:
        self._ws = ws
        self._core = core
        self._patience = patience
        self._flow = core.door.flow()
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
