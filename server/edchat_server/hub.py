"""Who listens to which session: bells in this process. The log is the queue; a bell only says "look"."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
Close = Callable[[int, str], Awaitable[None]]


class Reading:
    """Reads of one session's log that several listeners want at the same time, done once for all of them."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def renew(self) -> None:
        """Share nothing any more that began before now: it may lack what the bell rings for."""
        self._tasks = {}

    async def once(self, what: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `read` gives, or what it gives to somebody who wants the same already."""
        task = self._tasks.get(what)
        if task is None:
            task = self._tasks[what] = asyncio.create_task(read(), name="edchat-read")
            task.add_done_callback(partial(self._done, what))
        return await asyncio.shield(task)  # one who leaves takes nothing from the others

    def _done(self, what: Hashable, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(what) is task:
            del self._tasks[what]
        if not task.cancelled():
            task.exception()  # seen, even where all have left


@dataclass(eq=False)
class Listener:
    """One connection that reads a session's log. `wait` returns at a ring, or when its time is over."""

    _reading: Reading = field(default_factory=Reading)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Wake the listener."""
        self._bell.set()

    async def share(self, what: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `read` gives, once for all listeners of the session that ask for `what` at the same time."""
        return await self._reading.once(what, read)

    async def wait(self, timeout: float) -> None:
        """Return at the next ring since the last `wait`, at the latest after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()


@dataclass(eq=False, slots=True)
class Place:
    """One connection of a client. `close` ends it with a close code and a reason."""

    conn: int
    close: Close
    greeted: bool = False
    superseded: bool = False


class Hub:
    """The listeners of all sessions, and the connections of each client, of which the newest stays."""

    def __init__(self) -> None:
        # Kept in the order in which they came, so that the same happenings always run in the same order.
        self._listeners: defaultdict[str, dict[Listener, None]] = defaultdict(dict)
        self._readings: defaultdict[str, Reading] = defaultdict(Reading)
        self._places: defaultdict[tuple[str, str], list[Place]] = defaultdict(list)
        self._farewells: set[asyncio.Task[None]] = set()
        self.draining = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many connections listen now."""
        return sum(len(listeners) for listeners in self._listeners.values())

    @property
    def sessions(self) -> set[str]:
        """The sessions that somebody listens to."""
        return set(self._listeners)

    def ring(self, session: str) -> None:
        """Say that the session's log has grown."""
        if session in self._readings:
            self._readings[session].renew()
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
        listener = Listener(self._readings[session])
        self._listeners[session][listener] = None
        try:
            yield listener
        finally:
            del self._listeners[session][listener]
            if not self._listeners[session]:
                del self._listeners[session], self._readings[session]

    @contextmanager
    def place(self, session: str, client: str, conn: int, close: Close) -> Iterator[Place]:
        """Be a connection of the client while the block runs. `greeted` makes the newest one the only one."""
        key = (session, client)
        mine = Place(conn, close)
        self._places[key].append(mine)
        try:
            yield mine
        finally:
            self._places[key].remove(mine)
            if not self._places[key]:
                del self._places[key]

    def greeted(self, session: str, client: str, place: Place) -> None:
        """Say that a connection has its welcome: the client's older ones are closed now, and not before.

        Until then an older one goes on, so that a client that changes its carrier is never without one.
        """
        place.greeted = True
        live = [*self._places.get((session, client), []), place]
        # Of two with the same number the later one counts: a poll that is asked for again replaces itself.
        # And an older one may get here last: the carriers take different times from hello to here.
        newest = max(reversed([p for p in live if p.greeted]), key=lambda p: p.conn, default=place)
        for other in live:
            if other is not newest and other.conn <= newest.conn:
                self._farewell(other)

    def _farewell(self, place: Place) -> None:
        if place.superseded:
            return
        place.superseded = True
        task = asyncio.ensure_future(place.close(4409, "superseded by a newer connection"))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
