"""Counts and times of one conversation, in memory that does not grow."""

from collections import deque

from edchat_widget.metrics import Metrics

WINDOW = 512
"""How many of the last samples a percentile is of."""


class Meter:
    """Told what happens, it says how often and how quickly. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self.replayed = 0
        self.duplicates = 0
        self._connections = 0
        self._handovers = 0
        self._sent = 0
        self._acknowledged = 0
        self._bytes_up = 0
        self._bytes_down = 0
        self._out: dict[str, float] = {}  # when a message that is not confirmed went out first
        self._acks: deque[float] = deque(maxlen=WINDOW)
        self._pings: deque[float] = deque(maxlen=WINDOW)
        self._began: float | None = None
        self._live_since: float | None = None
        self._live = 0.0

    def watch(self, now: float, *, live: bool) -> None:
        """Note whether there is a connection."""
        if self._began is None:
            self._began = now
        if live and self._live_since is None:
            self._live_since = now
        elif not live and self._live_since is not None:
            self._live += now - self._live_since
            self._live_since = None

    def greeted(self, *, handover: bool = False) -> None:
        """Count a connection that the server greeted. `handover`: the one before stood until then."""
        self._connections += 1
        self._handovers += handover

    @property
    def reconnected(self) -> bool:
        """Whether a connection was lost before the one of now."""
        return self._connections - self._handovers > 1

    def up(self, size: int) -> None:
        """Count bytes sent."""
        self._bytes_up += size

    def down(self, size: int) -> None:
        """Count bytes received."""
        self._bytes_down += size

    def sent(self, message_id: str, now: float) -> None:
        """Count a message that goes out for the first time."""
        self._sent += 1
        self._out[message_id] = now
        if len(self._out) > WINDOW:  # what was refused is never confirmed
            del self._out[next(iter(self._out))]

    def acknowledged(self, message_id: str, now: float | None) -> None:
        """Count a message that the server confirmed; `now` None: by its answer, which says nothing of the way."""
        self._acknowledged += 1
        began = self._out.pop(message_id, None)
        if began is not None and now is not None:
            self._acks.append(now - began)

    def ponged(self, milliseconds: float) -> None:
        """Note a round trip."""
        self._pings.append(milliseconds / 1000)

    def report(self, now: float, *, queued: int) -> Metrics:
        """Return all of it as of now."""
        live = self._live + (now - self._live_since if self._live_since is not None else 0.0)
        whole = now - self._began if self._began is not None else 0.0
        return Metrics(
            connections=self._connections, reconnects=max(0, self._connections - self._handovers - 1),
            events_replayed=self.replayed, duplicates_dropped=self.duplicates, queued=queued,
            messages_sent=self._sent, messages_acknowledged=self._acknowledged,
            bytes_sent=self._bytes_up, bytes_received=self._bytes_down,
            ack_p50_ms=_percentile(self._acks, 0.5), ack_p95_ms=_percentile(self._acks, 0.95),
            ping_p50_ms=_percentile(self._pings, 0.5), ping_p95_ms=_percentile(self._pings, 0.95),
            uptime=round(min(1.0, live / whole), 4) if whole > 0 else 0.0,
        )


def _percentile(samples: "deque[float]", share: float) -> float | None:
    """Return the smallest sample that `share` of all do not exceed, in ms."""
    if not samples:
        return None
    ordered = sorted(samples.copy())  # in one step: the caller's thread may be another
    rank = -(-len(ordered) * share // 1)
    return round(ordered[max(0, int(rank) - 1)] * 1000, 2)
