"""What a server answers to somebody who asks how it is. It leaves one conversation there, always the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from edchat_protocol import PROTOCOL, SUBPROTOCOL_V2
from edchat_protocol.codec import decode_down, encode
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import Hello, HelloData, Welcome
from edchat_widget.errors import ConnectError, ConnectionLost, EdChatError, Refused

from .requests import client_for, opening
from .stream import HeldBack, open_stream
from .transport import Endpoint, connect

_PATIENCE = 10.0
_NAME = "edchat-doctor"
SKEW = 60.0
"""How many seconds the clocks may differ before it is worth a word."""


class Finding(msgspec.Struct, frozen=True):
    """One answer; `verdict` and `cure` as in `report.Check`."""

    name: str
    verdict: str
    text: str
    cure: str | None = None


async def examine(endpoint: Endpoint, *, websocket: bool) -> list[Finding]:
    """Ask a server all there is to ask. What the first question finds spares the others."""
    try:
        health = await _health(endpoint)
    except EdChatError as exc:
        return [Finding("server", "fail", exc.reason, exc.hint)]
    found = [*_of_health(endpoint, health), await _token(endpoint)]
    if found[-1].verdict == "fail":
        return found
    if websocket:
        found.append(await _tried("WebSocket", lambda: _websocket(endpoint), _NO_WEBSOCKET))
    else:
        found.append(Finding("WebSocket", "fact", "switched off (EDCHAT_ENABLE_WEBSOCKET)"))
    found.append(await _tried("event stream", lambda: _stream(endpoint), _NO_STREAM))
    return found


_NO_WEBSOCKET = (
    "The chat goes over HTTP then. For the WebSocket, have what is in between pass on the headers Upgrade and "
    "Connection for /ws/chat.")
_NO_STREAM = "It is needed only where no WebSocket can be had."


async def _health(endpoint: Endpoint) -> httpx.Response:
    async with client_for(endpoint) as client, opening():
        return await client.get("/health")


def _of_health(endpoint: Endpoint, health: httpx.Response) -> list[Finding]:
    try:
        body: dict[str, Any] = msgspec.json.decode(health.content, type=dict[str, Any])
    except msgspec.DecodeError:
        return [Finding(
            "server", "fail", f"what answers at {endpoint.url} is no chat server (HTTP {health.status_code})",
            "Check the address; it may be a login page or another service.")]
    known = f"answers at {endpoint.url}, version {body.get('version', 'unknown')}"
    if health.status_code == 200:
        server = Finding("server", "ok", known)
    else:
        why = body.get("reason", "no reason given")
        server = Finding(
            "server", "fail", f"{known}, but cannot answer messages: {why}", "The server's own log says more.")
    return [server, *_clock(health)]


def _clock(health: httpx.Response) -> list[Finding]:
    try:
        there = parsedate_to_datetime(health.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return []
    skew = time.time() - there
    if abs(skew) <= SKEW:
        return [Finding("clock", "ok", "agrees with the server's")]
    way = "ahead of" if skew > 0 else "behind"
    return [Finding(
        "clock", "warn", f"{abs(skew):,.0f} s {way} the server's: times that are shown will be wrong, nothing else",
        "Set the clocks by the network (NTP).")]


async def _token(endpoint: Endpoint) -> Finding:
    without = await _status(Endpoint(endpoint.url))
    if without not in (401, 403):
        given = ", so the one that is set is not needed" if endpoint.token else ""
        return Finding("token", "ok", f"the server asks for none{given}")
    if endpoint.token is None:
        return Finding("token", "fail", "The server wants a valid token, and none is set.",
                       "Set EDCHAT_TOKEN or Chat(token=…).")
    if await _status(endpoint) in (401, 403):
        return Finding("token", "fail", "The server wants a valid token; the one that is set is not.",
                       "Compare EDCHAT_TOKEN or Chat(token=…) with the server's.")
    return Finding("token", "ok", "the token is accepted")


async def _status(endpoint: Endpoint) -> int | None:
    try:
        async with client_for(endpoint) as client, opening():
            return (await client.get("/api/status")).status_code
    except EdChatError:
        return None


async def _tried(name: str, work: Callable[[], Awaitable[Finding]], cure: str) -> Finding:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await work()
    except TimeoutError:
        return Finding(name, "warn", f"nothing came within {_PATIENCE:g} s", cure)
    except Refused as exc:
        return Finding(name, "fail", exc.reason, exc.hint)
    except EdChatError as exc:
        return Finding(name, "warn", exc.reason, cure)


def _hello() -> HelloData:
    # The same name each time, so that the server keeps one row of it; the newest of its connections counts.
    return HelloData(proto=PROTOCOL, session=_NAME, client=_NAME, conn=max(1, time.time_ns() // 1_000_000))


async def _websocket(endpoint: Endpoint) -> Finding:
    hello, began = _hello(), time.monotonic()
    transport = await connect(endpoint, "ws", hello)
    try:
        opened = time.monotonic()
        if transport.subprotocol != SUBPROTOCOL_V2:
            return Finding(
                "WebSocket", "warn", f"opens in {_ms(opened - began)}, but speaks version 1 only",
                "With such a server nothing can be guaranteed; use edchat serve.")
        await transport.send(encode(Hello(data=hello)))
        if not isinstance(decode_down(await transport.receive()), Welcome):
            raise ConnectError("The server did not greet.")
        return Finding("WebSocket", "ok", f"opens in {_ms(opened - began)}, greets in {_ms(time.monotonic() - opened)}")
    except FrameError as exc:
        raise ConnectError("The server sent what cannot be read.") from exc
    finally:
        await transport.close()


async def _stream(endpoint: Endpoint) -> Finding:
    began = time.monotonic()
    async with client_for(endpoint) as client, opening():
        try:
            stream = await open_stream(client, _hello())
        except HeldBack:
            return Finding(
                "event stream", "warn",
                "something on the way holds event streams back; without a WebSocket the chat polls",
                "Have the proxy pass on what it gets at once (nginx: proxy_buffering off), without compression.")
        except ConnectionLost as exc:
            raise ConnectError(exc.reason) from exc
        await stream.aclose()
    return Finding("event stream", "ok", f"its first event comes at once, after {_ms(time.monotonic() - began)}")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
