"""What `Chat.metrics` returns."""

from dataclasses import dataclass, fields, replace

__all__ = ["Metrics"]

_WORDS = {
    "connections": "connections that the server greeted",
    "reconnects": "of them after a loss",
    "events_replayed": "events had again or late, after a loss",
    "duplicates_dropped": "events dropped because they were known",
    "queued": "commands that the server has not confirmed",
    "messages_sent": "messages sent",
    "messages_acknowledged": "messages confirmed by the server",
    "bytes_sent": "bytes sent",
    "bytes_received": "bytes received",
    "ack_p50_ms": "from sent to confirmed, half within (ms)",
    "ack_p95_ms": "from sent to confirmed, 95 % within (ms)",
    "ping_p50_ms": "round trip, half within (ms)",
    "ping_p95_ms": "round trip, 95 % within (ms)",
    "uptime": "share of the time with a connection",
}


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Counts since this kernel began the conversation, and how quick the server was lately.

    `queued` is as of now. Times are in ms, over the last 512 samples, None before the first. `uptime` is
    from 0 to 1. A message counts as sent once, however often it went over the wire; `bytes_sent` and
    `bytes_received` are those of the frames, without what carries them.
    """

    connections: int = 0
    reconnects: int = 0
    events_replayed: int = 0
    duplicates_dropped: int = 0
    queued: int = 0
    messages_sent: int = 0
    messages_acknowledged: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    ack_p50_ms: float | None = None
    ack_p95_ms: float | None = None
    ping_p50_ms: float | None = None
    ping_p95_ms: float | None = None
    uptime: float = 0.0

    def counting(self, other: "Metrics") -> "Metrics":
        """Return these with the other's counts added; times and share are these."""
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.type is int}
        return replace(self, **counts)

    def _repr_markdown_(self) -> str:
        rows = (f"| {_WORDS[f.name]} | {self._text(f.name)} |" for f in fields(self))
        return "\n".join(["| | |", "|:--|--:|", *rows])

    def _text(self, name: str) -> str:
        value = getattr(self, name)
        if value is None:
            return "–"
        if name == "uptime":
            return f"{value:.1%}"
        return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
