"""What one peer may take of the server. Pure: time comes in, in seconds of a clock that never goes back."""

from collections import OrderedDict
from dataclasses import dataclass

from edchat_protocol.errors import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from edchat_protocol.frames import Limits


@dataclass(frozen=True, kw_only=True)
class Caps:
    """The numbers. Times are in seconds; what is per second may come in a burst after some silence."""

    commands_per_10s: int = 60
    command_burst: int = 100
    user_commands_per_10s: int = 300
    user_command_burst: int = 300
    frames_per_second: int = 100
    frame_burst: int = 1000
    hellos_per_second: int = 200
    hello_burst: int = 50
    clients_per_session: int = 20
    clients_per_user: int = 100
    connections_per_address: int = 2000
    pending_per_address: int = 100
    hello_seconds: float = 5.0
    send_seconds: float = 20.0

    @property
    def announced(self) -> Limits:
        """What a client needs to know, for `welcome`."""
        return Limits(
            frame=MAX_FRAME_BYTES, message=MAX_MESSAGE_BYTES, commands_per_10s=self.commands_per_10s,
            burst=self.command_burst, clients=self.clients_per_session,
        )


class TokenBucket:
    """Lets `rate` a second through, and `burst` at once after some silence."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> float:
        """Take one and return 0.0; or take none and return how many seconds it will be until there is one."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class Buckets:
    """A bucket for each key. Of more than `limit` keys the one that was silent longest is forgotten."""

    def __init__(self, rate: float, burst: float, limit: int = 10_000) -> None:
        self._rate = rate
        self._burst = burst
        self._limit = limit
        self._of: OrderedDict[object, TokenBucket] = OrderedDict()

    def take(self, key: object, now: float) -> float:
        """Take one of the key's bucket; see `TokenBucket.take`."""
        bucket = self._of.get(key)
        if bucket is None:
            if len(self._of) >= self._limit:
                self._of.popitem(last=False)
            bucket = self._of[key] = TokenBucket(self._rate, self._burst, now)
        self._of.move_to_end(key)
        return bucket.take(now)


class Turnstile:
    """Lets arrivals through at a rate. Whoever comes too early is told a turn of their own, and may come back then.

    A crowd that is sent away thus comes back spread out, not as a crowd.
    """

    LONGEST = 30.0

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._bucket = TokenBucket(rate, burst, now)
        self._turn = now

    def enter(self, now: float) -> float:
        """Return 0.0 for in, or the seconds until the turn that is kept for this arrival."""
        if self._bucket.take(now) == 0:
            return 0.0
        self._turn = min(max(self._turn, now) + 1 / self._rate, now + self.LONGEST)
        return self._turn - now


class Seats:
    """Counts who is there, by key."""

    def __init__(self) -> None:
        self._taken: dict[object, int] = {}

    def taken(self, key: object) -> int:
        """Return how many sit there."""
        return self._taken.get(key, 0)

    def sit(self, key: object) -> None:
        """Take a seat."""
        self._taken[key] = self.taken(key) + 1

    def leave(self, key: object) -> None:
        """Give the seat back."""
        left = self.taken(key) - 1
        if left > 0:
            self._taken[key] = left
        else:
            del self._taken[key]


def spread_ms(clients: int, jitter: float, *, per_second: int) -> int:
    """Return when one of so many clients that are sent away together is to come back, in milliseconds.

    `jitter` is a random number from 0 to 1. At least half a second, and spread over as long as the server
    takes to greet them all, or half a second where they are few.
    """
    return 500 + round(jitter * max(500.0, clients / per_second * 1000))
