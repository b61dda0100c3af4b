"""How long to wait before the next attempt: exponential with full jitter, and never too many in a short time."""

from collections import deque

MAX_DELAY = 30.0
_MAX_EXPONENT = 30  # beyond it the cap has long been reached, and 2 ** n would become a huge integer


def ceiling(attempt: int, *, interval: float = 1.0, factor: float = 2.0, cap: float = MAX_DELAY) -> float:
    """Return the longest wait, in seconds, before attempt number `attempt` (from 1)."""
    return min(cap, interval * factor ** min(max(attempt, 1) - 1, _MAX_EXPONENT))


def delay(
    attempt: int, jitter: float, *, interval: float = 1.0, factor: float = 2.0, cap: float = MAX_DELAY,
    at_least: float = 0.0,
) -> float:
    """Return the wait in seconds before attempt number `attempt`.

    `jitter` is a random number from 0 to 1: all of the wait is random, so that a thousand clients that were
    cut off in one moment do not come back in one moment. `at_least` is what the server asked for.
    """
    return at_least + jitter * ceiling(attempt, interval=interval, factor=factor, cap=cap)


class Brake:
    """Lets at most `most` things happen in any `window` seconds, whatever the reasons for them are."""

    def __init__(self, most: int = 8, window: float = 3.0) -> None:
        self._window = window
        self._times: deque[float] = deque(maxlen=most)

    def earliest(self, when: float) -> float:
        """Return the first moment, not before `when`, at which the next may happen."""
        if len(self._times) == self._times.maxlen:
            return max(when, self._times[0] + self._window)
        return when

    def note(self, now: float) -> None:
        """One happens now."""
        self._times.append(now)
