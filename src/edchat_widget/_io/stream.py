"""Events down over HTTP: as a stream of server-sent events."""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx

from edchat_protocol.frames import HelloData
from edchat_widget._core.buffering import Heartbeats
from edchat_widget._core.carriers import Way
from edchat_widget._core.sse import EventParser, EventTooLong
from edchat_widget.errors import ConnectError, ConnectionLost, RemoteProtocolError

from .requests import events_request, refused

_log = logging.getLogger("edchat.client.connection")
HEADERS_WITHIN = 5.0
WELCOME_WITHIN = 3.0
_SILENCE = 21.0  # two heartbeats of the server did not come


class HeldBack(Exception):
    """Nothing of the stream comes through. `headers`: but its headers did, so that a server is there for sure."""

    def __init__(self, *, headers: bool) -> None:
        super().__init__()
        self.headers = headers


class EventStream:
    """One open stream. `suspicions` counts signs that something holds it back."""

    way: Way = "http"

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()
        self._parser = EventParser()
        self._first: list[bytes] = []
        self.heard_at = asyncio.get_running_loop().time()
        self.suspicions = 0

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield each event's data, to the stream's end."""
        loop = asyncio.get_running_loop()
        heartbeats = Heartbeats(loop.time())
        first, self._first = self._first, []
        for frame in first:
            yield frame
        async for piece in self._pieces:
            self.heard_at = loop.time()
            for frame in self._parsed(piece):
                if heartbeats.heard(self.heard_at, heartbeat=frame.startswith(b'{"type":"ping"')):
                    _log.info("heartbeats came in a clump: something holds the stream back")
                    self.suspicions += 1
                yield frame

    async def aclose(self) -> None:
        """Leave the stream."""
        await self._response.aclose()

    async def greeted(self) -> None:
        """Wait for the first event."""
        async for piece in self._pieces:
            self._first = self._parsed(piece)
            if self._first:
                return
        raise ConnectionLost("The event stream ended before it began.")

    def _parsed(self, piece: bytes) -> list[bytes]:
        try:
            return self._parser.feed(piece)
        except EventTooLong as exc:
            raise RemoteProtocolError(f"The server broke the protocol: {exc}.") from exc


async def open_stream(client: httpx.AsyncClient, hello: HelloData) -> EventStream:
    """Open the session's event stream, and wait for its first event.

    Raises:
        HeldBack: there is a server, but of the stream nothing comes.
        ConnectError, ConnectionLost, Refused
    """
    request = events_request(client, hello, {})
    # What compresses a stream also gathers it.
    request.headers.update({"Accept": "text/event-stream", "Accept-Encoding": "identity"})
    request.extensions["timeout"] = httpx.Timeout(10.0, read=_SILENCE).as_dict()
    try:
        async with asyncio.timeout(HEADERS_WITHIN):
            response = await client.send(request, stream=True)
    except TimeoutError:
        raise HeldBack(headers=False) from None
    try:
        if response.status_code != 200:
            raise await refused(response)
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise ConnectError(
                "What answers at this address is no chat server.",
                hint="It may be a login page. Give the address of the chat server itself.")
        stream = EventStream(response)
        async with asyncio.timeout(WELCOME_WITHIN):
            await stream.greeted()
    except TimeoutError:
        await response.aclose()
        raise HeldBack(headers=True) from None
    except BaseException:
        await response.aclose()
        raise
    return stream
