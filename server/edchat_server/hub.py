"""Who listens to which session: bells in this process. The log is the queue; a bell only says "look"."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Close = Callable[[int, str], Awaitable[None]]


@dataclass(eq=False)
class Listener:
    """One connection that reads a session's log. `wait` returns at a ring, or after a second."""

    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Wake the listener."""
        self._bell.set()

    async def wait(self, timeout: float = 1.0) -> None:
        """Return at the next ring since the last `wait`, at the latest after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()


@dataclass(eq=False)
class _Place:
    conn: int
    close: Close


class Hub:
    """The listeners of all sessions, and the one live connection of each client."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._places: dict[tuple[str, str], _Place] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self.draining = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many connections listen now."""
        return sum(len(listeners) for listeners in self._listeners.values())

    def ring(self, session: str) -> None:
        """Say that the session's log has grown."""
        for listener in self._listeners.get(session, ()):
            listener.ring()

    def drain(self) -> None:
        """Tell every connection that the server is going away."""
        self.draining.set()
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.ring()

    @contextmanager
    def listen(self, session: str) -> Iterator[Listener]:
        """Give a listener to the session's bell while the block runs."""
        listener = Listener()
        self._listeners[session].add(listener)
        try:
            yield listener
        finally:
            self._listeners[session].discard(listener)
            if not self._listeners[session]:
                del self._listeners[session]

    @contextmanager
    def place(self, session: str, client: str, conn: int, close: Close) -> Iterator[None]:
        """Be the client's live connection; of two of the same client the older one is closed."""
        key = (session, client)
        mine, other = _Place(conn, close), self._places.get(key)
        # An older connection can get here last: the carriers take different times from hello to here.
        newest = mine if other is None or other.conn <= conn else other
        self._places[key] = newest
        if other is not None:
            older = other if newest is mine else mine
            task = asyncio.ensure_future(older.close(4409, "superseded by a newer connection"))
            self._farewells.add(task)
            task.add_done_callback(self._farewells.discard)
        try:
            yield
        finally:
            if self._places.get(key) is mine:
                del self._places[key]
