"""A TCP proxy that breaks connections on purpose, to the byte.

It reads the head of a connection's first request, asks for that connection's `Script`, and plays it::

    async with FaultProxy("127.0.0.1", port) as proxy:
        proxy.next(Script().cut_after("down", nbytes=700, how=RST))
        ... a client that connects to proxy.url is cut after 700 bytes from the server

Directions are "up" (client to server) and "down". Scripts given by `next` are used once each, in order; after
them comes what `default` returns. In tests without a loop: ``with hosted(host, port) as proxy``.
"""

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Literal, TypeVar

Direction = Literal["up", "down"]
How = Literal["fin", "rst", "silent"]
T = TypeVar("T")

FIN: How = "fin"
"""A polite end: what was forwarded arrives, then the end of the stream."""
RST: How = "rst"
"""The connection is reset, as by a crashed peer or a firewall."""
SILENT: How = "silent"
"""Nothing more is forwarded, and nothing closed: a half-open connection."""

HEAD_END = b"\r\n\r\n"
_CHUNK = 65536


@dataclass
class _Cut:
    how: How
    nbytes: int | None = None
    nframes: int | None = None


@dataclass
class _Way:
    """What happens in one direction."""

    cut: _Cut | None = None
    rate: float | None = None
    delay: float = 0.0
    hold: bool = False
    hold_bytes: int | None = None
    hold_seconds: float | None = None
    hold_head: bool = False


@dataclass
class Script:
    """What happens to one connection; the default is nothing. Each method returns the script itself."""

    up: _Way = field(default_factory=_Way)
    down: _Way = field(default_factory=_Way)
    status: int | None = None
    strip: str | None = None
    swallow: bool = False

    def way(self, direction: Direction) -> _Way:
        return self.up if direction == "up" else self.down

    def cut_after(
        self, direction: Direction, *, nbytes: int | None = None, nframes: int | None = None, how: How = RST
    ) -> "Script":
        """Forward exactly so many bytes, or the HTTP head and so many frames; then end both ways.

        With `SILENT` only this direction falls silent: name both for a dead line.
        """
        assert (nbytes is None) != (nframes is None), "either bytes or frames"
        self.way(direction).cut = _Cut(how, nbytes, nframes)
        return self

    def throttle(self, direction: Direction, rate: float) -> "Script":
        """Forward `rate` bytes a second; what waits is not read from the sender."""
        self.way(direction).rate = rate
        return self

    def delay(self, direction: Direction, seconds: float) -> "Script":
        """Keep each piece back for a time."""
        self.way(direction).delay = seconds
        return self

    def hold_until(
        self, nbytes: int | None = None, *, seconds: float | None = None, head: bool = False
    ) -> "Script":
        """Buffer answers: forward blocks of `nbytes`, or what came in each `seconds`; without either, all at
        the end. `head`: hold back the answer's head, too."""
        self.down.hold, self.down.hold_bytes = True, nbytes
        self.down.hold_seconds, self.down.hold_head = seconds, head
        return self

    def mangle_http(
        self, *, status: int | None = None, strip: str | None = None, swallow: bool = False
    ) -> "Script":
        """Answer the first request with `status`, or take a header from it, or let its answer's head through
        and nothing after it, in either direction."""
        self.status, self.strip, self.swallow = status, strip, swallow
        if swallow:
            self.cut_after("up", nframes=0, how=SILENT).cut_after("down", nframes=0, how=SILENT)
        return self


@dataclass
class Stats:
    """What went through. Times are of `time.monotonic`."""

    connects: list[float] = field(default_factory=list)
    heads: list[tuple[float, bytes]] = field(default_factory=list)
    up: int = 0
    down: int = 0
    cuts: int = 0

    def most_connects(self, within: float = 3.0) -> int:
        """Return the largest number of connections that began within any so many seconds."""
        return most_within(self.connects, within)


def most_within(times: list[float], seconds: float) -> int:
    """Return how many of these times, at most, lie within one such span."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


class FrameScanner:
    """Finds where frames end in a stream of bytes that begins with an HTTP head: WebSocket frames, or events
    where the head announces an event stream."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._in_head = True
        self._events = False
        self._pending = bytearray()
        self._skip = 0
        self.frames = 0

    def boundaries(self, chunk: bytes) -> Iterator[int]:
        """Yield the offset in `chunk` behind the head, and then behind each frame that ends in it."""
        for index in range(len(chunk)):
            if self._ends(chunk[index]):
                yield index + 1

    def _ends(self, byte: int) -> bool:
        if self._in_head:
            self._head.append(byte)
            self._in_head = not self._head.endswith(HEAD_END)
            self._events = b"text/event-stream" in self._head and self._head.startswith(b"HTTP")
            return not self._in_head
        if self._events:
            self._pending.append(byte)
            if not self._pending.endswith(b"\n\n"):
                return False
            self._pending.clear()
            self.frames += 1
            return True
        if self._skip:
            self._skip -= 1
        else:
            self._pending.append(byte)
            size = _payload(self._pending)
            if size is None:
                return False
            self._pending.clear()
            self._skip = size
        if self._skip == 0:
            self.frames += 1
            return True
        return False


def _payload(header: bytearray) -> int | None:
    """Return how many bytes follow a complete frame header; None: it is not complete."""
    if len(header) < 2:
        return None
    length = header[1] & 0x7F
    extra = {126: 2, 127: 8}.get(length, 0)
    whole = 2 + extra + (4 if header[1] & 0x80 else 0)
    if len(header) < whole:
        return None
    return int.from_bytes(header[2:2 + extra], "big") if extra else length


class Line:
    """One proxied connection. Its methods belong to the proxy's loop."""

    def __init__(self, number: int, head: bytes, script: Script, client: socket.socket) -> None:
        self.number = number
        self.head = head
        self._script = script
        self._client = client
        self._server: socket.socket | None = None
        self._silent: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._task: asyncio.Task[None] | None = None
        self._how: How = FIN
        self.sent: dict[Direction, int] = {"up": 0, "down": 0}
        self.scanners: dict[Direction, FrameScanner] = {"up": FrameScanner(), "down": FrameScanner()}
        """They count only where the script cuts by frames."""

    def cut(self, how: How = RST) -> None:
        """End it now; or let it fall silent both ways."""
        if how == SILENT:
            self.silence("up")
            self.silence("down")
        elif self._task is not None:
            self._how = how
            self._task.cancel()

    def silence(self, direction: Direction) -> None:
        """Forward nothing more in this direction, and read nothing, either."""
        self._silent[direction].set()

    async def run(self, target: tuple[str, int], stats: Stats) -> None:
        """Play the script to its end."""
        self._task = asyncio.current_task()
        script, loop = self._script, asyncio.get_running_loop()
        head = self.head
        pumps: list[asyncio.Task[How]] = []
        try:
            if script.status is not None:
                await loop.sock_sendall(self._client, _plain_answer(script.status))
                return
            if script.strip is not None:
                head = _without(head, script.strip)
            self._server = await _dial(target, small=script.down.rate is not None)
            pumps = [
                loop.create_task(self._pump("up", self._client, self._server, script.up, stats, head)),
                loop.create_task(self._pump("down", self._server, self._client, script.down, stats, b"")),
            ]
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            self._how = next(iter(done)).result()
        except asyncio.CancelledError:
            stats.cuts += 1
        except OSError:
            self._how = RST
        finally:
            for pump in pumps:
                pump.cancel()
            try:
                await asyncio.gather(*pumps, return_exceptions=True)
            finally:  # the proxy may end in this very moment
                for side in (self._client, self._server):
                    if side is not None:
                        _shut(side, self._how)

    async def _pump(
        self, direction: Direction, source: socket.socket, sink: socket.socket, way: _Way, stats: Stats, first: bytes
    ) -> How:
        """Forward until the source ends or the script cuts; return how to end."""
        loop = asyncio.get_running_loop()
        held = _Held(way) if way.hold else None
        silent = self._silent[direction]

        async def forward(piece: bytes) -> None:
            if way.delay:
                await asyncio.sleep(way.delay)
            await loop.sock_sendall(sink, piece)
            self.sent[direction] += len(piece)
            if direction == "up":
                stats.up += len(piece)
            else:
                stats.down += len(piece)

        async def take(chunk: bytes) -> How | None:
            room = _room(way.cut, chunk, self.sent[direction], self.scanners[direction])
            piece = chunk if room is None else chunk[:room]
            for part in (held.add(piece) if held else [piece]):
                await self._paced(forward, part, way.rate)
            return way.cut.how if room is not None and way.cut is not None else None

        chunk = first
        while True:
            if silent.is_set():
                await asyncio.Event().wait()
            if chunk:
                how = await take(chunk)
                stats.cuts += how is not None
                if how == SILENT:
                    silent.set()
                    continue
                if how is not None:
                    return how
            chunk = await self._receive(source, held, forward, way)
            if chunk == b"":
                if held is not None:
                    await forward(held.rest())
                return FIN
            if silent.is_set():
                await asyncio.Event().wait()

    async def _receive(
        self, source: socket.socket, held: "_Held | None", forward: Callable[[bytes], Any], way: _Way
    ) -> bytes:
        loop = asyncio.get_running_loop()
        size = max(1, int(way.rate * 0.05)) if way.rate else _CHUNK
        while held is not None and way.hold_seconds is not None:
            # The waiting read is kept over a flush: cancelled, it could lose what it has just read.
            reading = loop.create_task(loop.sock_recv(source, size))
            try:
                while not (await asyncio.wait([reading], timeout=way.hold_seconds))[0]:
                    await forward(held.rest())
            finally:
                if not reading.done():
                    reading.cancel()
            return reading.result()
        return await loop.sock_recv(source, size)

    async def _paced(self, forward: Callable[[bytes], Any], piece: bytes, rate: float | None) -> None:
        if not piece:
            return
        await forward(piece)
        if rate:
            await asyncio.sleep(len(piece) / rate)


class _Held:
    """What a buffering proxy keeps back."""

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._in_head = not way.hold_head
        self._kept = bytearray()

    def add(self, chunk: bytes) -> list[bytes]:
        """Take in a chunk; return what may go on."""
        self._kept += chunk
        free: list[bytes] = []
        if self._in_head and HEAD_END in self._kept:
            self._in_head = False
            free.append(self._take(self._kept.index(HEAD_END) + len(HEAD_END)))
        size = self._way.hold_bytes
        while size is not None and not self._in_head and len(self._kept) >= size:
            free.append(self._take(size))
        return free

    def rest(self) -> bytes:
        """Give up all that is kept."""
        return self._take(len(self._kept))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._kept[:size])
        del self._kept[:size]
        return taken


def _room(cut: _Cut | None, chunk: bytes, sent: int, scanner: FrameScanner) -> int | None:
    """Return how much of the chunk may pass before the cut; None: all, and the cut is not reached."""
    if cut is None:
        return None
    if cut.nbytes is not None:
        left = cut.nbytes - sent
        return left if left <= len(chunk) else None
    for offset in scanner.boundaries(chunk):
        if scanner.frames >= (cut.nframes or 0):
            return offset
    return None


async def _dial(target: tuple[str, int], *, small: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET)
    sock.setblocking(False)
    if small:
        # Else the system itself takes in megabytes that the slow reader has not read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _shut(sock: socket.socket, how: How) -> None:
    if how == RST:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
    sock.close()


def _plain_answer(status: int) -> bytes:
    body = b"blocked by a proxy\n"
    head = f"HTTP/1.1 {status} Blocked\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _without(head: bytes, name: str) -> bytes:
    unwanted = name.lower().encode() + b":"
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(unwanted))


class FaultProxy:
    """Listens on a port of its own and forwards to `host:port`, which may be changed while it runs."""

    def __init__(self, host: str, port: int, default: Callable[[bytes], Script] | None = None) -> None:
        self.target = (host, port)
        self.default = default or (lambda head: Script())
        self.stats = Stats()
        self.lines: dict[int, Line] = {}
        self.open = True
        self._next: deque[Script] = deque()
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """The HTTP address to connect to."""
        assert self._listening is not None
        return "http://{}:{}".format(*self._listening.getsockname())

    def next(self, *scripts: Script) -> None:
        """Use these scripts for the connections to come, once each."""
        self._next.extend(scripts)

    def cut(self, how: How = RST) -> None:
        """End every connection now, or let all fall silent."""
        for line in list(self.lines.values()):
            line.cut(how)

    async def __aenter__(self) -> "FaultProxy":
        sock = self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:  # of tasks that were cancelled before they began
            client.close()

    def _accept(self) -> None:
        assert self._listening is not None
        with suppress(BlockingIOError):
            client, _ = self._listening.accept()
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.stats.connects.append(time.monotonic())
            if not self.open:
                _shut(client, RST)
                return
            self._clients.add(client)
            task = asyncio.get_running_loop().create_task(self._serve(client, len(self.stats.connects)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket, number: int) -> None:
        try:
            head = await _head(client)
            if not head:  # thought better of it
                return
            self.stats.heads.append((time.monotonic(), head.partition(HEAD_END)[0]))
            script = self._next.popleft() if self._next else self.default(head)
            line = self.lines[number] = Line(number, head, script, client)
            try:
                await line.run(self.target, self.stats)
            finally:
                del self.lines[number]
        except OSError:
            pass  # the client went away before it said what it wants
        finally:
            client.close()
            self._clients.discard(client)


async def _head(client: socket.socket) -> bytes:
    """Return what came first, at least up to the end of the request's head."""
    head = b""
    while HEAD_END not in head:
        chunk = await asyncio.get_running_loop().sock_recv(client, _CHUNK)
        if not chunk:
            break
        head += chunk
    return head


class HostedProxy:
    """A `FaultProxy` in a thread of its own, for tests that have no loop."""

    def __init__(self, proxy: FaultProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self._loop = loop

    @property
    def url(self) -> str:
        """The HTTP address to connect to."""
        return self.proxy.url

    @property
    def stats(self) -> Stats:
        """What went through so far."""
        return self.proxy.stats

    def do(self, act: Callable[[FaultProxy], T]) -> T:
        """Run `act(proxy)` on the proxy's loop and return what it returns."""
        async def call() -> T:
            return act(self.proxy)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)


@contextmanager
def hosted(host: str, port: int, default: Callable[[bytes], Script] | None = None) -> Iterator[HostedProxy]:
    """Run a proxy in a thread until the block ends."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="fault-proxy", daemon=True)
    thread.start()
    proxy = FaultProxy(host, port, default)
    asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(10)
    try:
        yield HostedProxy(proxy, loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
