"""One conversation, two servers: the one that was configured, and the one on this machine in its place.

To whoever uses it, it is a `Driver`. Most of the time it is one, with nothing added; after a failover it shows
both conversations in a row and sends what is said to the second.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from edchat_widget._core import failover
from edchat_widget._core.failover import Fork
from edchat_widget._core.outbox import RowState
from edchat_widget._core.side_by_side import SideBySide
from edchat_widget.errors import ConnectionLost, EdChatError
from edchat_widget.events import ChatEvent
from edchat_widget.metrics import Metrics
from edchat_widget.settings import Settings
from edchat_widget.view import ConnectionOp, Patch, SnapshotMessage, View

from . import aliases, forks
from .driver import Driver
from .publisher import Publisher
from .transport import Endpoint

_log = logging.getLogger("edchat.client.failover")

MakeLocal = Callable[[Settings, Fork], Driver]


class Switchboard:
    """`home` drives the conversation with the server at `url`; `make_local` makes a driver for a fork of it.

    All methods belong to the I/O thread but for `view` and `metrics`.
    """

    def __init__(self, settings: Settings, url: str, home: Driver, make_local: MakeLocal) -> None:
        self.settings = settings
        self._url = url
        self.home = home
        self._make_local = make_local
        self._local: Driver | None = None
        self._past = Metrics()  # of the local drivers that have ended
        self._ends: tuple[Callable[[], None], ...] = ()  # what ends the local driver's callbacks
        self._quiet = 0  # how many changes are under way of which only the end is to be seen
        self._deciding: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._screen = SideBySide(url, forks.of(settings.data_dir, url, home.view.session))
        self._shown = self._screen.view(home.view, None)
        self._publisher = Publisher(lambda rev: msgspec.structs.replace(self._shown, rev=rev))
        self.subscribe = self._publisher.subscribe
        self.listen = self._publisher.listen
        self.spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = home.spawn
        home.subscribe(lambda message: self._changed(message, home=True))
        home.listen(lambda event: self._happened(home, event))

    # ----------------------------------------------------------------------------------- as a driver does it

    @property
    def view(self) -> View:
        """All that the panel shows. It may be read in any thread."""
        return self._publisher.view

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.home.closed

    @property
    def here(self) -> bool:
        """Whether the running loop is this conversation's."""
        return self.home.here

    @property
    def known(self) -> threading.Event:
        """Set when the conversation so far is known, or it is plain that it cannot be."""
        return self._active.known

    @property
    def last_error(self) -> EdChatError | None:
        """Why the last connection was lost."""
        return self._active.last_error

    def start(self) -> None:
        """Begin to connect; go on with the server on this machine where the last kernel left off so."""
        open_fork = next((f for f in reversed(self._screen.forks) if f.ended is None), None)
        if open_fork is not None:  # whatever the mode is now: it may hold messages that are still to be sent
            self._go_over(open_fork)
        self.home.start()

    def submit(self, message_id: str, text: str, *, asked: bool = False) -> None:
        """Take a message; it is stored when this returns. Raises what `Driver.submit` raises."""
        if self._owner(message_id) is None:
            self._active.submit(message_id, text, asked=asked)

    def cancel(self, run: str | None = None) -> None:
        """Stop a run, or whatever runs or waits."""
        local = self._local
        if local is None or (run is not None and all(m.run != run for m in local.view.messages)):
            self.home.cancel(run)
        else:
            local.cancel(run)

    def cancel_message(self, message_id: str) -> None:
        """Stop the run that answers a message, or take the message back."""
        (self._owner(message_id) or self._active).cancel_message(message_id)

    def take_back(self, message_id: str, detail: str) -> bool:
        """Withdraw a message that was asked and never written; return whether that was so."""
        return (self._owner(message_id) or self._active).take_back(message_id, detail)

    def answered(self, message_id: str) -> None:
        """Nobody waits for this message's answer any more."""
        for driver in self._drivers:
            driver.answered(message_id)

    def delivery(self, message_id: str) -> RowState | None:
        """Return how far a message got that its server has not confirmed."""
        return next((s for d in self._drivers if (s := d.delivery(message_id))), None)

    def run_of(self, message_id: str) -> str | None:
        """Return the run that answers a message, as soon as it is known."""
        return next((r for d in self._drivers if (r := d.run_of(message_id))), None)

    def retry(self, message_id: str, fresh_id: str) -> None:
        """Send the text of a message once more, as a new message, to the server that answers now."""
        if self._owner(fresh_id) is not None:
            return
        owner = self._owner(message_id) or self._active
        message = owner.client.transcript.get(message_id)
        if owner is self._active or message is None or message.role != "user":
            self._active.retry(message_id, fresh_id)
            return
        self._active.submit(fresh_id, message.text)
        owner.replace_lost(message_id)

    def reconnect(self) -> None:
        """Try to connect now."""
        for driver in self._drivers:
            driver.reconnect()

    def configure(self, settings: Settings) -> None:
        """Go on under other settings."""
        self.settings = settings
        for driver in self._drivers:
            driver.configure(settings)
        self._decide_soon()

    def switch(self, session: str) -> None:
        """Leave this conversation for another, with the server that answers now.

        Raises:
            StorageError: the other one cannot be begun; this one goes on.
        """
        away = self._local is not None
        with self._quietly():
            self.home.switch(session)
            self._end_fork()
            self._screen = SideBySide(self._url, forks.of(self.settings.data_dir, self._url, session))
            if away:
                with contextlib.suppress(EdChatError):  # then it waits for the configured server
                    self._fork()
        self._replace()

    def shut(self) -> None:
        """Disconnect and give the outbox files free; do not wait for the polite close."""
        if self._deciding is not None:
            self._deciding.cancel()
        self._screen.offered = None
        for driver in self._drivers:
            driver.shut()
        self._publisher.wake()

    async def close(self) -> None:
        """Disconnect politely."""
        self.shut()
        await asyncio.gather(*(d.close() for d in self._drivers))

    def snapshot(self) -> SnapshotMessage:
        """Return the view with all that has happened."""
        for driver in self._drivers:
            driver.snapshot()
        return SnapshotMessage(view=self.view)

    async def until(self, done: Callable[[View], bool]) -> View:
        """Return the first view for which `done` is true. `done` may raise.

        Raises:
            ConnectionLost: the conversation was closed.
        """
        while True:
            self._decide()
            view = self.snapshot().view
            if done(view):
                return view
            if self.closed:
                raise ConnectionLost("The chat was closed.")
            await self._publisher.change()

    async def endpoint(self) -> Endpoint:
        """Return where the server is that answers now."""
        return await self._active.endpoint()

    def metrics(self) -> Metrics:
        """Return the counts as of now: of both servers, with the times of the one that answers now."""
        local, counts = self._local, self.home.metrics().counting(self._past)
        return counts if local is None else local.metrics().counting(counts)

    # ------------------------------------------------------------------------------------- over, and back

    @property
    def forks(self) -> list[Fork]:
        """The conversations on this machine that this one led to, the oldest first."""
        return list(self._screen.forks)

    def failover(self) -> None:
        """Go on with the server on this machine.

        Raises:
            EdChatError: the configured one answers.
            StorageError: nothing was moved.
        """
        if self._local is not None:
            return
        if self.home.client.connection.live:
            raise EdChatError(f"{self._url} answers; there is nothing to leave it for.", code="connected")
        self._fork()

    def failback(self) -> None:
        """Return to the configured server. What was never sent moves there, all else stays where it is.

        Raises:
            EdChatError: it does not answer, or the server on this machine is still at work.
            StorageError: nothing was moved.
        """
        local = self._local
        if local is None:
            return
        if not self.home.client.connection.live:
            raise EdChatError(f"{self._url} does not answer yet.", code="not_connected", retryable=True)
        if failover.busy(local.client):
            raise EdChatError(
                "The server on this machine is still at work.", code="busy", retryable=True,
                hint="Wait for the answer, or stop it; then return.")
        with self._quietly():
            local.hand_over(self.home)
            self._end_fork()
        self._refresh()
        _log.info("returned to the configured server")

    @property
    def _active(self) -> Driver:
        return self._local or self.home

    @property
    def _drivers(self) -> tuple[Driver, ...]:
        return (self.home,) if self._local is None else (self._local, self.home)

    def _owner(self, message_id: str) -> Driver | None:
        return next((d for d in self._drivers if d.has(message_id)), None)

    def _fork(self) -> None:
        client = self.home.client
        fork = failover.fork_of(
            client, url=self._url, local=aliases.successor(client.session), at=_now())
        try:
            self._go_over(fork)
        except EdChatError:
            with contextlib.suppress(EdChatError):  # what the disk will not have now is the reason for all this
                forks.drop(self.settings.data_dir, fork)
            raise

    def _go_over(self, fork: Fork) -> None:
        # In this order: after a crash at any point the next kernel finds the fork and does the rest again, and a
        # message that is in both outboxes by then has one id, so that the local server takes it once.
        forks.save(self.settings.data_dir, fork)
        local = self._make_local(self.settings, fork)
        with self._quietly():
            try:
                self.home.hand_over(local)
            except EdChatError:
                local.shut()
                raise
            self._local = local
            self._screen.begin(fork)
            self._ends = (
                local.subscribe(lambda message: self._changed(message, home=False)),
                local.listen(lambda event: self._happened(local, event)))
            local.start()
        _log.warning("the configured server cannot be reached; going on with the server on this machine")
        self._refresh()

    def _end_fork(self) -> None:
        local, fork = self._local, self._screen.fork
        if local is None or fork is None:
            return
        for end in self._ends:
            end()
        self._past = replace(local.metrics(), queued=0).counting(self._past)
        self._local = None
        asked = sum(1 for m in local.snapshot().view.messages if m.role == "user")
        ended = msgspec.structs.replace(fork, ended=_now(), count=asked)
        try:
            forks.save(self.settings.data_dir, ended)
        except EdChatError as exc:
            _log.warning("the next kernel will go on with the server on this machine: %s", exc.reason)
        self._screen.end(ended)
        self.home.spawn(local.close())

    def _decide_soon(self) -> None:
        # Not at once: this is called from within what a driver does, and the decision has it do something else.
        if self._deciding is None:
            self._deciding = self._loop.call_soon(self._decide)

    def _decide(self) -> None:
        if self._deciding is not None:
            self._deciding.cancel()
            self._deciding = None
        if self.closed:
            return
        try:
            self._follow_verdict()
        except EdChatError as exc:
            _log.warning("could not change servers: %s", exc.reason)
        self._refresh()

    def _follow_verdict(self) -> None:
        if self._local is None:
            verdict = failover.leaves(self.settings.failover, self.home.client)
            self._screen.offered = failover.offer("failover", self._url) if verdict == "offer" else None
            if verdict == "go":
                self.failover()
            return
        verdict = failover.returns(self.home.client, self._local.client)
        self._screen.offered = failover.offer("failback", self._url) if verdict == "offer" else None
        if verdict == "go":
            self.failback()

    # ------------------------------------------------------------------------------------------ what is shown

    def _changed(self, message: Patch | SnapshotMessage, *, home: bool) -> None:
        if self._quiet:
            return
        if isinstance(message, SnapshotMessage):
            self._replace()
            self._decide_soon()
            return
        after = self._screen.view(self.home.view, self._local.view if self._local else None)
        self._publish(after, self._screen.ops(self._shown, after, message.ops, home=home))
        if any(isinstance(op, ConnectionOp) for op in message.ops):
            self._decide_soon()

    def _refresh(self) -> None:
        if self._quiet:
            return
        after = self._screen.view(self.home.view, self._local.view if self._local else None)
        news = after.connection != self._shown.connection
        self._publish(after, self._screen.ops(self._shown, after, None, home=True))
        if news:  # last: a callback may send a message, and what is shown changes with it
            self._publisher.emit(ChatEvent(type="connection", connection=after.connection))

    def _publish(self, after: View, ops: tuple[Any, ...]) -> None:
        self._shown = after
        if ops:
            self._publisher.add(ops)
            self._publisher.flush()

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Show nothing until both drivers' views are of the same moment: a message that moves is in one of them."""
        self._quiet += 1
        try:
            yield
        finally:
            for driver in self._drivers:
                driver.snapshot()
            self._quiet -= 1

    def _replace(self) -> None:
        self._shown = self._screen.view(self.home.view, self._local.view if self._local else None)
        self._publisher.replace()

    def _happened(self, driver: Driver, event: ChatEvent) -> None:
        if event.connection is not None:
            if driver is not self._active:
                return
            away = self._local is not None
            event = msgspec.structs.replace(event, connection=self._screen.connection(event.connection, away=away))
        self._publisher.emit(event)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
