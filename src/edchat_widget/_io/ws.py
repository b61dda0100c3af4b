"""The WebSocket carrier: one connection, opened once. Reconnecting is the core's business."""

import logging
import socket
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.typing import Subprotocol

from edchat_protocol import SUBPROTOCOL_V1, SUBPROTOCOL_V2
from edchat_widget._core.carriers import Way
from edchat_widget.errors import ConnectError, ConnectionLost

from .transport import Endpoint, closed, late, mapped, refusal

OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
MAX_FRAME = 16 * 1024 * 1024  # a batch of events, not one frame: far above what a sane server sends
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}


# At level DEBUG websockets writes every header and frame: the token, and what people wrote. Our own log has
# the frames' types instead. The filter holds for whoever sets the level of this logger, too.
_log = logging.getLogger("edchat.client.websocket")
_log.setLevel(logging.INFO)
_log.addFilter(lambda record: record.levelno > logging.DEBUG)


class WebSocketTransport:
    """Frames over one WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def way(self) -> Way:
        """A WebSocket."""
        return "ws"

    @property
    def subprotocol(self) -> str | None:
        """What the server agreed to."""
        return self._connection.subprotocol

    async def send(self, raw: bytes) -> None:
        """Write one frame, as text."""
        with mapped(opening=False):
            try:
                await self._connection.send(raw, text=True)
            except ConnectionClosed as exc:
                raise _lost(exc) from exc

    async def receive(self) -> bytes | str:
        """Return the next frame."""
        with mapped(opening=False):
            try:
                return await self._connection.recv(decode=False)
            except ConnectionClosed as exc:
                raise _lost(exc) from exc

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close politely."""
        await self._connection.close(code, reason)

    def abort(self) -> None:
        """Drop the socket without a word."""
        self._connection.transport.abort()


async def connect_ws(endpoint: Endpoint, session: str) -> WebSocketTransport:
    """Open a WebSocket to the endpoint's ``/ws/chat``.

    Raises:
        ConnectError, Timeout, Refused
    """
    url = f"ws{endpoint.url.removeprefix('http')}/ws/chat?session_id={quote(session)}"
    with mapped(opening=True):
        try:
            connection = await ws_connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL_V2), Subprotocol(SUBPROTOCOL_V1)],
                additional_headers=endpoint.headers,
                compression=None,
                open_timeout=OPEN_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                # The core's own heartbeat judges the peer; this one only keeps proxies awake, and must
                # not kill a version 1 server that cannot answer while its agent works.
                ping_interval=20,
                ping_timeout=None,
                max_size=MAX_FRAME,
                proxy=None if endpoint.loopback else True,
                logger=_log,
            )
        except InvalidStatus as exc:
            response = exc.response
            retry_after = response.headers.get("Retry-After")
            raise refusal(response.status_code, retry_after, bytes(response.body), carrier="ws") from exc
        except InvalidURI as exc:
            # The address itself was checked before: this is where a redirect leads.
            raise refusal(302, None, carrier="ws") from exc
        except TimeoutError as exc:
            swallowed = late()
            swallowed.blocked = "perhaps"
            raise swallowed from exc
        except ConnectionResetError as exc:
            raise _cut_off() from exc
        except InvalidMessage as exc:
            if isinstance(exc.__cause__, EOFError | ConnectionError):
                raise _cut_off() from exc
            raise ConnectError(
                "What answers at this address is no chat server.",
                hint="Check that the address and its port are right.", blocked="perhaps") from exc
        except (InvalidHandshake, WebSocketException) as exc:
            raise ConnectError(
                "The server opened no WebSocket.", blocked="surely",
                hint="Where a proxy lets none through, EDCHAT_ENABLE_WEBSOCKET=false does without.") from exc
    _tune(connection)
    return WebSocketTransport(connection)


def _tune(connection: ClientConnection) -> None:
    # asyncio sets TCP_NODELAY itself. The rest finds a dead peer sooner; not every system has all of it.
    sock = connection.transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _cut_off() -> ConnectError:
    # Some firewalls cut what asks for an upgrade.
    return ConnectError("The connection was cut while it was being opened.", blocked="perhaps")


def _lost(exc: ConnectionClosed) -> ConnectionLost:
    if exc.rcvd is None:
        return ConnectionLost("The connection was cut.", close_code=1006)
    return closed(exc.rcvd.code, exc.rcvd.reason)
