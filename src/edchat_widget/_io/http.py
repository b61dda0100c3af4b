"""The HTTP carrier: commands by POST, events as a stream or by long poll. The very same frames."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from edchat_protocol import SUBPROTOCOL_V2
from edchat_protocol.codec import decode_down, encode
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import Goaway, HelloData, Pong
from edchat_widget._core.buffering import HeldStreams
from edchat_widget._core.carriers import Way
from edchat_widget.errors import ConnectError, ConnectionLost, EdChatError, RemoteProtocolError

from .polls import Polls
from .requests import body_of, broken, client_for, opening, refused
from .stream import HeldBack, open_stream
from .transport import Endpoint, Transport, closed, refusal

_log = logging.getLogger("edchat.client.connection")
_BATCH = 50
_TRIES = 2
# A stream that still brings heartbeats hides from the core that commands get no further.
_PATIENCE = httpx.Timeout(10.0, read=12.0)
HELD = HeldStreams()
"""What this process found out about servers' streams."""


class Source(Protocol):
    """Where frames come from."""

    @property
    def way(self) -> Way:
        """How they travel."""

    @property
    def heard_at(self) -> float:
        """When the last bytes came."""

    @property
    def suspicions(self) -> int:
        """How often it looked as if something held them back."""

    def frames(self) -> AsyncIterator[bytes]:
        """Yield them."""

    async def aclose(self) -> None:
        """Give it up."""


class _Answer(msgspec.Struct):
    acks: list[msgspec.Raw] = []


class HttpTransport:
    """Frames over POST and a source. `server` is what `held` knows the server by."""

    def __init__(
        self, client: httpx.AsyncClient, source: Source, hello: HelloData, *, server: str, held: HeldStreams
    ) -> None:
        self._client = client
        self._source = source
        self._hello = hello
        self._server = server
        self._held = held
        self._path = f"/v2/sessions/{quote(hello.session)}/frames"
        self._loop = asyncio.get_running_loop()
        self._answered_at = 0.0
        self._goaway: Goaway | None = None
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._in: asyncio.Queue[bytes | EdChatError] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    @property
    def way(self) -> Way:
        """A stream, or polls."""
        return self._source.way

    @property
    def subprotocol(self) -> str | None:
        """Always version 2."""
        return SUBPROTOCOL_V2

    async def send(self, raw: bytes) -> None:
        """Queue one frame for the next POST. What is lost with the connection is sent again by the core."""
        self._out.put_nowait(raw)

    async def receive(self) -> bytes | str:
        """Return the next frame, of either direction's answers."""
        item = await self._in.get()
        if isinstance(item, EdChatError):
            self._in.put_nowait(item)
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: ARG002
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(httpx.HTTPError):
            await self._source.aclose()
            await self._client.aclose()

    def abort(self) -> None:
        """Stop reading and writing at once; `close` frees the rest."""
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        suspicions = 0
        try:
            async for frame in self._source.frames():
                self._note_goaway(frame)
                self._in.put_nowait(frame)
                if self._source.suspicions > suspicions:
                    suspicions = self._source.suspicions
                    self._suspect()
            self._in.put_nowait(self._ended())
        except EdChatError as exc:
            self._in.put_nowait(exc)
        except httpx.ReadTimeout as exc:
            # Heartbeats are due every ten seconds. If commands are answered meanwhile, the server is not dead.
            if self._answered_at > self._source.heard_at:
                self._suspect()
            self._in.put_nowait(broken(exc))
        except httpx.HTTPError as exc:
            self._in.put_nowait(self._ended() if self._goaway else broken(exc))

    def _suspect(self) -> None:
        now = self._loop.time()
        self._held.suspect(self._server, now)
        if self._held.known(self._server, now):
            self._in.put_nowait(ConnectionLost("Something on the way holds the event stream back."))

    def _note_goaway(self, frame: bytes) -> None:
        if frame.startswith(b'{"type":"goaway"'):
            with suppress(FrameError):
                said = decode_down(frame)
                self._goaway = said if isinstance(said, Goaway) else None

    def _ended(self) -> ConnectionLost:
        if self._goaway is None:
            return ConnectionLost("The event stream ended.")
        return closed(self._goaway.data.code, self._goaway.data.reason)

    async def _write(self) -> None:
        while True:
            frames = [await self._out.get()]
            while len(frames) < _BATCH and not self._out.empty():
                frames.append(self._out.get_nowait())
            try:
                await self._post(frames)
            except EdChatError as exc:
                self._in.put_nowait(exc)
                return
            except httpx.HTTPError as exc:
                self._in.put_nowait(broken(exc))
                return

    async def _post(self, frames: list[bytes]) -> None:
        body = b'{"client":%s,"conn":%d,"frames":[%s]}' % (
            msgspec.json.encode(self._hello.client), self._hello.conn, b",".join(frames))
        raw = await self._answer_to(body)
        self._answered_at = self._loop.time()
        try:
            answer = msgspec.json.decode(raw, type=_Answer)
        except msgspec.DecodeError as exc:
            raise RemoteProtocolError("What answered a command is no chat server.") from exc
        ponged = False
        for ack in answer.acks:
            self._in.put_nowait(bytes(ack))
            ponged = ponged or bytes(ack).startswith(b'{"type":"pong"')
        if not ponged and any(f.startswith(b'{"type":"ping"') for f in frames):
            # The request's own round trip is as good a pong as any.
            self._in.put_nowait(encode(Pong()))

    async def _answer_to(self, body: bytes) -> bytes:
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._client.stream(
                    "POST", self._path, content=body, headers={"Content-Type": "application/json"}, timeout=_PATIENCE,
                ) as response:
                    if response.status_code not in (200, 409):
                        raise await refused(response)
                    return await body_of(response)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                # A connection that the server let go while it was idle; what is sent twice is taken once.
                if attempt == _TRIES:
                    raise
        raise ConnectionLost("The connection broke.")


async def connect_http(endpoint: Endpoint, hello: HelloData, *, held: HeldStreams = HELD) -> Transport:
    """Open the session's event stream, or poll where streams do not get through, or speak as the origin does.

    Raises:
        ConnectError, Timeout, Refused
    """
    client = client_for(endpoint)
    try:
        async with opening():
            source = await _source(client, hello, _name(endpoint), held)
            return HttpTransport(client, source, hello, server=_name(endpoint), held=held)
    except ConnectError as exc:
        await client.aclose()
        if exc.status != 404:
            raise
        from .origin_http import connect_origin

        return await connect_origin(endpoint, hello.session, exc)
    except BaseException:
        await client.aclose()
        raise


async def _source(client: httpx.AsyncClient, hello: HelloData, server: str, held: HeldStreams) -> Source:
    now = asyncio.get_running_loop().time()
    note = None
    if not held.known(server, now):
        try:
            return await open_stream(client, hello)
        except HeldBack as exc:
            _log.info("nothing of the event stream comes through; polling")
            # Without headers it may have been a slow moment, or a line that died.
            note = held.found if exc.headers else held.suspect
    polls = Polls(client, hello)
    await polls.greeted()
    if note is not None:  # only now is it plain that it was the stream, and not the server
        note(server, now)
    return polls


def _name(endpoint: Endpoint) -> str:
    parts = urlsplit(endpoint.url)
    return f"{parts.scheme}://{parts.netloc}"


async def get_json(endpoint: Endpoint, path: str, params: dict[str, str]) -> bytes:
    """Return the body of a GET.

    Raises:
        ConnectError, Timeout, Refused
    """
    async with client_for(endpoint) as client, opening():
        response = await client.get(path, params=params)
    if response.status_code != 200:
        raise refusal(response.status_code, response.headers.get("Retry-After"), response.content)
    return response.content
