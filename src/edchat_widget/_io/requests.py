"""HTTP requests to a chat server, and answers in bounded memory."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from urllib.parse import quote

import httpx

from edchat_protocol.frames import HelloData
from edchat_widget.errors import ConnectionLost, EdChatError, RemoteProtocolError

from .transport import Endpoint, late, refusal, unreachable

TIMEOUT = httpx.Timeout(10.0, read=20.0)
MAX_BODY = 16 * 1024 * 1024


def client_for(endpoint: Endpoint) -> httpx.AsyncClient:
    """Return a client that lets itself in. A proxy of the environment is not asked for this very machine."""
    return httpx.AsyncClient(
        base_url=endpoint.url, headers=endpoint.headers, timeout=TIMEOUT, trust_env=not endpoint.loopback,
        verify=_tls())


@cache
def _tls() -> ssl.SSLContext:
    # Reading the system's certificates takes 20 ms in which nothing else runs here: not at each connection.
    return httpx.create_ssl_context()


@asynccontextmanager
async def opening() -> AsyncIterator[None]:
    """Turn httpx's errors into ours, for a connection that is being opened."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise late() from exc
    except httpx.HTTPError as exc:
        raise unreachable(exc) from exc


def events_request(client: httpx.AsyncClient, hello: HelloData, extra: Mapping[str, int]) -> httpx.Request:
    """Return the request for a session's events behind the cursor."""
    params: dict[str, str | int] = {
        "client": hello.client, "conn": hello.conn, "cursor": hello.cursor, "csn": hello.csn, **extra}
    if hello.epoch:
        params["epoch"] = hello.epoch
    return client.build_request(
        "GET", f"/v2/sessions/{quote(hello.session)}/events", params=params, headers={"Cache-Control": "no-store"})


async def body_of(response: httpx.Response) -> bytes:
    """Read a streamed response's body.

    Raises:
        RemoteProtocolError: it is too large.
    """
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            raise RemoteProtocolError(f"The server's answer has more than {MAX_BODY:,} bytes.")
    return b"".join(parts)


async def refused(response: httpx.Response) -> EdChatError:
    """Return the error for a streamed response that is no success."""
    body = await body_of(response)
    return refusal(response.status_code, response.headers.get("Retry-After"), body)


def broken(exc: httpx.HTTPError) -> ConnectionLost:
    """Return the error for a connection that broke."""
    return ConnectionLost(f"The connection broke ({type(exc).__name__}).")
