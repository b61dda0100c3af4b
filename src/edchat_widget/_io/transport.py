"""What carries frames, and the one place where foreign errors become ours."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from edchat_protocol.frames import ErrorData, ErrorFrame, HelloData
from edchat_widget._core.carriers import Carrier, Way
from edchat_widget.errors import Blocked, ConnectError, ConnectionLost, Refused, Timeout, plain


class Endpoint(msgspec.Struct, frozen=True):
    """Where the server is. `url` is http(s) without a slash at its end; the token never leaves this object
    but in an Authorization header."""

    url: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that let us in."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Transport(Protocol):
    """One open connection. Its methods raise `ConnectionLost` when it is gone."""

    @property
    def way(self) -> Way:
        """How frames travel."""

    @property
    def subprotocol(self) -> str | None:
        """What the server agreed to; None: the origin's frames."""

    async def send(self, raw: bytes) -> None:
        """Write one frame."""

    async def receive(self) -> bytes | str:
        """Return the next frame."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close politely, and wait for it a short time."""

    def abort(self) -> None:
        """Drop it at once."""


class Connect(Protocol):
    """Opens a `Transport`. Raises `ConnectError`, `Timeout` or `Refused`."""

    async def __call__(self, endpoint: Endpoint, carrier: Carrier, hello: HelloData) -> Transport: ...


async def connect(endpoint: Endpoint, carrier: Carrier, hello: HelloData) -> Transport:
    """Open a connection over the given carrier."""
    # Each library is loaded when it is first needed: importing the package stays quick.
    if carrier == "ws":
        from .ws import connect_ws

        return await connect_ws(endpoint, hello.session)
    from .http import connect_http

    return await connect_http(endpoint, hello)


@contextmanager
def mapped(*, opening: bool) -> Iterator[None]:
    """Turn errors of the operating system into ours."""
    try:
        yield
    except TimeoutError as exc:
        if isinstance(exc, Timeout):
            raise
        raise late() from exc
    except OSError as exc:
        if opening:
            raise unreachable(exc) from exc
        raise ConnectionLost(f"The connection broke: {plain(exc) or type(exc).__name__}.") from exc


def late() -> Timeout:
    """Return the error for a server that keeps us waiting."""
    return Timeout("The server did not answer in time.", hint=_IS_IT_RIGHT)


def unreachable(exc: BaseException) -> ConnectError:
    """Return the error for a connection that did not come about, as said by the deepest cause."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    match cause:
        case ssl.SSLCertVerificationError():
            return ConnectError(
                f"The server's certificate is not trusted: {cause.verify_message.rstrip('. ')}.",
                hint="Where your company has a root certificate of its own, name its file in SSL_CERT_FILE.")
        case ssl.SSLError():
            return ConnectError(
                "The server speaks no HTTPS at this address.", hint="Try it with http:// in place of https://.")
        case socket.gaierror():
            return ConnectError("No connection to the server: its name is not known.", hint=_IS_IT_RIGHT)
        case OSError() if "Connect call failed" not in str(cause) and cause.strerror:
            return ConnectError(f"No connection to the server: {plain(cause)}.", hint=_IS_IT_RIGHT)
    return ConnectError("No connection to the server: nothing answers there.", hint=_IS_IT_RIGHT)


_IS_IT_RIGHT = "Check that it runs and that its address is right."
_LET_IN = "Set EDCHAT_TOKEN or Chat(token=…)."
_ANOTHERS = "Give this chat a session of its own, Chat(session=…), or have the session's owner share it."
_MOVED = "This address leads to another one, perhaps to a login page. Give the address of the chat server itself."


def closed(code: int, reason: str) -> ConnectionLost:
    """Return the error for a connection that the server closed with a code."""
    words = {
        1001: "The server is going away.", 1011: "The server had an error.", 1012: "The server restarts.",
        1013: "The server is overloaded.", 4409: "Another connection of this chat took over.",
        4413: "The server could not get rid of its news fast enough.",
        4429: "The server has too many connections or commands of this chat.",
        4501: "The server wants a fresh token.", 4502: "The server wants a valid token.",
        4503: _not_let_in(reason),
    }
    text = words.get(code) or reason or f"The server closed the connection ({code})."
    hints = {4501: _LET_IN, 4502: _LET_IN, 4503: _ANOTHERS}
    return ConnectionLost(text, close_code=code, hint=hints.get(code))


def _not_let_in(why: str) -> str:
    return f"The server does not let this client in: {why}." if why else "The server does not let this client in."


def unauthorized() -> Refused:
    """Return the error for a token that is missing, wrong or expired."""
    return Refused("The server wants a valid token.", code="unauthorized", hint=_LET_IN)


def refusal(
    status: int, retry_after: str | None, body: bytes = b"", *, carrier: Carrier = "http"
) -> ConnectError | Refused | ConnectionLost:
    """Return the error for an HTTP status that is no success.

    The body tells our server's own words from those of something on the way, which may let another carrier
    through.
    """
    said = _said(body)
    # Our own server does not know the route where something on the way took the wish for an upgrade out.
    foreign = carrier == "ws" and (said is None or status in _NO_UPGRADE)
    if status == 401 and not foreign:
        return unauthorized()
    if status == 403 and not foreign:
        if said is None:
            return Refused(_not_let_in(""), code="forbidden", hint=_LET_IN)
        hint = _ANOTHERS if said.code == "forbidden" else said.hint
        return Refused(_not_let_in(said.error), code="forbidden", hint=hint)
    if status == 409 and said is not None:
        return ConnectionLost("Another connection of this chat took over.", close_code=4409)
    words = {
        301: _MOVED, 302: _MOVED, 303: _MOVED, 307: _MOVED, 308: _MOVED,
        404: "There is no such chat server at this address.",
        429: "The server has too many requests.",
        503: "Service temporarily unavailable.",
    }
    hint = "Try again in a moment." if status == 429 or status >= 500 else None
    asked = said.retry_after_ms / 1000 if said and said.retry_after_ms is not None else seconds(retry_after)
    text = words.get(status, f"The server answered with HTTP status {status}.")
    return ConnectError(
        text, status=status, retry_after=asked, hint=hint, blocked=_blocked(status) if foreign else None)


_NO_UPGRADE = {400, 404, 405, 426}


def seconds(retry_after: str | None, now: datetime | None = None) -> float | None:
    """Return what a Retry-After header says, in seconds from now (RFC 9110, 10.2.3); None: nothing sensible."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _blocked(status: int) -> Blocked | None:
    if status == 429:
        return None
    # A proxy that cannot pass an upgrade on often says that the server behind it failed.
    return "perhaps" if status >= 500 and status != 501 else "surely"


def _said(body: bytes) -> ErrorData | None:
    if not body:
        return None
    try:
        return msgspec.json.decode(body, type=ErrorFrame).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
