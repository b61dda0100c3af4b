"""The façade of the core: feed it what happens, drain what is to be done, come back at `deadline`.

Nothing in here waits, writes or reads a clock. Inputs carry `now` (seconds of a clock that never goes
back) and, where people will see it, `at` (ISO 8601).
"""

import logging
from collections.abc import Callable

import msgspec

from edchat_protocol import PROTOCOL, SUBPROTOCOL_V2
from edchat_protocol.codec import encode
from edchat_protocol.frames import Frame, Hello, HelloData, HistoryItem
from edchat_widget.errors import ConnectionLost, EdChatError
from edchat_widget.view import AgentView, View

from .carriers import Way
from .connection import TOO_LARGE, Connection, Policy
from .doubts import Doubts
from .effects import Close, Effect, Log, Open, Persist, Send
from .handover import Handover
from .meter import Meter
from .origin import OriginPeer
from .outbox import Outbox, Row
from .peer import Peer
from .sender import Sender
from .showing import Showing, message_of
from .states import State
from .transcript import Transcript

_ACTIVE = ("streaming", "requires_action")


class Client:
    """One session's client, without its shell.

    `jitter` gives random numbers from 0 to 1, `new_id` unique names. `server` is shown in the badge.
    """

    def __init__(
        self, session: str, outbox: Outbox, *, jitter: Callable[[], float], new_id: Callable[[], str],
        policy: Policy | None = None, server: str | None = None, agent: str = "edchat_widget",
        meter: Meter | None = None, history: tuple[HistoryItem, ...] = (),
    ) -> None:
        self.session = session
        self.server = server or "the server"
        self.doubts = Doubts(self)
        self.outbox = outbox
        self.transcript = Transcript()
        self.connection = Connection(policy or Policy(), jitter, server=server)
        self.agent: AgentView | None = None
        self.origin: OriginPeer | None = None
        self.meter = meter or Meter()
        self.now = 0.0  # of the input at hand
        self.history = history  # what the agent is to know of an earlier conversation
        self._sender = Sender(self)
        self._peer = Peer(self)
        self._handover = Handover(self)
        self._new_id = new_id
        self._agent_name = agent
        self._conn: int | None = None  # the connection that frames are taken from
        self._effects: list[Effect] = []
        self._stored_head = outbox.head
        for row in outbox.rows:
            self._recall(row)
        self.transcript.take_ops()
        self._showing = Showing(self)

    # -------------------------------------------------------------------------------------------- outputs

    @property
    def deadline(self) -> float | None:
        """When `tick` is due next; None: not by itself."""
        parts = (self.connection, self._sender, self._handover)
        return min((p.deadline for p in parts if p.deadline is not None), default=None)

    @property
    def level(self) -> bool:
        """Whether the server's log, as it was when this connection began, is all known here."""
        return self.origin is None and self._peer.level

    @property
    def caught_up(self) -> bool:
        """Whether the conversation so far is known, as far as the server can tell it."""
        return self.origin is not None or self._peer.caught_up

    def effects(self) -> list[Effect]:
        """Return what is to be done since the last call, in order."""
        effects, self._effects = [*self._effects, *self._showing.changes()], []
        return effects

    def view(self, rev: int) -> View:
        """Return all that the panel shows, as of the effects drained last."""
        return self._showing.view(rev)

    # --------------------------------------------------------------------------------- inputs: the person

    def draft_message(self, message_id: str, text: str, at: str | None) -> Row | None:
        """Return the row to store before `submit`; None where this id is known already.

        Raises:
            OutboxFull: too many wait.
        """
        if self.outbox.find(message_id) or self.transcript.get(message_id):
            return None
        return self.outbox.draft(Row(csn=0, id=message_id, kind="message", text=text, created_at=at))

    def draft_cancel(self, run: str | None, cancel_id: str, at: str | None) -> Row | None:
        """Take back what was never sent, and return the row that stops the rest; None: nothing to stop.

        `run` None means whatever runs or waits.
        """
        if run is None:
            for row in self.outbox.pending:
                if row.state == "queued" and row.kind == "message":
                    self.withdraw(row.id)
        if self.origin is not None:
            self._stop_at_origin(run)
            return None
        out = any(r.kind == "message" for r in self.outbox.pending)
        if not out and not self._running(run):
            return None
        return self.outbox.draft(Row(csn=0, id=cancel_id, kind="cancel", run=run, created_at=at))

    def submit(self, row: Row, now: float) -> None:
        """Take in a drafted row that has been stored."""
        self.now = now
        self.outbox.add(row)
        if row.kind == "message":
            self.transcript.echo(message_of(row))
        if self.connection.state is State.DISCONNECTED and not self.connection.final:
            self.connection.retry(now)
        self._sender.flush()

    def withdraw(self, message_id: str, detail: str = "Stopped before it was sent.") -> bool:
        """Take back a message that was never sent; return whether that was still possible."""
        row = self.outbox.find(message_id)
        if row is None or row.state != "queued" or self.outbox.withdraw(message_id) is None:
            return False
        self.persist()
        self.transcript.mark(message_id, "failed", detail=detail)
        return True

    def replace_lost(self, message_id: str) -> None:
        """Remove a message that the server does not have, since a new one takes its place."""
        row = self.outbox.find(message_id)
        if row is not None and row.state in ("refused", "in_doubt"):
            self.outbox.withdraw(message_id)
            self.persist()
        if row is None or row.state in ("refused", "in_doubt"):
            self.transcript.forget(message_id)

    def reconnect(self, now: float) -> None:
        """Try to connect now."""
        self.connection.retry(now)

    def configure(self, policy: Policy, now: float, *, renewed: bool = False) -> None:
        """Go on under another policy. `renewed`: what lets us in changed, so an attempt under way is no use."""
        moved = policy.websocket != self.connection.policy.websocket
        self.connection.configure(policy)
        under_way = self._conn is not None or self._handover.conn is not None
        if under_way and (moved or (renewed and not self.connection.live)):
            self._leave()
            self._after_cut()
            self.connection.reopen(now)

    # ------------------------------------------------------------------------------ inputs: the connection

    def start(self, now: float) -> None:
        """Begin to connect."""
        self.now = now
        self.meter.watch(now, live=False)
        self.connection.start(now)

    def opened(self, conn: int, way: Way, subprotocol: str | None, now: float) -> None:
        """Connection `conn` stands. `way` is how its frames travel, which over HTTP the shell finds out;
        without our subprotocol they are the origin's."""
        if conn == self._handover.conn:
            self._handover.opened(conn, way, subprotocol, now)
        if conn != self._conn:
            return
        self.connection.opened(way, now)
        self._sender.begin()
        self._peer.begin(conn, guaranteed=subprotocol == SUBPROTOCOL_V2)
        if way == "ws" and subprotocol == SUBPROTOCOL_V2:
            self.send(Hello(data=self.hello(conn)))

    def frame(self, conn: int, raw: bytes | str, now: float, at: str | None = None) -> None:
        """Connection `conn` brought a frame."""
        if conn == self._handover.conn and self._handover.heard(raw, now):
            self._take_over(conn)
        if conn != self._conn:
            return
        self.now = now
        self.meter.down(len(raw))
        self.connection.heard()
        self._peer.feed(raw, now, at)
        self.doubts.settle()
        self._sender.flush()
        self.meter.watch(now, live=self.connection.live)

    def lost(self, conn: int, error: EdChatError, now: float) -> None:
        """Connection `conn` ended, or did not come about."""
        if conn == self._handover.conn:
            self._handover.lost(error, now)
        if conn != self._conn:
            return
        self._conn = None
        if self._handover.imminent and self.origin is None:
            self._handover.bereave(error)
            self.connection.bereft()
            return
        self._handover.drop()
        self.lost_for_good(error, now)

    def wake(self, now: float) -> None:
        """The machine was asleep."""
        self.connection.wake(now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.now = now
        self._sender.tick(now)
        self._handover.tick(now)
        for due in self.connection.tick(now):
            match due:
                case "open":
                    self._open()
                case "ping" if self.connection.live:
                    self._peer.ping(self.connection.ping(now))
                case "look":
                    self._handover.begin("ws", now)
                case "rotate":
                    self._handover.begin("http", now)
                case "dead":
                    self.fail(ConnectionLost("The server does not answer."), now, abort=True)

    def stop(self) -> None:
        """Close for good."""
        self._leave()
        self._after_cut()
        self.connection.stop()

    # ----------------------------------------------------------------------- for the peer and the sender alone

    def send(self, frame: Frame) -> None:
        """Write a frame to the current connection."""
        if self._conn is not None:
            raw = encode(frame)
            self.meter.up(len(raw))
            self._effects.append(Send(self._conn, raw))
            self.log(logging.DEBUG, "sent %s", frame.__struct_config__.tag)

    def put(self, effect: Effect) -> None:
        """Have the shell do something."""
        self._effects.append(effect)

    def renew(self, now: float) -> None:
        """The server will soon take this token no more: go over to a connection with a fresh one."""
        if not self._handover.imminent:
            self._handover.drop()  # a mere look for something better: this is more urgent
        self._handover.begin(self.connection.next_carrier, now, renew=True)

    def lost_for_good(self, error: EdChatError, now: float) -> None:
        """What stood is gone, and nothing takes its place."""
        code = error.close_code if isinstance(error, ConnectionLost) else None
        self.log(logging.INFO, "disconnected (code %s, reason: %s)", code, error.reason)
        self._after_cut()
        if code == TOO_LARGE:
            self.drop_too_large()
        self.connection.lost(error, now)
        self.meter.watch(now, live=False)
        self._log_next()

    def fail(self, error: EdChatError, now: float, *, code: int = 1000, abort: bool = False) -> None:
        """Close the current connection as failed."""
        if self._conn is not None:
            conn = self._conn
            self._effects.append(Close(conn, code, "", abort))
            self.lost(conn, error, now)

    def begin_anew(self, store: str, now: float) -> None:
        """Meet a server that does not know this outbox: a new name, new numbers, a new connection."""
        self.doubts.rebase(self._new_id(), store)
        self._peer.reset()
        self.persist()
        self._leave()
        self.connection.again(now)

    def move_to(self, store: str) -> None:
        """Meet a server's store for the first time in this connection."""
        head = self.outbox.head
        if head.store is None:
            self.outbox.head = msgspec.structs.replace(head, store=store)
        else:
            self.doubts.rebase(self._new_id(), store)
        self.persist()

    def persist(self) -> None:
        """Store the outbox's changes."""
        rows, gone = self.outbox.changed()
        if rows or gone or self.outbox.head != self._stored_head:
            self._stored_head = self.outbox.head
            self._effects.append(Persist(self.outbox.head, tuple(rows.values()), tuple(gone)))

    @property
    def cursor(self) -> int:
        """How far the server's log was applied."""
        return self._peer.cursor

    def log(self, level: int, text: str, *args: object) -> None:
        """Write a log line."""
        self._effects.append(Log(level, text, args))

    def resend_later(self, csn: int, at: float) -> None:
        """Send this row and those behind it once more, at the given time."""
        self._sender.resend_later(csn, at)

    def drop_too_large(self) -> None:
        """Send what the server took for too large no more."""
        self._sender.drop_too_large()

    def next_number(self) -> int:
        """Return the number of a new connection, greater than any before it."""
        number = self.outbox.head.conn + 1
        self.outbox.head = msgspec.structs.replace(self.outbox.head, conn=number)
        self.persist()
        return number

    def hello(self, conn: int) -> HelloData:
        """Return how this side introduces itself on connection `conn`."""
        head = self.outbox.head
        self._peer.asked(conn)
        return HelloData(
            proto=PROTOCOL, session=self.session, client=head.client, conn=conn, cursor=self._peer.cursor,
            epoch=self._peer.epoch, csn=head.last_csn, agent=self._agent_name,
        )

    # ------------------------------------------------------------------------------------------- internals

    def _open(self) -> None:
        self._conn = self.next_number()
        carrier = self.connection.next_carrier
        self.log(logging.INFO, "connecting (%s)", carrier)
        self._effects.append(Open(carrier, self.hello(self._conn), self.connection.renew))

    def _take_over(self, conn: int) -> None:
        if self._conn is not None:
            self._effects.append(Close(self._conn))
        self._conn = conn
        way, guaranteed = self._handover.take()
        self.log(logging.INFO, "connection %s takes over (%s)", self._conn, way)
        self.connection.taken_over(way)
        self._sender.begin()
        self._peer.begin(self._conn, guaranteed=guaranteed)

    def _leave(self) -> None:
        self._handover.drop()
        if self._conn is not None:
            self._effects.append(Close(self._conn))
            self._conn = None

    def _after_cut(self) -> None:
        if self.origin is None:
            return
        doubt = self.origin.cut()
        row = self.outbox.find(doubt) if doubt else None
        if row is not None:
            self.outbox.doubt(row.csn)
            self.persist()
            self._peer.leave_in_doubt(row.id)

    def _stop_at_origin(self, run: str | None) -> None:
        current = self.origin.current if self.origin else None
        if current is not None and self.origin is not None and run in (None, f"v1.{current}"):
            self.origin.discard(current)
            self._peer.stopped_at_origin(current)

    def _running(self, run: str | None) -> bool:
        messages = self.transcript.messages
        over = {m.run for m in messages if m.role == "assistant" and m.state not in _ACTIVE}
        runs = {m.run for m in messages if m.run} - over
        return run in runs if run is not None else bool(runs)

    def _recall(self, row: Row) -> None:
        if row.kind != "message":
            return
        if row.state == "written" and row.store == "v1":
            row = self.outbox.doubt(row.csn)
        self.transcript.echo(message_of(row))

    def _log_next(self) -> None:
        view = self.connection.view
        if view.state == "reconnecting":
            self.log(logging.INFO, "reconnecting (attempt %s, delay %.1f s)", view.attempt,
                     (view.retry_in_ms or 0) / 1000)
        elif view.state == "disconnected":
            self.log(logging.WARNING, "gave up: %s", view.reason)
