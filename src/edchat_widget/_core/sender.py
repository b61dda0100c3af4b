"""What goes out when: in order, at most a window's worth unconfirmed, each once on a connection."""

import logging
from typing import TYPE_CHECKING

from edchat_protocol.frames import Cancel, CancelData, UserMessage, UserMessageData

from .origin import OriginPeer, message_frame
from .outbox import Row

if TYPE_CHECKING:
    from .client import Client

WINDOW = 16
"""How many commands may be out without an acknowledgement."""


class Sender:
    """Writes the outbox's rows to the current connection."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._sent_upto = 0
        self._resend_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """When `tick` is due next."""
        return self._resend_at

    def begin(self) -> None:
        """A new connection stands: nothing was sent on it yet."""
        self._sent_upto = 0
        self._resend_at = None

    def resend_later(self, csn: int, at: float) -> None:
        """Send this row and those behind it once more, at the given time at the earliest."""
        if self._resend_at is not None:
            # Of several refused ones the first comes first again, and the longest wait holds.
            csn, at = min(csn - 1, self._sent_upto) + 1, max(at, self._resend_at)
        self._sent_upto = csn - 1
        self._resend_at = at

    def drop_too_large(self) -> None:
        """The server would not have a frame for its size: send the largest one that is out no more."""
        out = [r for r in self._client.outbox.pending if r.csn <= self._sent_upto]
        if out and self._client.origin is None:
            row = max(out, key=lambda r: len(r.text))
            detail = "The message is too large for this server."
            self._client.outbox.refuse(row.csn, detail)
            self._client.transcript.mark(row.id, "failed", detail=detail)
            self._client.persist()

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._resend_at is not None and self._resend_at <= now:
            self._resend_at = None
            self.flush()

    def flush(self) -> None:
        """Write what may be written: in order, and no more than the peer can confirm."""
        if not self._client.connection.live or self._resend_at is not None:
            return
        if self._client.origin is not None:
            self._flush_to_origin(self._client.origin)
            return
        pending = self._client.outbox.pending
        out = sum(1 for r in pending if r.csn <= self._sent_upto)
        for row in pending:
            if row.csn <= self._sent_upto:
                continue
            if out >= WINDOW:
                break
            self._write(row)
            self._client.send(self._command(row))
            self._sent_upto = row.csn
            out += 1

    def _flush_to_origin(self, origin: OriginPeer) -> None:
        # One at a time: a message that is not out cannot get into doubt.
        while origin.current is None:
            row = next((r for r in self._client.outbox.pending if r.state == "queued"), None)
            if row is None:
                return
            if row.kind == "cancel":  # from the time of another server; this one cannot be told
                self._client.outbox.accept_id(row.id)
                self._client.persist()
                continue
            earlier = tuple(m for m in self._client.transcript.messages if m.state in ("answered", "complete"))
            self._write(row)
            self._client.transcript.settle(row.id, origin.send(row.id))
            self._client.send(message_frame(self._client.session, row.text, earlier, row.created_at))

    def _write(self, row: Row) -> None:
        # Stored before the first byte leaves: after a crash it must be known that it may have left.
        if row.state == "queued":
            self._client.outbox.written(row.csn)
            self._client.persist()
            self._client.transcript.mark(row.id, "sent")
            if row.kind == "message":
                self._client.meter.sent(row.id, self._client.now)
        self._client.log(logging.INFO, "%s sent over %s", row.kind, self._client.connection.way)

    def _command(self, row: Row) -> UserMessage | Cancel:
        if row.kind == "cancel":
            return Cancel(id=row.id, csn=row.csn, data=CancelData(run=row.run), timestamp=row.created_at)
        # Of use to the first message of a session alone; the server takes no notice of it later.
        history = list(self._client.history) or None if row.csn == 1 else None
        return UserMessage(
            id=row.id, csn=row.csn, data=UserMessageData(content=row.text, message_history=history),
            ack=self._client.cursor, timestamp=row.created_at,
        )
