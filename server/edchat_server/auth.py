"""Who gets in: a bearer token where one is set, and never a foreign web page."""

import logging
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from .door import Door, TooMany
from .errors import error_response
from .identity import OPERATOR, Identity, Tokens
from .settings import Settings, is_loopback

_log = logging.getLogger("edchat.server.auth")
OPEN_PATHS = frozenset({"/", "/health"})


class Gate:
    """Lets a request or an upgrade through, or answers 401, 403 or 429. The scope's `state` says who it is.

    A browser sends `Origin` with every upgrade and cross-site request: one that is neither this machine's
    nor allowed by the settings is refused, and so is, on a loopback server, a `Host` that is not this
    machine, which is how a rebound DNS name shows itself.

    A browser can send no token with an upgrade. One from an allowed page is let in without an `identity`: it
    has a short time to show a ticket, and `known` is to be called when it has.
    """

    def __init__(self, app: ASGIApp, settings: Settings, door: Door, tokens: Tokens) -> None:
        self._app = app
        self._settings = settings
        self._door = door
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        judged = self._judge(scope)
        if not isinstance(judged, Response):
            try:
                seat = self._door.address(_address(scope), pending=judged is None)
            except TooMany as exc:
                judged = error_response(429, "rate_limited", str(exc), retry_after_ms=exc.retry_after_ms)
            else:
                with seat:
                    scope.setdefault("state", {}).update(identity=judged, known=seat.known)
                    await self._app(scope, receive, send)
                return
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(judged)
        else:
            await judged(scope, receive, send)

    def _judge(self, scope: Scope) -> Identity | Response | None:
        """Return who it is, or the refusal; None: who may show a ticket."""
        # Apart from the rest, so that an open connection does not hold on to what was only judged by.
        headers = _headers(scope["headers"])
        refusal = self._stranger(headers)
        if refusal is None:
            who = self._identity(scope, headers)
            if who is not None:
                return who
            if _may_show_a_ticket(scope, headers):
                return None
            refusal = error_response(
                401, "unauthorized", "a valid token is needed", hint="Send it as Authorization: Bearer.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        origin = headers.get("origin", "none")[:100]
        _log.warning("refused %r with status %s (origin %r)", scope["path"][:100], refusal.status_code, origin)
        return refusal

    def _stranger(self, headers: Mapping[str, str]) -> Response | None:
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and not self._origin_allowed(origin):
            return error_response(403, "unauthorized", "requests from this web page are not allowed")
        if self._settings.loopback and not self._host_allowed(_hostname(f"//{host}")):
            return error_response(403, "unauthorized", "this server answers to its loopback name only")
        return None

    def _identity(self, scope: Scope, headers: Mapping[str, str]) -> Identity | None:
        if not self._tokens.required or scope["path"] in OPEN_PATHS:
            return OPERATOR
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self._tokens.find(token.strip()) if scheme.lower() == "bearer" else None

    def _host_allowed(self, host: str) -> bool:
        # A reverse proxy on this machine passes the name on under which its visitors know it.
        return is_loopback(host) or any(
            urlsplit(origin).hostname == host for origin in self._settings.allowed_origins
        )

    def _origin_allowed(self, origin: str) -> bool:
        return origin.lower() in self._settings.allowed_origins or is_loopback(_hostname(origin))


def _may_show_a_ticket(scope: Scope, headers: Mapping[str, str]) -> bool:
    return scope["type"] == "websocket" and "origin" in headers and "authorization" not in headers


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
