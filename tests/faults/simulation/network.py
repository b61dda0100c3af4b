"""A network in memory: connections between hosts, with latency, flow control and every way to break.

It carries bytes between the protocols that uvicorn, websockets and anyio bring; what they do is their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from .loop import Host, SimLoop
from .transport import FakeSocket, SimTransport

WINDOW = 65_536
"""Bytes that both kernels' socket buffers hold together."""
REMEMBERED = 4_096
Blocked = Literal["cut", "swallow", "shut", "hold"]
"""What a middleman does: cut a WebSocket's request, swallow its answer, shut whatever was just opened, or cut
WebSockets and hold streams back until there is a lot."""
HELD_BYTES = 4_096
How = Literal["rst", "fin", "silent"]


class Pipe:
    """One direction of a connection: bytes on their way, in order."""

    def __init__(self, network: "Network", line: "Line") -> None:
        self._network = network
        self._line = line
        self.sender: SimTransport
        self.receiver: SimTransport
        self.written = 0
        self.consumed = 0
        self.rate: float | None = None  # bytes a second
        self.lost = False  # what is on its way, and what is written from now on, never arrives
        self.ended = False  # what is written from now on never arrives
        self.truncated = False  # of what is on its way, only the end arrives
        self.budget: tuple[int, How] | None = None  # after so many bytes, break so
        self.said = b""  # the beginning of what was written
        self.held: deque[bytes | None] = deque()  # arrived, and the reader has paused
        self._last = 0.0
        self._caught: deque[bytes | None] = deque()  # on its way when a partition began
        self._stopped: deque[bytes | None] = deque()  # written since

    @property
    def unsent(self) -> int:
        """How much of what was written is in the sender's own buffer."""
        return max(0, self.written - self.consumed - WINDOW)

    def write(self, data: bytes | None) -> None:
        """Send bytes; None: the end."""
        if data is not None:
            self.written += len(data)
            if len(self.said) < REMEMBERED:
                self.said += data
                self._network.look(self._line)
        if self.lost or self.ended:
            return
        if self._line.parted:
            self._stopped.append(data)
        else:
            self._send(data)

    def _send(self, data: bytes | None) -> None:
        loop, rng = self._network.loop, self._network.rng
        if not self.receiver.host.alive and self._network.listeners:
            self._line.refuse(self.sender)  # the machine is up again, and knows nothing of this line
            return
        parts = [data]
        if data is not None and len(data) > 1 and rng.random() < 0.1:
            at = rng.randrange(1, len(data))
            parts = [data[:at], data[at:]]
        for part in parts:
            delay = self._network.latency()
            if self.rate is not None and part is not None:
                delay += len(part) / self.rate
            self._last = max(self._last, loop.time()) + delay if self.rate else max(self._last, loop.time() + delay)
            loop.at(self.receiver.host, self._last, self._arrive, part)

    def heal(self) -> None:
        """The partition is over: what was kept back goes on its way."""
        # What was on its way when it began comes first.
        stopped = [*self._caught, *self._stopped]
        self._caught.clear()
        self._stopped.clear()
        for data in stopped:
            self._send(data)

    def _arrive(self, data: bytes | None) -> None:
        if self.lost or self.receiver.gone:
            if not self.lost and data is not None:
                self._line.refuse(self.sender)
            return
        if self._line.parted:
            self._caught.append(data)
            return
        if self.truncated and data is not None:
            return
        if self.budget is not None and data is not None:
            left, how = self.budget
            if len(data) >= left:
                self.budget = None
                if left:
                    self.held.append(data[:left])
                self.release()
                self.truncated = True
                self._line.cut(how)
                return
            self.budget = (left - len(data), how)
        self.held.append(data)
        if data is not None and self._network.holds(self._line, self):
            return
        self.release()

    def release(self) -> None:
        """Give the reader what has arrived, unless it has paused."""
        while self.held and not self.receiver.paused and not self.receiver.gone:
            data = self.held.popleft()
            if data is None:
                self.receiver.feed_eof()
            else:
                self.consumed += len(data)
                self.receiver.feed(data)
                self.sender.drained()

    def drop(self) -> None:
        """Lose what is on its way and all that follows."""
        self.lost = True
        self._caught.clear()
        self._stopped.clear()


class Line:
    """A connection between a client and a server."""

    def __init__(self, network: "Network", client: Host, server: Host) -> None:
        self.network = network
        self.client = client
        self.server = server
        self.parted = False
        self.shut = False
        self.up, self.down = Pipe(network, self), Pipe(network, self)
        self.ends: tuple[SimTransport, SimTransport]

    @property
    def open(self) -> bool:
        """Whether either end still believes in it."""
        return not all(end.gone for end in self.ends)

    def cut(self, how: How) -> None:
        """Break it: both ends learn of it by a reset, by an end of stream, or not at all."""
        for pipe in (self.up, self.down):
            if how == "fin":
                pipe.write(None)
                pipe.ended = True
            else:
                pipe.drop()
        if how == "rst":
            for end in self.ends:
                self.refuse(end)

    def refuse(self, end: "SimTransport") -> None:
        """Let one end have a reset, after a while."""
        loop = self.network.loop
        loop.at(end.host, loop.time() + self.network.latency(), end.reset)

    def part(self) -> None:
        """Hold back everything."""
        self.parted = True

    def heal(self) -> None:
        """Let go what was held back."""
        self.parted = False
        self.up.heal()
        self.down.heal()


class Listener:
    """What `create_server` returns."""

    def __init__(self, network: "Network", host: Host, port: int, factory: Callable[[], Any]) -> None:
        self.network = network
        self.host = host
        self.port = port
        self.factory = factory
        self.sockets = (FakeSocket(port),)

    def close(self) -> None:
        """Listen no more."""
        if self.network.listeners.get(self.port) is self:
            del self.network.listeners[self.port]

    async def wait_closed(self) -> None:
        """Return at once."""


class Network:
    """All lines. `blocked` hosts connect to nobody; what they send waits."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.rng = loop.rng
        self.listeners: dict[int, Listener] = {}
        self.lines: list[Line] = []
        self.parted: set[str] = set()  # names of client hosts
        self.slow: float = 1.0
        self.blocked: Blocked | None = None
        self._next_port = 40_000
        loop.network = self

    def latency(self) -> float:
        """Return how long the next packet takes."""
        lucky = self.rng.random()
        base = 0.0002 + 0.0018 * self.rng.random()
        return self.slow * (base if lucky < 0.95 else base + 0.2 * self.rng.random())

    def listen(self, host: Host, port: int, factory: Callable[[], Any]) -> Listener:
        """Take connections to a port."""
        listener = self.listeners[port] = Listener(self, host, port, factory)
        return listener

    async def connect(self, host: Host, port: int, factory: Callable[[], Any]) -> tuple[SimTransport, Any]:
        """Connect from a host."""
        await asyncio.sleep(self.latency())
        while host.name in self.parted:
            await asyncio.sleep(1.0)  # the first packet is lost, and sent again
        listener = self.listeners.get(port)
        if listener is None or not listener.host.alive:
            raise ConnectionRefusedError(111, f"Connect call failed ('127.0.0.1', {port})")
        self._next_port += 1
        line = Line(self, host, listener.host)
        server = SimTransport(listener.host, line, line.down, line.up, FakeSocket(port, self._next_port))
        client = SimTransport(host, line, line.up, line.down, FakeSocket(self._next_port, port))
        line.ends = (client, server)
        server.paused = True  # until it is accepted
        self.lines.append(line)
        self.loop.on(listener.host, self._accept, server, listener.factory)
        protocol = factory()
        client.set_protocol(protocol)
        protocol.connection_made(client)
        await asyncio.sleep(0)
        return client, protocol

    def look(self, line: Line) -> None:
        """Let the middleman see what a client begins to say."""
        if self.blocked == "shut":
            if line.down.said.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")) and not line.shut:
                line.shut = True
                self.loop.at(line.client, self.loop.time() + 0.02, line.cut, "rst")
        elif self.blocked is not None and b"\r\nUpgrade: websocket" in line.up.said:
            if self.blocked == "cut":
                line.cut("rst")
            else:
                line.down.drop()

    def holds(self, line: Line, pipe: Pipe) -> bool:
        """Whether the middleman waits for more before he gives it on."""
        if self.blocked != "hold" or pipe is not line.down or b"text/event-stream" not in pipe.said:
            return False
        return sum(len(part) for part in pipe.held if part) < HELD_BYTES

    def repeat(self, line: Line) -> None:
        """Send once more what a client has sent on this line."""
        raw = line.up.said

        class Once(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transport.write(raw)
                transport.write_eof()

        async def again() -> None:
            with suppress(OSError):
                await self.connect(Host("middleman"), line.ends[1]._sock.getsockname()[1], Once)

        self.loop.create_task(again())

    def lines_of(self, name: str | None = None) -> list[Line]:
        """Return the open lines, of one client's name if given."""
        self.lines = [line for line in self.lines if line.open]
        return [line for line in self.lines if name is None or line.client.name == name]

    def part(self, name: str) -> None:
        """Cut a client's host off; nobody is told."""
        self.parted.add(name)
        for line in self.lines_of(name):
            line.part()

    def heal(self, name: str) -> None:
        """End a partition."""
        self.parted.discard(name)
        for line in self.lines_of(name):
            line.heal()

    def host_died(self, host: Host, *, silently: bool) -> None:
        """A process was killed: its kernel says goodbye for it, unless the machine itself lost power."""
        for line in self.lines_of():
            for end in line.ends:
                if end.host is not host or end.gone:
                    continue
                end.gone = True
                if silently:
                    continue
                if self.rng.random() < 0.5:
                    end._out.write(None)
                else:
                    line.refuse(end._out.receiver)
                    end._out.drop()

    def _accept(self, transport: SimTransport, factory: Callable[[], Any]) -> None:
        if transport.gone:
            return
        protocol = factory()
        transport.set_protocol(protocol)
        transport.paused = False
        protocol.connection_made(transport)
        transport._source.release()
