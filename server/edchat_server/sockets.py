"""What the server asks of its sockets beyond what uvicorn does: limits on peers that stall, flood or dribble."""

import asyncio
import socket
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .settings import Settings

MAX_FRAGMENTS = 1000
FAREWELL_SECONDS = 2.0
# A peer that acknowledges nothing for so long is gone, whatever it had promised to read.
STALL_MILLISECONDS = 20_000


class PortTaken(Exception):
    """Nothing can listen there."""


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket that reads nothing from a peer that reads nothing: the answers to pings would fill the memory."""

    def pause_writing(self) -> None:
        """Stop both ways."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on, unless the application has not taken the last message yet."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """Return the next message."""
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    def handle_cont(self, event: Any) -> None:
        """Take a part of a message. Empty parts cost no bytes of a message's limit, but memory."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self.conn.fail(1009, f"a message may have {MAX_FRAGMENTS} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def keepalive_timeout(self) -> None:
        """Cut off a peer that answers no ping. It will not read a polite end either."""
        super().keepalive_timeout()
        self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)


def http_protocol(seconds: float) -> type[H11Protocol]:
    """Return the HTTP protocol that cuts off whoever takes longer than `seconds` to say a request's head.

    The `state` of each scope, a WebSocket's too, has `abort`, with which the application cuts a connection.
    """

    class Prompt(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "abort": transport.abort}
            self._late = self.loop.call_later(seconds, transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._in_time()
            super().handle_websocket_upgrade(event)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._in_time()
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.abort)

        def _in_time(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Prompt


def bind(settings: Settings) -> socket.socket:
    """Return a listening socket. Raises `PortTaken`."""
    host, port = settings.host.strip("[]"), settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    if sys.platform != "win32":  # on Windows the option lets two servers share a port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _expect_life(sock)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as exc:
        sock.close()
        raise PortTaken(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}; give another --port"
        ) from None
    sock.setblocking(False)
    return sock


def _expect_life(sock: socket.socket) -> None:
    # Whoever is accepted inherits these, where the system has them.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": STALL_MILLISECONDS,
    }
    for name, value in wanted.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def url_of(sock: socket.socket) -> str:
    """Return the URL under which a bound socket is reached from this machine."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
