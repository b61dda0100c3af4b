"""What a frame from the server means for the client."""

import logging
from typing import TYPE_CHECKING

import msgspec

from edchat_protocol.codec import Unknown, decode_down
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import (
    Ack,
    Down,
    ErrorFrame,
    Events,
    Goaway,
    Logged,
    Nack,
    Ping,
    Pong,
    Seen,
    Snapshot,
    StatusData,
    StatusFrame,
    Welcome,
    WelcomeData,
)
from edchat_widget.errors import RemoteProtocolError
from edchat_widget.view import AgentView

from .connection import MOST_ASKED
from .origin import OriginPeer, run_of
from .transcript import Transcript

if TYPE_CHECKING:
    from .client import Client

_SEEN_EVERY = 64
_RESEND_AFTER = 1.0
_V1_STORE = "v1"
_SET_BACK = "The server had this message and does not have it any more; it was set back, or is another one."


class _BrokenError(Exception):
    """The peer broke the protocol; the text says how."""


class Peer:
    """The server as this client knows it: its log's epoch, how far it was applied, what it promises."""

    def __init__(self, client: "Client") -> None:
        self.cursor = 0
        self.epoch: str | None = None
        self._client = client
        self._guaranteed = True
        self._greeted = False
        self._pages: Transcript | None = None
        self._page = 0
        self._due = 0  # where the log ended when this connection was greeted
        self._missed_upto = 0  # what was in the log when this connection was greeted, after a loss
        self._quiet_upto: int | None = None  # what was in the log before this client came is no news
        self._seen = 0
        self._acked_at: dict[int, int] = {}
        self._acked_then = 0
        self._owed: set[str] = set()  # acknowledged by an earlier log, and not seen in it

    @property
    def caught_up(self) -> bool:
        """Whether all that the server had when it was first met has been applied."""
        return self._quiet_upto is not None and self.cursor >= self._quiet_upto

    @property
    def level(self) -> bool:
        """Whether all that the log had when this connection was greeted has been applied."""
        return self._greeted and self._pages is None and self.epoch is not None and self.cursor >= self._due

    def reset(self) -> None:
        """Forget the position in the log."""
        self._owed |= self._client.transcript.acknowledged
        self.cursor, self.epoch = 0, None

    def asked(self, conn: int) -> None:
        """This side is about to introduce itself on connection `conn`."""
        # The server answers with what it knew then; another connection may bring an acknowledgement meanwhile.
        self._acked_at[conn] = self._client.outbox.head.acked

    def begin(self, conn: int, *, guaranteed: bool) -> None:
        """A new connection stands, and is the one that counts."""
        self._acked_then = self._acked_at.get(conn, 0)
        self._acked_at = {n: acked for n, acked in self._acked_at.items() if n > conn}
        self._guaranteed = guaranteed
        self._greeted = False
        self._pages = None

    def ping(self, nonce: int) -> None:
        """Ask for a sign of life, and say how far the log was applied."""
        if self._guaranteed:
            self._client.send(Ping(data={"n": nonce}))
            self._tell_seen()
        else:
            self._client.send(Ping())

    def feed(self, raw: bytes | str, now: float, at: str | None) -> None:
        """Apply one WebSocket message or server-sent event."""
        client = self._client
        try:
            frame = decode_down(raw)
            self._take(frame, now, at)
        except FrameError as exc:
            client.log(logging.WARNING, "a frame from the server cannot be read: %s", exc.code)
            if self._guaranteed:
                error = RemoteProtocolError("The server sent a frame that cannot be read.")
                client.fail(error, now, code=1002)
        except _BrokenError as exc:
            client.log(logging.WARNING, "the server broke the protocol: %s", exc)
            client.fail(RemoteProtocolError(f"The server broke the protocol: {exc}."), now, code=1002)

    def _take(self, frame: Down | Unknown, now: float, at: str | None) -> None:
        self._client.log(logging.DEBUG, "received %s", _type_of(frame))
        match frame:
            case Ping():
                if self._client.connection.way == "ws":
                    self._client.send(Pong(data=frame.data or {}))
            case Pong():
                took = self._client.connection.pong((frame.data or {}).get("n"), now)
                if took is not None:
                    self._client.meter.ponged(took)
            case _ if not self._guaranteed:
                if not self._greeted:
                    self._greeted_by_origin(now)
                self._from_origin(frame, at)
            case Welcome() if not self._greeted:
                self._welcome(frame.data, now)
            case ErrorFrame() | Goaway() | Nack() if not self._greeted:
                self._before_welcome(frame)
            case _ if not self._greeted:
                raise _BrokenError(f"{_type_of(frame)} before welcome")
            case _:
                self._take_greeted(frame, now)

    def _take_greeted(self, frame: Down | Unknown, now: float) -> None:
        match frame:
            case Events():
                for raw in frame.data.frames:
                    self._logged(decode_down(raw))
            case Snapshot():
                self._snapshot(frame)
            case Ack():
                self._ack(frame)
            case Nack():
                self._nack(frame, now)
            case Goaway():
                self._client.connection.goaway(frame.data.retry_after_ms / 1000)
            case Welcome():
                raise _BrokenError("a second welcome")
            case _:
                self._logged(frame)

    def _before_welcome(self, frame: ErrorFrame | Goaway | Nack) -> None:
        if isinstance(frame, Goaway):
            self._client.connection.goaway(frame.data.retry_after_ms / 1000)
        else:
            self._client.log(logging.WARNING, "the server refused the greeting (%s)", frame.data.code)

    # ---------------------------------------------------------------------------------------- version 2

    def _welcome(self, welcome: WelcomeData, now: float) -> None:
        client = self._client
        if welcome.session != client.session:
            raise _BrokenError("welcome names another session")
        head = client.outbox.head
        stranger = head.store is not None and head.store != welcome.store
        if stranger or not self._acked_then <= welcome.accepted_csn <= head.last_csn:
            client.log(logging.WARNING, "the server does not know this outbox; beginning anew")
            client.begin_anew(welcome.store, now)
            return
        self._greeted = True
        if head.store is None:
            client.move_to(welcome.store)
        client.origin = None
        self._due = welcome.head
        if self.epoch not in (None, welcome.epoch):
            self._owed |= client.transcript.acknowledged
        self._accepted(welcome.accepted_csn)
        self._resume(welcome)
        if self._quiet_upto is None:
            self._quiet_upto = welcome.head
        client.agent = AgentView(name=welcome.agent.name, offline=welcome.agent.offline)
        handover = client.connection.live or client.connection.held
        client.connection.welcomed(now, heartbeat=welcome.hb)
        self._greeted_with(welcome.head, handover=handover)
        client.log(logging.INFO, "connected (%s)", client.connection.way)

    def _greeted_with(self, head: int, *, handover: bool) -> None:
        self._client.meter.greeted(handover=handover)
        self._missed_upto = head if self._client.meter.reconnected and not handover else 0

    def _resume(self, welcome: WelcomeData) -> None:
        if welcome.resume == "replay" and self.epoch != welcome.epoch:
            if self.cursor:
                raise _BrokenError("a replay of another log")
            self._become(Transcript())
            self.epoch = welcome.epoch

    def _become(self, log: Transcript) -> None:
        transcript = self._client.transcript
        transcript.become(log)
        for message_id in self._owed & transcript.acknowledged:
            transcript.mark(message_id, "failed", detail=_SET_BACK)
        self._owed.clear()

    def _snapshot(self, frame: Snapshot) -> None:
        if frame.data.page == 1:
            self._pages, self._page = Transcript(), 0
        if self._pages is None:  # a page of a snapshot that is complete already
            return
        self._page += 1
        if frame.data.page != self._page:
            raise _BrokenError(f"snapshot page {frame.data.page} where {self._page} was due")
        for raw in frame.data.frames:
            inner = decode_down(raw)
            if isinstance(inner, Logged):
                self._pages.fold(inner)
        if frame.data.last_page:
            pages, self._pages = self._pages, None
            if frame.data.epoch == self.epoch and frame.data.head < self.cursor:
                return  # taken before what another connection has brought since
            self._become(pages)
            self.epoch, self.cursor = frame.data.epoch, frame.data.head

    def _logged(self, frame: Down | Unknown) -> None:
        client = self._client
        seq = frame.seq if isinstance(frame, Unknown | Logged) else None
        if seq is None:
            if isinstance(frame, ErrorFrame):
                self._complaint(frame)
            elif isinstance(frame, StatusFrame) and frame.data.status == "auth_expiring":
                client.renew(client.now)
            return
        if seq <= self.cursor:
            client.meter.duplicates += 1
            return
        if seq != self.cursor + 1:
            raise _BrokenError(f"seq {seq} after {self.cursor}")
        if isinstance(frame, Logged):
            client.transcript.fold(frame)
            if self._quiet_upto is not None and seq <= self._quiet_upto:
                client.transcript.take_events()
        self.cursor = seq
        if seq <= self._missed_upto:
            client.meter.replayed += 1
        if self.cursor - self._seen >= _SEEN_EVERY:
            self._tell_seen()

    def _tell_seen(self) -> None:
        if self.cursor > self._seen:
            self._seen = self.cursor
            self._client.send(Seen(ack=self.cursor))

    def _ack(self, frame: Ack) -> None:
        client = self._client
        if frame.ack > client.outbox.head.last_csn:
            raise _BrokenError("an acknowledgement of what was never sent")
        if frame.ref:
            client.transcript.confirm(frame.ref, frame.data.run if frame.data else None)
        self._accepted(frame.ack)

    def _accepted(self, upto: int) -> None:
        client = self._client
        for row in client.outbox.accept(upto):
            client.transcript.confirm(row.id)
            if row.kind == "message":
                client.meter.acknowledged(row.id, client.now)
        client.persist()

    def _nack(self, frame: Nack, now: float) -> None:
        client = self._client
        row = client.outbox.find(frame.ref) if frame.ref else None
        csn = frame.csn or (row.csn if row else None)
        client.log(logging.WARNING, "the server refused a command (%s)", frame.data.code)
        if csn is None:
            return
        if frame.data.final:
            refused = client.outbox.refuse(csn, frame.data.message)
            if refused is not None:
                client.transcript.mark(refused.id, "failed", detail=frame.data.message)
            client.persist()
        elif frame.data.code == "gap" and frame.data.expect is not None:
            first = min((r.csn for r in client.outbox.pending), default=None)
            if first is None or frame.data.expect < first:
                client.begin_anew(client.outbox.head.store or "", now)
            else:
                client.resend_later(frame.data.expect, now)
        else:
            wait = (frame.data.retry_after_ms or 1000 * _RESEND_AFTER) / 1000
            client.resend_later(csn, now + min(wait, MOST_ASKED))

    def _complaint(self, frame: ErrorFrame) -> None:
        client = self._client
        client.log(logging.WARNING, "the server could not take a frame (%s)", frame.data.code)
        row = client.outbox.find(frame.ref) if frame.ref else None
        if row is not None:
            client.outbox.refuse(row.csn, frame.data.error)
            client.transcript.mark(row.id, "failed", detail=frame.data.error)
            client.persist()
        elif frame.data.code == "too_large":  # what is too large is not read, so that no message is named
            client.drop_too_large()

    # ---------------------------------------------------------------------------------------- version 1

    def _greeted_by_origin(self, now: float) -> None:
        client = self._client
        self._greeted = True
        if client.origin is None:
            client.origin = OriginPeer()
        if client.outbox.head.store != _V1_STORE:
            client.move_to(_V1_STORE)
        client.connection.welcomed(now, guaranteed=False)
        client.meter.greeted()
        client.log(logging.INFO, "connected (%s, a server that confirms nothing)", client.connection.way)

    def _from_origin(self, frame: Down | Unknown, at: str | None) -> None:
        client = self._client
        if client.origin is None or not isinstance(frame, Logged):
            return
        done, frames = client.origin.complete(frame)
        if client.origin.current is not None and frames and not done:
            client.transcript.mark(client.origin.current, "accepted")
        for full in frames:
            client.transcript.fold(_dated(full, at))
        if done:
            client.outbox.accept_id(done)
            client.meter.acknowledged(done, None)
            client.persist()

    def leave_in_doubt(self, message_id: str) -> None:
        """The origin's server was cut off while it had this message."""
        client = self._client
        run = run_of(message_id)
        answer = client.transcript.get(run)
        if answer is not None and answer.state == "streaming":
            client.transcript.fold(StatusFrame(run=run, data=StatusData(
                status="cancelled", message="The connection was cut. The answer may still come.")))
        client.transcript.mark(
            message_id, "in_doubt",
            detail="The connection was cut before the answer came; this server cannot say what it did.")

    def stopped_at_origin(self, message_id: str) -> None:
        """The person does not want this answer any more."""
        self._client.transcript.fold(StatusFrame(run=run_of(message_id), data=StatusData(
            status="cancelled", message="Stopped here; this server cannot be told to stop.")))


def _dated(frame: Logged, at: str | None) -> Logged:
    return frame if frame.timestamp else msgspec.structs.replace(frame, timestamp=at)


def _type_of(frame: Down | Unknown) -> str:
    return frame.type if isinstance(frame, Unknown) else str(frame.__struct_config__.tag)
