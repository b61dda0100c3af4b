"""Chat: the conversation with the agent, from Python and in the notebook's panel."""

import asyncio
import contextlib
import queue
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from edchat_protocol.messages import Message

from . import static_render
from ._core.limits import checked
from ._io import conversation, portal
from ._io.conversation import Conversation
from ._io.driver import new_id
from .errors import EdChatError, PortalClosed, RemoteProtocolError, Timeout
from .events import ChatEvent
from .panels import panel_of
from .reply import PendingRun, Reply, check_reachable, is_over, reply_in
from .sessions import implicit_session
from .settings import Settings
from .stories import Story, StoryList, story_from, story_from_fields
from .view import ConnectionView, View

if TYPE_CHECKING:
    from .widget import ChatWidget

__all__ = ["Chat"]

T = TypeVar("T")
EventName = Literal["message", "token", "tool", "story", "connection"]
_EVENTS = ("message", "token", "tool", "story", "connection")
_CALL_TIMEOUT = 30.0


class Chat:
    """A conversation with the agent.

    `url` is the server's address; None means ``EDCHAT_URL``, and without it the bundled server, which is
    found or started. `session` names the conversation; None is this notebook's own, the same in its next
    run. `model` is what the bundled server is started with. Other arguments are those of `Settings`. The
    last line ``chat`` of a cell shows the panel; everything here works without it, too.

    Chats of one session in one kernel are one conversation: running ``Chat()`` again is harmless.

    Raises:
        SettingsError: an argument or an environment variable has a value that it cannot take.
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
    ) -> None:
        self.settings = Settings.load(
            url=url, session=session, token=token, model=model, data_dir=data_dir,
            enable_websocket=enable_websocket, heartbeat_interval=heartbeat_interval,
            max_reconnect_attempts=max_reconnect_attempts, reconnect_interval=reconnect_interval,
        )
        implicit = implicit_session(self.settings.notebook, _user_names())
        self._lease = portal.lease()
        self._portal = self._lease.portal
        try:
            self._conversation = self._portal.call(
                lambda: conversation.join(self._portal, self.settings, implicit), _CALL_TIMEOUT)
        except BaseException:
            self._lease.release()
            raise
        self._driver = self._conversation.driver
        self._finalizer = weakref.finalize(self, _leave_soon, self._portal, self._conversation)
        self._finalizer.atexit = False

    # ------------------------------------------------------------------------------------------------ asking

    def ask(self, text: str, *, timeout: float | None = None) -> Reply:
        """Send a message and return the agent's answer; `timeout` in seconds, None waits as long as it takes.

        Interrupting the cell stops the run.

        Raises:
            MessageError: the message is empty or too large; nothing was sent.
            OutboxFull: 100 messages wait already.
            AgentError: the run failed.
            Timeout: no answer yet; the run goes on.
            TransportError: the message cannot reach the server now; it stays in the queue.
        """
        run = self.send(text)
        try:
            return run.result(timeout)
        except KeyboardInterrupt:
            run.cancel()
            raise

    async def aask(self, text: str, *, timeout: float | None = None) -> Reply:
        """The same as `ask`, for async code and top-level await. Cancelling the task stops the run."""
        run = await self._asend(text)
        try:
            async with asyncio.timeout(timeout):
                return await run
        except asyncio.CancelledError:
            run.cancel()
            raise
        except Timeout:
            raise
        except TimeoutError as exc:
            raise Timeout(f"No answer within {timeout:g} s; the run goes on.") from exc

    def stream(self, text: str) -> Iterator[ChatEvent]:
        """Send a message at once; return an iterator over what happens until the answer is complete.

        Leaving the loop early does not stop the run; interrupting the cell does. Raises what `ask` raises.
        """
        checked(text)
        events: queue.SimpleQueue[ChatEvent | EdChatError | None] = queue.SimpleQueue()
        message_id = new_id()
        self._call(lambda: self._follow(message_id, text, events.put))
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

        await self._acall(lambda: self._follow(message_id, text, put))
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, EdChatError):
                    raise event
                yield event
        except asyncio.CancelledError:
            self._cancel(message_id)
            raise

    def send(self, text: str) -> PendingRun:
        """Send a message and return at once, with what stands for its run.

        When this returns, the message is stored and survives the kernel.

        Raises:
            MessageError, OutboxFull: it was not taken.
        """
        checked(text)
        message_id = new_id()
        self._call(lambda: self._submit(message_id, text))
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
        return _stories_in(self._call(lambda: self._fetch("/api/stories", params), timeout=None))

    @property
    def view(self) -> View:
        """All that the panel shows, as of now."""
        return self._driver.view

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far, in reading order."""
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
    def metrics(self) -> dict[str, float]:
        """Counts since the kernel began this conversation, the queue's length, and the last latency."""
        view = self.view
        latency = view.connection.latency_ms
        last = {"queued": view.queued, "latency_ms": -1.0 if latency is None else latency}
        return {**self._driver.counts, **last}

    def on(self, event: EventName, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call `callback` whenever something happens; return a function that ends it.

        It gets: for ``message`` a Message (the user's, or a complete answer), ``token`` a str, ``tool`` a
        ToolCallPart, ``story`` a Story, ``connection`` a ConnectionView. It runs in the I/O thread: it must
        be quick, and must not call what waits. If it raises, that is logged and changes nothing else.
        """
        if event not in _EVENTS:
            raise ValueError(f"There is no event {event!r}; there are {', '.join(_EVENTS)}.")

        def tell(happened: ChatEvent) -> None:
            if happened.type == event and (value := _value_of(happened)) is not None:
                callback(value)

        stop = self._call(lambda: _soon(self._driver.listen(tell)))
        return lambda: self._post(stop)

    # ---------------------------------------------------------------------------------------------- the life

    def clear(self) -> None:
        """Begin a new, empty conversation; the old one stays at the server."""
        async def clear() -> None:
            self._conversation.clear()

        self._call(clear)

    def close(self) -> None:
        """Disconnect. The conversation stays at the server, and what is queued stays stored."""
        if self._finalizer.detach() is None:
            return

        async def leave() -> None:
            task = conversation.leave(self._conversation)
            if task is not None:
                await task

        with contextlib.suppress(PortalClosed):
            if self._portal.here:
                self._portal.post(conversation.leave, self._conversation)
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
        shown = self.widget._repr_mimebundle_()
        bundle, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        view = self.view
        texts = {
            "text/html": static_render.to_html(view), "text/markdown": static_render.to_markdown(view),
            "text/plain": static_render.to_text(view),
        }
        return {**bundle, **texts}, metadata

    def __repr__(self) -> str:
        view = self.view
        return f"<Chat {view.session}: {view.connection.state}, {len(view.messages)} messages>"

    # ------------------------------------------------------------------------------------------- internals

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = _CALL_TIMEOUT) -> T:
        self._check_open()
        return self._portal.call(work, timeout)

    async def _acall(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._check_open()
        return await asyncio.wrap_future(self._portal.submit(work))

    def _post(self, fn: Callable[..., object], *args: object) -> None:
        self._check_open()
        self._portal.post(fn, *args)

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise PortalClosed("This chat is closed.", hint="Make a new Chat().")

    async def _submit(self, message_id: str, text: str) -> None:
        self._driver.submit(message_id, text)

    async def _asend(self, text: str) -> PendingRun:
        checked(text)
        message_id = new_id()
        await self._acall(lambda: self._submit(message_id, text))
        return PendingRun(self, message_id)

    def _cancel(self, message_id: str) -> None:
        self._post(self._driver.cancel_message, message_id)

    def _result(self, message_id: str, timeout: float | None) -> Reply:
        return self._call(lambda: self._outcome(message_id), timeout)

    async def _aresult(self, message_id: str) -> Reply:
        return await self._acall(lambda: self._outcome(message_id))

    async def _outcome(self, message_id: str) -> Reply:
        def over(view: View) -> bool:
            if is_over(view, message_id):
                return True
            check_reachable(view, self._driver.last_error)
            return False

        return reply_in(await self._driver.until(over), message_id)

    async def _follow(
        self, message_id: str, text: str, put: Callable[[ChatEvent | EdChatError | None], object]
    ) -> None:
        def tell(event: ChatEvent) -> None:
            own = event.message is not None and event.message.id == message_id
            if own or (event.run_id is not None and event.run_id == self._driver.run_of(message_id)):
                put(event)

        stop = self._driver.listen(tell)

        async def finish() -> None:
            try:
                await self._outcome(message_id)
            except EdChatError as exc:
                put(exc)
            finally:
                stop()
                put(None)

        try:
            self._driver.submit(message_id, text)
        except EdChatError:
            stop()
            raise
        self._driver.spawn(finish())

    def _streamed(
        self, message_id: str, events: "queue.SimpleQueue[ChatEvent | EdChatError | None]"
    ) -> Iterator[ChatEvent]:
        try:
            while (event := events.get()) is not None:
                if isinstance(event, EdChatError):
                    raise event
                yield event
        except KeyboardInterrupt:
            self._cancel(message_id)
            raise

    async def _fetch(self, path: str, params: dict[str, str]) -> bytes:
        from ._io.http import get_json

        return await get_json(await self._driver.endpoint(), path, params)


async def _soon(value: T) -> T:
    return value


class _StoriesBody(msgspec.Struct):
    stories: list[dict[str, Any]]
    total: int | None = None


def _stories_in(body: bytes) -> StoryList:
    try:
        found = msgspec.json.decode(body, type=_StoriesBody)
    except msgspec.DecodeError as exc:
        raise RemoteProtocolError("The server's list of stories cannot be read.") from exc
    stories = [story_from_fields(s) for s in found.stories]
    return StoryList((s for s in stories if s is not None), total=found.total)


def _value_of(event: ChatEvent) -> Message | str | Story | ConnectionView | Any | None:
    match event.type:
        case "message":
            return event.message
        case "token":
            return event.text
        case "tool":
            return event.tool
        case "story":
            return story_from(event.artifact) if event.artifact else None
        case "connection":
            return event.connection
        case _:
            return None


def _leave_soon(owner: portal.Portal, left: Conversation) -> None:
    # A finalizer may run in any thread and inside any code: it only posts.
    with contextlib.suppress(PortalClosed):
        owner.post(conversation.leave, left)


def _user_names() -> dict[str, object]:
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell.user_ns if shell is not None else {}
