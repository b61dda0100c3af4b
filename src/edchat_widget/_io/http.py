"""The HTTP carrier: commands by POST, events as a stream of server-sent events. The very same frames."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import quote

import httpx
import msgspec

from edchat_protocol import SUBPROTOCOL_V2
from edchat_protocol.codec import encode
from edchat_protocol.frames import HelloData, Pong
from edchat_widget._core.carriers import Way
from edchat_widget.errors import ConnectionLost, EdChatError

from .transport import Endpoint, late, refusal, unreachable

_log = logging.getLogger("edchat.client.connection")
_LIMITS = httpx.Timeout(10.0, read=25.0)
_BATCH = 50


class _Answer(msgspec.Struct):
    acks: list[msgspec.Raw] = []


class HttpTransport:
    """Frames over POST and one event stream."""

    def __init__(self, client: httpx.AsyncClient, stream: httpx.Response, hello: HelloData) -> None:
        self._client = client
        self._stream = stream
        self._hello = hello
        self._path = f"/v2/sessions/{quote(hello.session)}/frames"
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._in: asyncio.Queue[bytes | EdChatError] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    @property
    def way(self) -> Way:
        """A stream of events."""
        return "http"

    @property
    def subprotocol(self) -> str | None:
        """Always version 2: the origin has no such routes."""
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
        """End the stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(httpx.HTTPError):
            await self._stream.aclose()
            await self._client.aclose()

    def abort(self) -> None:
        """Stop reading and writing at once; `close` frees the rest."""
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        try:
            async for event in events_of(self._stream):
                self._in.put_nowait(event)
            self._in.put_nowait(ConnectionLost("The event stream ended."))
        except httpx.HTTPError as exc:
            self._in.put_nowait(_broken(exc))

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
                self._in.put_nowait(_broken(exc))
                return

    async def _post(self, frames: list[bytes]) -> None:
        pings = [f for f in frames if f.startswith(b'{"type":"ping"')]
        body = b'{"client":%s,"conn":%d,"frames":[%s]}' % (
            msgspec.json.encode(self._hello.client), self._hello.conn, b",".join(frames))
        began = time.monotonic()
        response = await self._client.post(
            self._path, content=body, headers={"Content-Type": "application/json"})
        if response.status_code not in (200, 409):
            raise refusal(response.status_code, response.headers.get("Retry-After"))
        answered = False
        for raw in msgspec.json.decode(response.content, type=_Answer).acks:
            self._in.put_nowait(bytes(raw))
            answered = answered or b'"pong"' in bytes(raw)
        if pings and not answered and time.monotonic() - began < 60:
            # The request's own round trip is as good a pong as any.
            self._in.put_nowait(encode(Pong()))


def _broken(exc: httpx.HTTPError) -> ConnectionLost:
    _log.debug("the connection broke: %s", type(exc).__name__)
    return ConnectionLost("The connection broke.")


async def connect_http(endpoint: Endpoint, hello: HelloData) -> HttpTransport:
    """Open the session's event stream.

    Raises:
        ConnectError, Timeout, Refused
    """
    client = httpx.AsyncClient(
        base_url=endpoint.url, headers=endpoint.headers, timeout=_LIMITS, trust_env=not endpoint.loopback)
    params: dict[str, str | int] = {"client": hello.client, "conn": hello.conn, "cursor": hello.cursor}
    params |= {"csn": hello.csn}
    if hello.epoch:
        params["epoch"] = hello.epoch
    request = client.build_request(
        "GET", f"/v2/sessions/{quote(hello.session)}/events", params=params,
        headers={"Accept": "text/event-stream"})
    try:
        stream = await client.send(request, stream=True)
        if stream.status_code != 200:
            await stream.aclose()
            raise refusal(stream.status_code, stream.headers.get("Retry-After"))
    except httpx.TimeoutException as exc:
        await client.aclose()
        raise late() from exc
    except httpx.HTTPError as exc:
        await client.aclose()
        raise unreachable(exc) from exc
    except EdChatError:
        await client.aclose()
        raise
    return HttpTransport(client, stream, hello)


async def events_of(stream: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the data of each server-sent event."""
    lines: list[str] = []
    async for line in stream.aiter_lines():
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines).encode()
            lines = []


async def get_json(endpoint: Endpoint, path: str, params: dict[str, str]) -> bytes:
    """Return the body of a GET.

    Raises:
        ConnectError, Timeout, Refused
    """
    async with httpx.AsyncClient(
        base_url=endpoint.url, headers=endpoint.headers, timeout=_LIMITS, trust_env=not endpoint.loopback,
    ) as client:
        try:
            response = await client.get(path, params=params)
        except httpx.TimeoutException as exc:
            raise late() from exc
        except httpx.HTTPError as exc:
            raise unreachable(exc) from exc
    if response.status_code != 200:
        raise refusal(response.status_code, response.headers.get("Retry-After"))
    return response.content
