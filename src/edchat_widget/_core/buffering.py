"""Whether something on the way holds an event stream back, so that polling serves better.

Times are seconds of a clock that never goes back.
"""

REMEMBERED = 3600.0
REMEMBERED_AT_FIRST = 120.0
_SILENCE = 15.0
_BURST = 1.0
_WITHIN = 600.0
_SUSPICIONS = 2


class Heartbeats:
    """Judges one stream by how its heartbeats come: one by one, or in clumps after a long silence."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._burst: float | None = None
        self._count = 0

    def heard(self, now: float, *, heartbeat: bool) -> bool:
        """Something came; return whether with it heartbeats came in a clump."""
        if now - self._last >= _SILENCE:
            self._burst, self._count = now, 0
        self._last = now
        if not heartbeat or self._burst is None or now - self._burst > _BURST:
            return False
        self._count += 1
        return self._count == 2


class HeldStreams:
    """Servers to which streams do not get through. At first each is known for two minutes, since one slow
    moment looks the same; found again within an hour of that, for an hour."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._found: dict[str, float] = {}
        self._suspected: dict[str, list[float]] = {}

    def known(self, server: str, now: float) -> bool:
        """Return whether this server's streams are held back."""
        if self._until.get(server, now) > now:
            return True
        self._until.pop(server, None)
        return False

    def found(self, server: str, now: float) -> None:
        """A stream was held back."""
        again = now - self._found.get(server, -REMEMBERED) < REMEMBERED
        self._found[server] = now
        self._until[server] = now + (REMEMBERED if again else REMEMBERED_AT_FIRST)
        self._suspected.pop(server, None)

    def suspect(self, server: str, now: float) -> None:
        """A stream looked held back. Once, that may be a stall of the line, or a process that stood still."""
        recent = [at for at in self._suspected.get(server, []) if now - at < _WITHIN]
        self._suspected[server] = [*recent, now]
        if len(recent) + 1 >= _SUSPICIONS:
            self.found(server, now)
