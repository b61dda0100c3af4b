"""The limits of `limits.py`, counted: who may come in now, and how much may come from them."""

import math
import random
import time
from collections.abc import Callable

from .hub import Hub
from .limits import Buckets, Caps, Seats, TokenBucket, Turnstile, spread_ms


class TooMany(Exception):
    """A limit is reached. The text says which; `retry_after_ms` when it makes sense to come back."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class AddressSeat:
    """A connection's seat while the block runs; every idle connection holds one, so it is small."""

    __slots__ = ("_seat", "_seats", "_waiting")

    def __init__(self, seats: Seats, seat: object, waiting: object) -> None:
        self._seats, self._seat, self._waiting = seats, seat, waiting
        seats.sit(seat)
        if waiting is not None:
            seats.sit(waiting)

    def known(self) -> None:
        """Say that it is known now who sits here."""
        if self._waiting is not None:
            self._seats.leave(self._waiting)
            self._waiting = None

    def __enter__(self) -> "AddressSeat":
        return self

    def __exit__(self, *exc: object) -> None:
        self.known()
        self._seats.leave(self._seat)


class ClientSeat:
    """A client's seats while the block runs: its own for each connection, the others' once."""

    __slots__ = ("_mine", "_others", "_seats")

    def __init__(self, seats: Seats, mine: object, others: tuple[object, ...]) -> None:
        self._seats, self._mine, self._others = seats, mine, others
        if not seats.taken(mine):
            for other in others:
                seats.sit(other)
        seats.sit(mine)

    def __enter__(self) -> "ClientSeat":
        return self

    def __exit__(self, *exc: object) -> None:
        self._seats.leave(self._mine)
        if not self._seats.taken(self._mine):
            for other in self._others:
                self._seats.leave(other)


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
        self._users_commands = Buckets(caps.user_commands_per_10s / 10, caps.user_command_burst)
        self._posted = Buckets(caps.frames_per_second, caps.frame_burst)
        self._seats = Seats()

    def hello(self) -> None:
        """Let one more client be greeted. Raises `TooMany`."""
        wait = self._hellos.enter(self._clock())
        if wait:
            raise TooMany("the server greets as many clients as it can", _ms(wait))

    def command(self, client: object, user: str | None = None) -> int:
        """Return 0: the client's command may be taken; else in how many milliseconds the next one may.

        `user`, by name, has a limit over all clients, for a client's name costs nothing.
        """
        wait = self._commands.take(client, self._clock())
        if wait == 0 and user is not None:
            wait = self._users_commands.take(user, self._clock())
        return _ms(wait)

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

    def address(self, address: str, *, pending: bool) -> "AddressSeat":
        """Count a connection from an address, until the seat is given back. Raises `TooMany`."""
        seat, waiting = ("address", address), ("pending", address)
        if self._seats.taken(seat) >= self.caps.connections_per_address:
            raise TooMany("too many connections from this address", self._soon())
        if pending and self._seats.taken(waiting) >= self.caps.pending_per_address:
            raise TooMany("too many connections from this address that have not said who they are", self._soon())
        return AddressSeat(self._seats, seat, waiting if pending else None)

    def client(self, session: str, client: str, user: str | None) -> "ClientSeat":
        """Count a client of a session, and of a user by name, until the seat is given back. Raises `TooMany`.

        A client that changes its connection has two for a moment, and is one.
        """
        mine, room = ("client", session, client, user), ("session", session)
        if not self._seats.taken(mine):
            if self._seats.taken(room) >= self.caps.clients_per_session:
                raise TooMany(f"this session has {self.caps.clients_per_session} clients already", self._soon())
            if user is not None and self._seats.taken(("user", user)) >= self.caps.clients_per_user:
                raise TooMany(f"{user} has {self.caps.clients_per_user} clients already", self._soon())
        return ClientSeat(self._seats, mine, (room,) if user is None else (room, ("user", user)))

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
