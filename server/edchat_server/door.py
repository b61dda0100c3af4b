"""The limits of `limits.py`, counted: who may come in now, and how much may come from them."""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .hub import Hub
from .limits import Buckets, Caps, Seats, TokenBucket, Turnstile, spread_ms


class TooMany(Exception):
    """A limit is reached. The text says which; `retry_after_ms` when it makes sense to come back."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Door:
    """Counts what the limits are about. `clock` never goes back; `jitter` gives random numbers from 0 to 1."""

    def __init__(
        self, caps: Caps, *, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self.caps = caps
        self._clock = clock
        self._jitter = jitter
        self._hellos = Turnstile(caps.hellos_per_second, caps.hello_burst, clock())
        self._commands = Buckets(caps.commands_per_10s / 10, caps.command_burst)
        self._posted = Buckets(caps.frames_per_second, caps.frame_burst)
        self._seats = Seats()

    def hello(self) -> None:
        """Let one more client be greeted. Raises `TooMany`."""
        wait = self._hellos.enter(self._clock())
        if wait:
            raise TooMany("the server greets as many clients as it can", _ms(wait))

    def command(self, client: object) -> int:
        """Return 0: the client's command may be taken; else in how many milliseconds the next one may."""
        return _ms(self._commands.take(client, self._clock()))

    def flow(self) -> TokenBucket:
        """Return the bucket for the frames of a new connection."""
        return TokenBucket(self.caps.frames_per_second, self.caps.frame_burst, self._clock())

    def frame(self, flow: TokenBucket) -> None:
        """Let one more frame of a connection in. Raises `TooMany`."""
        _refuse_flood(flow.take(self._clock()))

    def posted(self, client: object, frames: int = 1) -> None:
        """Let frames of a client without a connection in. Raises `TooMany`."""
        for _ in range(frames):
            _refuse_flood(self._posted.take(client, self._clock()))

    @contextmanager
    def address(self, address: str, *, pending: bool) -> Iterator[Callable[[], None]]:
        """Count a connection from an address while the block runs; what it yields ends its being `pending`.

        Raises `TooMany`.
        """
        seat, waiting = ("address", address), ("pending", address)
        if self._seats.taken(seat) >= self.caps.connections_per_address:
            raise TooMany("too many connections from this address", self._soon())
        if pending and self._seats.taken(waiting) >= self.caps.pending_per_address:
            raise TooMany("too many connections from this address that have not said who they are", self._soon())
        left = [seat, waiting] if pending else [seat]
        for each in left:
            self._seats.sit(each)

        def known() -> None:
            if waiting in left:
                left.remove(waiting)
                self._seats.leave(waiting)

        try:
            yield known
        finally:
            for each in left:
                self._seats.leave(each)

    @contextmanager
    def client(self, session: str, client: str, user: str | None) -> Iterator[None]:
        """Count a client of a session, and of a user by name, while the block runs. Raises `TooMany`.

        A client that changes its connection has two for a moment, and is one.
        """
        mine, seats = ("client", session, client), [("session", session)]
        if user is not None:
            seats.append(("user", user))
        if not self._seats.taken(mine):
            if self._seats.taken(seats[0]) >= self.caps.clients_per_session:
                raise TooMany(f"this session has {self.caps.clients_per_session} clients already", self._soon())
            if user is not None and self._seats.taken(seats[1]) >= self.caps.clients_per_user:
                raise TooMany(f"{user} has {self.caps.clients_per_user} clients already", self._soon())
            for seat in seats:
                self._seats.sit(seat)
        self._seats.sit(mine)
        try:
            yield
        finally:
            self._seats.leave(mine)
            if not self._seats.taken(mine):
                for seat in seats:
                    self._seats.leave(seat)

    def farewell_ms(self, hub: Hub) -> int:
        """Return when one of all who are connected now is to come back to the next server."""
        return spread_ms(hub.connections, self._jitter(), per_second=self.caps.hellos_per_second)

    def _soon(self) -> int:
        return 5000 + round(5000 * self._jitter())


def _refuse_flood(wait: float) -> None:
    if wait:
        raise TooMany("more frames than anybody needs", 1000 + _ms(wait))


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
