"""Runs the core's effects on the I/O thread's loop. One driver per conversation and kernel."""

import asyncio
import logging
import random
import threading
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from edchat_protocol.frames import HistoryItem
from edchat_widget._core.carriers import Way
from edchat_widget._core.client import Client
from edchat_widget._core.connection import Policy
from edchat_widget._core.effects import Close, Effect, Emit, Log, Open, Persist, Publish, Send
from edchat_widget._core.meter import Meter
from edchat_widget._core.outbox import Row, RowState
from edchat_widget._core.states import State
from edchat_widget._version import version
from edchat_widget.errors import ConnectionLost, EdChatError, StorageError
from edchat_widget.events import ChatEvent
from edchat_widget.metrics import Metrics
from edchat_widget.settings import Settings
from edchat_widget.view import SnapshotMessage, View

from . import wake
from .connections import Connections, Resolve
from .outbox_file import OutboxFile, open_outbox
from .publisher import Publisher
from .transport import Connect, Endpoint, connect

_log = logging.getLogger("edchat.client.connection")


def new_id() -> str:
    """Return a name that nobody else has."""
    return uuid.uuid4().hex


def _policy(settings: Settings) -> Policy:
    return Policy(
        max_attempts=settings.max_reconnect_attempts, interval=settings.reconnect_interval,
        heartbeat=settings.heartbeat_interval, websocket=settings.enable_websocket,
    )


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Driver:
    """One conversation's connection, outbox and view. All methods belong to the I/O thread; `view` may be
    read anywhere, since it is replaced whole and never changed."""

    def __init__(
        self, settings: Settings, session: str, resolve: Resolve, *, opener: Connect = connect,
        jitter: Callable[[], float] = random.random, server: str | None = None,
        outbox_suffix: str | None = None, history: tuple[HistoryItem, ...] = (),
    ) -> None:
        self.settings = settings
        self._resolve = resolve
        self._jitter = jitter
        self._server = server
        self._outbox_suffix = outbox_suffix
        self._history = history
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._cancel_when_known: set[str] = set()
        self._asked: set[str] = set()  # whose askers take them back rather than let them wait
        self._news: deque[ChatEvent] = deque()
        self._telling = False
        self.last_error: EdChatError | None = None
        self.closed = False
        self.known = threading.Event()
        """Set when the conversation so far was had from the server, or it is plain that it cannot be."""
        self._meter = Meter()
        self._connections = Connections(self, resolve, opener)
        self.spawn = self._connections.spawn
        self._file, self._client = self._begin(session)
        # By name, for `switch` puts another client in its place.
        self._publisher = Publisher(lambda rev: self._client.view(rev))  # noqa: PLW0108
        self.subscribe = self._publisher.subscribe
        self.listen = self._publisher.listen
        self._waker = self._loop.create_task(wake.watch(self._woke))

    @property
    def view(self) -> View:
        """All that the panel shows. It may be read in any thread."""
        return self._publisher.view

    @property
    def client(self) -> Client:
        """The core, to look at."""
        return self._client

    @property
    def here(self) -> bool:
        """Whether the running loop is this driver's."""
        return self._loop is asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to connect."""
        self._client.start(self._loop.time())
        self._drain()

    # ------------------------------------------------------------------------------- what a person asks for

    def submit(self, message_id: str, text: str, *, asked: bool = False) -> None:
        """Take a message; it is stored when this returns.

        `asked`: somebody waits for its answer, and takes it back where it cannot be sent.

        Raises:
            OutboxFull, StorageError: it was not taken.
        """
        row = self._client.draft_message(message_id, text, _iso_now())
        if row is None:
            return
        self._file.add(self._client.outbox.head, row)
        if asked:
            self._asked.add(message_id)
        self._client.submit(row, self._loop.time())
        self._drain()
        self._publisher.flush()  # a person's own message is never batched

    def cancel(self, run: str | None = None) -> None:
        """Stop a run, or whatever runs or waits."""
        row = self._client.draft_cancel(run, new_id(), _iso_now())
        if row is not None:
            self._file.add(self._client.outbox.head, row)
            self._client.submit(row, self._loop.time())
        self._drain()

    def cancel_message(self, message_id: str) -> None:
        """Stop the run that answers a message, or take the message back."""
        if not self._client.withdraw(message_id):
            self._cancel_when_known.add(message_id)
            self._cancel_known()
        self._drain()

    def take_back(self, message_id: str, detail: str) -> bool:
        """Withdraw a message that was asked and never written; return whether that was so."""
        if message_id not in self._asked:
            return False
        self._asked.discard(message_id)
        taken = self._client.withdraw(message_id, detail)
        self._drain()
        self._publisher.flush()  # whoever is told reads it in the view, too
        return taken

    def answered(self, message_id: str) -> None:
        """Nobody waits for this message's answer any more."""
        self._asked.discard(message_id)

    def delivery(self, message_id: str) -> RowState | None:
        """Return how far a message got that the server has not confirmed; None: it is not in the outbox."""
        row = self._client.outbox.find(message_id)
        return row.state if row else None

    def retry(self, message_id: str, fresh_id: str) -> None:
        """Send the text of a message once more, as a new message, unless that one is there already.

        Raises:
            EdChatError: there is no such message, or no room.
        """
        if self.has(fresh_id):
            return
        message = self._client.transcript.get(message_id)
        if message is None or message.role != "user":
            raise EdChatError("There is no such message to send again.", code="unknown_message")
        self.submit(fresh_id, message.text)
        self.replace_lost(message_id)

    def has(self, message_id: str) -> bool:
        """Whether there is a message of this id."""
        return bool(self._client.transcript.get(message_id) or self._client.outbox.find(message_id))

    def replace_lost(self, message_id: str) -> None:
        """Remove a message that the server does not have, since a new one takes its place."""
        self._client.replace_lost(message_id)
        self._drain()

    def hand_over(self, to: "Driver") -> None:
        """Give up what was never written to another driver; keep the rest, in doubt.

        Raises:
            StorageError: the other could not store it, and nothing has changed.
        """
        # Stored there, gone from here, and only then sent from there: a kernel that dies in between finds a
        # message here and there, or there alone, but never sent and still here.
        rows = self._client.doubts.undelivered()
        asked = self._asked & {r.id for r in rows}
        taken = to.store_all(rows)
        self._asked -= asked
        self._client.doubts.leave(new_id())
        self._drain()
        to.take_over(taken, asked)

    def store_all(self, rows: list[Row]) -> list[Row]:
        """Store messages of another outbox under their own ids; return them as they are here.

        Raises:
            StorageError: none was stored.
        """
        own = self._client.outbox.draft_all(rows)
        if own:
            head = msgspec.structs.replace(self._client.outbox.head, last_csn=own[-1].csn)
            self._file.store(head, own, ())
        return own

    def take_over(self, rows: list[Row], asked: set[str]) -> None:
        """Go on with stored messages of another outbox, some of which somebody waits for."""
        for row in rows:
            self._client.submit(row, self._loop.time())
        self._asked |= asked
        self._drain()

    def reconnect(self) -> None:
        """Try to connect now."""
        self._client.reconnect(self._loop.time())
        self._drain()

    def configure(self, settings: Settings) -> None:
        """Go on under other settings."""
        renewed = settings.token != self.settings.token
        self.settings = settings
        self._client.configure(_policy(settings), self._loop.time(), renewed=renewed)
        self._drain()

    def switch(self, session: str) -> None:
        """Leave this conversation for another.

        Raises:
            StorageError: the other one cannot be begun; this one goes on.
        """
        begun = self._begin(session)
        self._end(discard=True)
        self._file, self._client = begun
        self._publisher.replace()
        self.start()

    def shut(self) -> None:
        """Disconnect and give the outbox file free; do not wait for the polite close."""
        if self.closed:
            return
        self.closed = True
        self._waker.cancel()
        self._connections.shut()
        self._end(discard=False)
        self._publisher.flush()
        self._publisher.wake()
        self.known.set()

    async def close(self) -> None:
        """Disconnect politely."""
        self.shut()
        await self._connections.end()

    def snapshot(self) -> SnapshotMessage:
        """Return the view with all that has happened."""
        self._publisher.flush()
        return SnapshotMessage(view=self.view)

    async def until(self, done: Callable[[View], bool]) -> View:
        """Return the first view for which `done` is true. `done` may raise.

        Raises:
            ConnectionLost: the driver was closed.
        """
        while True:
            self._publisher.flush()
            if done(self.view):
                return self.view
            if self.closed:
                raise ConnectionLost("The chat was closed.")
            await self._publisher.change()

    def metrics(self) -> Metrics:
        """Return the counts as of now. It may be called in any thread."""
        return self._meter.report(self._loop.time(), queued=self.view.queued)

    async def endpoint(self) -> Endpoint:
        """Return where the server is now."""
        return await self._resolve()

    # ------------------------------------------------------------------------------------------- internals

    def _begin(self, session: str) -> tuple[OutboxFile, Client]:
        name = f"{session}@{self._outbox_suffix}" if self._outbox_suffix else session
        file, outbox = open_outbox(self.settings.data_dir / "outbox", name, new_id)
        client = Client(
            session, outbox, jitter=self._jitter, new_id=new_id, policy=_policy(self.settings),
            server=self._server or "bundled server", agent=f"edchat_widget/{version()}",
            meter=self._meter, history=self._history,
        )
        return file, client

    def _end(self, *, discard: bool) -> None:
        for message_id in tuple(self._asked):
            self.take_back(message_id, "Not sent. The chat was closed or cleared.")
        self._client.stop()
        self._drain()
        if self._timer is not None:
            self._timer.cancel()
        self._cancel_when_known.clear()
        # What waits undelivered must survive; an empty outbox of a session left behind need not.
        if discard and not self._client.outbox.rows:
            self._file.discard()
        else:
            self._file.close()

    def _drain(self) -> None:
        for effect in self._client.effects():
            self._run(effect)
        if self._cancel_when_known:
            self._cancel_known()
        self._set_timer()
        if not self.known.is_set() and self._is_known():
            self._publisher.flush()
            self.known.set()
        self._tell()

    def _tell(self) -> None:
        # Last, and never nested: a callback may send a message, and must find all effects so far done.
        if self._telling:
            return
        self._telling = True
        try:
            while self._news:
                self._publisher.emit(self._news.popleft())
        finally:
            self._telling = False

    def _is_known(self) -> bool:
        failed = self._client.connection.state in (State.RECONNECTING, State.DISCONNECTED)
        return failed or self._client.caught_up

    def _run(self, effect: Effect) -> None:
        match effect:
            case Open():
                self._connections.open(effect)
            case Send():
                self._connections.send(effect)
            case Close():
                self._connections.close(effect)
            case Persist():
                self._persist(effect)
            case Publish():
                self._publisher.add(effect.ops)
            case Emit():
                self._news.append(effect.event)
            case Log():
                _log.log(effect.level, effect.text, *effect.args)

    def _persist(self, effect: Persist) -> None:
        try:
            self._file.update(effect.head, effect.rows, effect.gone)
        except StorageError as exc:
            # The messages themselves are stored; how far they got is stored with the next change.
            _log.warning("the outbox could not be updated: %s", exc.reason)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._client.deadline
        if deadline is not None and not self.closed:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._client.tick(self._loop.time())
        self._drain()

    def _woke(self) -> None:
        _log.info("this process stood still for a while")
        self._client.wake(self._loop.time())
        self._drain()

    # ---------------------------------------------------------------------------- what the connections tell

    def opened(self, conn: int, way: Way, subprotocol: str | None) -> None:
        """Connection `conn` stands."""
        self._client.opened(conn, way, subprotocol, self._loop.time())
        self._drain()

    def heard(self, conn: int, raw: bytes | str) -> None:
        """Connection `conn` brought a frame."""
        self._client.frame(conn, raw, self._loop.time(), _iso_now())
        self._drain()

    def lost(self, conn: int, error: EdChatError) -> None:
        """Connection `conn` is no more."""
        self.last_error = error
        self._client.lost(conn, error, self._loop.time())
        self._drain()

    def _cancel_known(self) -> None:
        for message_id in tuple(self._cancel_when_known):
            message = self._client.transcript.get(message_id)
            if message is None or message.state in ("answered", "failed", "in_doubt"):
                self._cancel_when_known.discard(message_id)
            elif message.run is not None:
                self._cancel_when_known.discard(message_id)
                try:
                    self.cancel(message.run)
                except StorageError as exc:
                    _log.warning("a stop could not be stored: %s", exc.reason)

    def run_of(self, message_id: str) -> str | None:
        """Return the run that answers a message, as soon as it is known."""
        message = self._client.transcript.get(message_id)
        return message.run if message else None
