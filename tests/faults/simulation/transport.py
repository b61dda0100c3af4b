"""One end of a simulated connection, as asyncio's protocols know it."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

from .loop import Host, SimLoop

if TYPE_CHECKING:
    from .network import Line, Pipe

# Its writing end stays open: `poll` never finds it readable.
_UNREADABLE, _WRITER = os.pipe()


class FakeSocket:
    """What libraries ask of a socket: its addresses, and whether it could be read."""

    family = socket.AF_INET

    def __init__(self, port: int, peer: int = 0) -> None:
        self._port = port
        self._peer = peer
        self.over = False

    def getsockname(self) -> tuple[str, int]:
        """Return the own address."""
        return "127.0.0.1", self._port

    def getpeername(self) -> tuple[str, int]:
        """Return the other's address."""
        return "127.0.0.1", self._peer

    def close(self) -> None:
        """There is nothing to free."""

    def setsockopt(self, *_: Any) -> None:
        """There is nothing to set."""

    def fileno(self) -> int:
        """Return what `poll` calls unreadable or, once the other side has closed, no file at all."""
        return -1 if self.over else _UNREADABLE


class SimTransport(asyncio.Transport):
    """One end of a line."""

    def __init__(self, host: Host, line: Line, out: Pipe, source: Pipe, sock: FakeSocket) -> None:
        super().__init__({"socket": sock, "peername": sock.getpeername(), "sockname": sock.getsockname()})
        self.host = host
        self._line = line
        self._out = out
        self._source = source
        self._protocol: Any = None
        self.paused = False
        self.gone = False
        self._sock = sock
        self._closing = False
        self._ended = False
        self._limits = (16_384, 65_536)
        self._full = False
        out.sender = self
        source.receiver = self

    @property
    def _loop(self) -> SimLoop:
        return self._line.network.loop

    # -------------------------------------------------------------------------------- what asyncio promises

    def set_protocol(self, protocol: Any) -> None:
        """Give another protocol what arrives."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Return who gets what arrives."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it was closed by this side."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what arrives is given out."""
        return not self.paused and not self._closing

    def pause_reading(self) -> None:
        """Keep back what arrives."""
        self.paused = True

    def resume_reading(self) -> None:
        """Give out what was kept back."""
        if self.paused:
            self.paused = False
            self._loop.on(self.host, self._source.release)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait here."""
        return self._out.unsent

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark."""
        return self._limits

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when the protocol is to pause."""
        high = (4 * low if low is not None else 65_536) if high is None else high
        self._limits = (high // 4 if low is None else low, high)

    def write(self, data: Any) -> None:
        """Send bytes."""
        if self.gone or self._closing or self._ended or not data:
            return
        self._out.write(bytes(data))
        if not self._full and self._out.unsent > self._limits[1]:
            self._full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        """Send bytes."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Say that one direction can be ended alone."""
        return True

    def write_eof(self) -> None:
        """End this direction."""
        if not self._ended:
            self._ended = True
            self._out.write(None)

    def close(self) -> None:
        """Send what waits, then end."""
        if self._closing or self.gone:
            return
        self._closing = True
        if self._out.unsent:
            return  # `drained` goes on
        self._finish()

    def abort(self) -> None:
        """End without a word; the other side gets a reset."""
        if self.gone or (self._closing and not self._out.unsent):
            return
        self._closing = True
        peer = self._out.receiver
        if not self._out.lost and not self._line.parted:
            self._line.refuse(peer)
        self._out.drop()
        self._loop.on(self.host, self._end, None)

    # ------------------------------------------------------------------------------ what the network tells

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        if not self._closing:
            self._protocol.data_received(data)

    def feed_eof(self) -> None:
        """The other side sends no more."""
        self._sock.over = True
        if self._closing:
            return
        if not self._protocol.eof_received():
            self.close()

    def drained(self) -> None:
        """The other side has read; runs in its step, so the news is brought to this host."""
        if self._full and self._out.unsent <= self._limits[0]:
            self._full = False
            self._loop.on(self.host, self._resume)
        if self._closing and not self.gone and not self._out.unsent:
            self._finish()

    def reset(self) -> None:
        """The connection was reset."""
        if not self.gone:
            self._closing = True
            self._out.drop()
            self._end(ConnectionResetError(104, "Connection reset by peer"))

    def _resume(self) -> None:
        if not self.gone:
            self._protocol.resume_writing()

    def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            self._out.write(None)
        self._loop.on(self.host, self._end, None)

    def _end(self, exc: Exception | None) -> None:
        if self.gone:
            return
        self.gone = self._sock.over = True
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
