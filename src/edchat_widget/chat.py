"""Chat: the conversation with the agent, from Python and in the notebook's panel."""

import asyncio
import contextlib
import queue
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from edchat_protocol.messages import Message

from . import asking, static_render
from ._core.limits import checked
from ._io import conversation, portal
from ._io.driver import new_id
from .asking import EventName
from .errors import EdChatError, PortalClosed
from .events import ChatEvent
from .metrics import Metrics
from .panels import panel_of
from .reply import PendingRun, Reply
from .sessions import SessionEntry, entries, implicit_session, user_names
from .settings import Mode, Settings
from .stories import StoryList, fetch_stories
from .view import ConnectionView, View

if TYPE_CHECKING:
    from .widget import ChatWidget

__all__ = ["Chat"]

T = TypeVar("T")
_CALL_TIMEOUT = 30.0
_KNOWN_TIMEOUT = 10.0  # a bundled server that has yet to start takes some seconds
_SHOWN_TIMEOUT = 0.5  # the panel must appear within a second


class Chat:
    """A conversation with the agent.

    `url` is the server's address; None means ``EDCHAT_URL``, and without it (or as ``"bundled"``) the bundled
    server, which is found or started. `failover` says whether the bundled server takes over where the one at
    `url` cannot be reached: ``ask``, ``auto`` or ``never``. `session` names the conversation; None is this
    notebook's own, the same in its next run. `model` is what the bundled server answers with: one that runs
    with another model is started anew, and its runs go on; None takes what runs. Other arguments are those of
    `Settings`. The last line ``chat`` of a cell shows the panel; everything here works without it, too.

    Chats of one session in one kernel are one conversation: running ``Chat()`` again is harmless, and the
    newest one's settings hold for all of them.

    Raises:
        SettingsError: an argument or an environment variable has a value that it cannot take.
        StorageError: the data directory cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        session: str | None = None,
        token: str | None = None,
        model: str | None = None,
        data_dir: str | Path | None = None,
        enable_websocket: bool | None = None,
        heartbeat_interval: float | None = None,
        max_reconnect_attempts: int | None = None,
        reconnect_interval: float | None = None,
        failover: Mode | None = None,
    ) -> None:
        settings = Settings.load(
            url=url, session=session, token=token, model=model, data_dir=data_dir,
            enable_websocket=enable_websocket, heartbeat_interval=heartbeat_interval,
            max_reconnect_attempts=max_reconnect_attempts, reconnect_interval=reconnect_interval,
            failover=failover,
        )
        implicit = implicit_session(settings.notebook, user_names(), settings.person)
        self._lease = portal.lease()
        self._portal = self._lease.portal
        try:
            self._conversation = self._portal.call(
                lambda: conversation.join(self._portal, settings, implicit), _CALL_TIMEOUT)
        except EdChatError as exc:
            self._lease.release()
            raise _short(exc) from None
        except BaseException:
            self._lease.release()
            raise
        self._driver = self._conversation.driver
        self._made = time.monotonic()
        self._ends: list[Callable[[], None]] = []  # what ends the callbacks that were given to this chat
        self._finalizer = weakref.finalize(self, conversation.leave_soon, self._portal, self._conversation, self._ends)
        self._finalizer.atexit = False

    # ------------------------------------------------------------------------------------------------ asking

    def ask(self, text: str, *, timeout: float | None = None) -> Reply:
        """Send a message and return the agent's answer; `timeout` in seconds, None waits as long as it takes.

        Interrupting the cell stops the run. Where this raises because the server cannot be reached, a message
        that was not sent yet is taken back, so that asking again does not ask twice; one that was sent already
        is kept. The exception says which. `send` is for messages that are to wait for the server.

        Raises:
            MessageError: the message is empty or too large; nothing was sent.
            OutboxFull: 100 messages wait already.
            StorageError: the message could not be stored, so it was not taken.
            AgentError: the run failed.
            Timeout: no answer yet. The run goes on; or the message was not sent.
            TransportError, ServerStartError: there is no connection to the server.
        """
        checked(text)
        self._portal.check_may_wait()  # before anything is sent
        message_id = new_id()
        try:
            self._do(partial(self._driver.submit, message_id, text, asked=True))
            return self._result(message_id, timeout)
        except KeyboardInterrupt:
            self._cancel(message_id)
            raise

    async def aask(self, text: str, *, timeout: float | None = None) -> Reply:
        """The same as `ask`, for async code and top-level await. Cancelling the task stops the run."""
        checked(text)
        message_id = new_id()
        self._do(partial(self._driver.submit, message_id, text, asked=True))
        try:
            return await self._aresult(message_id, timeout)
        except asyncio.CancelledError:
            self._cancel(message_id)
            raise

    def stream(self, text: str) -> Iterator[ChatEvent]:
        """Send a message at once; return an iterator over what happens until the answer is complete.

        Leaving the loop early does not stop the run; interrupting the cell does. Raises what `ask` raises.
        """
        checked(text)
        events: queue.SimpleQueue[ChatEvent | EdChatError | None] = queue.SimpleQueue()
        message_id = new_id()
        self._call(lambda: asking.follow(self._driver, message_id, text, events.put), _CALL_TIMEOUT)
        return self._streamed(message_id, events)

    async def astream(self, text: str) -> AsyncIterator[ChatEvent]:
        """The same as `stream`, for async code: ``async for event in chat.astream(…)``."""
        checked(text)
        events: asyncio.Queue[ChatEvent | EdChatError | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        message_id = new_id()

        def put(event: ChatEvent | EdChatError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop has ended, and nobody listens
                loop.call_soon_threadsafe(events.put_nowait, event)

        await self._acall(lambda: asking.follow(self._driver, message_id, text, put))
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, EdChatError):
                    raise _short(event) from None
                yield event
        except asyncio.CancelledError:
            self._cancel(message_id)
            raise

    def send(self, text: str) -> PendingRun:
        """Send a message and return at once, with what stands for its run.

        When this returns, the message is stored, survives the kernel, and goes out when the server can be
        reached; `stop`, or `cancel` of what this returns, takes it back. A callback may use it, too.

        Raises:
            MessageError, OutboxFull, StorageError: it was not taken.
        """
        checked(text)
        message_id = new_id()
        self._do(partial(self._driver.submit, message_id, text))
        return PendingRun(self, message_id)

    def stop(self) -> None:
        """Stop whatever runs or waits in this conversation."""
        self._post(self._driver.cancel)

    # ----------------------------------------------------------------------------------------------- looking

    def stories(
        self, *, priority: str | None = None, status: str | None = None, epic: str | None = None,
        text: str | None = None, limit: int | None = None,
    ) -> StoryList:
        """Return the backlog's stories that fit all filters, at most `limit`.

        Raises:
            TransportError: the server cannot be reached, or refuses the filter.
        """
        given = {"priority": priority, "status": status, "epic": epic, "text": text, "limit": limit}
        params = {k: str(v) for k, v in given.items() if v is not None}

        async def fetch() -> StoryList:
            return await fetch_stories(await self._driver.endpoint(), params)

        return self._call(fetch, None)

    @property
    def settings(self) -> Settings:
        """What holds for this conversation now: the settings of its newest chat."""
        return self._conversation.settings

    @property
    def view(self) -> View:
        """All that the panel shows, as of now. It never waits."""
        return self._driver.view

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far, in reading order. A ``note`` says where another server took over.

        Right after ``Chat()`` it waits for the server to tell it, 10 seconds at most.
        """
        self._wait_known(_KNOWN_TIMEOUT)
        return self.view.messages

    @property
    def connection(self) -> ConnectionView:
        """The state of the connection: `state`, `latency_ms`, `attempt`, `reason`."""
        return self.view.connection

    @property
    def session(self) -> str:
        """The id of the conversation."""
        return self.view.session

    @property
    def metrics(self) -> Metrics:
        """What the connection has carried since the kernel began this conversation, how quickly, and for what
        share of the time it stood. It never waits."""
        return self._driver.metrics()

    def on(self, event: EventName, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call `callback` whenever something happens; return a function that ends it.

        It gets: for ``message`` a Message (the user's, or a complete answer), ``token`` a str, ``tool`` a
        ToolCallPart, ``story`` a Story, ``connection`` a ConnectionView. It runs in the I/O thread: it must
        be quick, and must not wait: `send` is for it, `ask` is not. If it raises, that is logged and changes
        nothing else. It ends with this chat.
        """
        end = self._do(partial(self._driver.listen, asking.listener(event, callback)))
        self._ends.append(end)
        return partial(conversation.end_soon, self._portal, end)

    # ---------------------------------------------------------------------------------------------- the life

    def reconnect(self) -> None:
        """Try to connect now, rather than at the next try that is due. It never waits."""
        self._post(self._driver.reconnect)

    def failover(self) -> None:
        """Go on with the server on this machine, where the configured one cannot be reached.

        Messages that were never sent go along; what was sent stays with its server, in doubt, and settles when
        that one answers again.

        Raises:
            EdChatError: the configured server answers, or there is none. StorageError: nothing was moved.
        """
        self._do(partial(self._conversation.change_server, back=False))

    def failback(self) -> None:
        """Return to the configured server. What was said on this machine stays in `sessions`.

        Raises:
            EdChatError: it does not answer yet, or the server on this machine is still at work.
            StorageError: nothing was moved.
        """
        self._do(partial(self._conversation.change_server, back=True))

    @property
    def sessions(self) -> tuple[SessionEntry, ...]:
        """This conversation and those on this machine that it led to, the oldest first."""
        forks = self._do(lambda: self._conversation.forks)
        return entries(self.settings, self.session, forks)

    def clear(self) -> None:
        """Begin a new, empty conversation; the old one stays at the server."""
        self._do(self._conversation.clear)

    def close(self) -> None:
        """Disconnect. The conversation stays at the server, and what is queued stays stored."""
        if self._finalizer.detach() is None:
            return

        async def leave() -> None:
            for end in self._ends:
                end()
            task = conversation.leave(self._conversation)
            if task is not None:
                await task

        with contextlib.suppress(PortalClosed):
            if self._portal.here:
                conversation.leave_soon(self._portal, self._conversation, self._ends)
            else:
                self._portal.call(leave, _CALL_TIMEOUT)
        self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------- the display

    @property
    def widget(self) -> "ChatWidget":
        """The panel, for layouts of your own."""
        return panel_of(self._portal, self._conversation)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:  # noqa: ARG002
        bundle: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        if self._finalizer.alive:  # a closed chat still reads
            shown = self.widget._repr_mimebundle_()
            bundle, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
            self._wait_known(_SHOWN_TIMEOUT)
        view = self.view
        return {**bundle, **static_render.bundle(view)}, metadata

    def __repr__(self) -> str:
        view = self.view
        return f"<Chat {view.session}: {view.connection.state}, {len(view.messages)} messages>"

    # ------------------------------------------------------------------------------------------- internals

    def _do(self, fn: Callable[[], T]) -> T:
        """Run what does not wait in the I/O thread."""
        self._check_open()
        try:
            return self._portal.do(fn, _CALL_TIMEOUT)
        except EdChatError as exc:
            raise _short(exc) from None

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None) -> T:
        self._check_open()
        try:
            return self._portal.call(work, timeout)
        except EdChatError as exc:
            raise _short(exc) from None

    async def _acall(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._check_open()
        try:
            return await asyncio.wrap_future(self._portal.submit(work))
        except EdChatError as exc:
            raise _short(exc) from None

    def _post(self, fn: Callable[..., object], *args: object) -> None:
        self._check_open()
        self._portal.post(fn, *args)

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise PortalClosed("This chat is closed.", hint="Make a new Chat().")

    def _wait_known(self, seconds: float) -> None:
        """Wait until the conversation so far is known, `seconds` after this chat was made at the latest."""
        if not self._portal.here:
            self._driver.known.wait(max(0.0, self._made + seconds - time.monotonic()))

    def _cancel(self, message_id: str) -> None:
        self._post(self._driver.cancel_message, message_id)

    def _result(self, message_id: str, timeout: float | None) -> Reply:
        # The I/O thread watches the time, since it knows what became of the message; this is for a busy one.
        patience = None if timeout is None else timeout + _CALL_TIMEOUT
        return self._call(lambda: asking.outcome(self._driver, message_id, timeout=timeout), patience)

    async def _aresult(self, message_id: str, timeout: float | None = None) -> Reply:
        return await self._acall(lambda: asking.outcome(self._driver, message_id, timeout=timeout))

    def _streamed(
        self, message_id: str, events: "queue.SimpleQueue[ChatEvent | EdChatError | None]"
    ) -> Iterator[ChatEvent]:
        try:
            while (event := events.get()) is not None:
                if isinstance(event, EdChatError):
                    raise _short(event) from None
                yield event
        except KeyboardInterrupt:
            self._cancel(message_id)
            raise


def _short(exc: EdChatError) -> EdChatError:
    # What our threads and the libraries below did is no news to whoever reads a cell's traceback.
    return exc.with_traceback(None)
