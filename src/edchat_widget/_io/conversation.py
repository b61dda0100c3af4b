"""Conversations of this kernel. `Chat()` run twice in a notebook is one conversation, not two."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace

import filelock
import msgspec

from edchat_widget._core.failover import HERE, Fork
from edchat_widget._core.limits import checked
from edchat_widget.errors import EdChatError, PortalClosed
from edchat_widget.settings import Settings, token_of_environment
from edchat_widget.view import (
    AnyIntent,
    CancelIntent,
    ClearIntent,
    FailbackIntent,
    FailoverIntent,
    ReadyIntent,
    ReconnectIntent,
    Refusal,
    RetryIntent,
    SnapshotMessage,
    SubmitIntent,
)

from . import aliases, launcher
from .driver import Driver
from .portal import Portal, in_thread
from .switchboard import Switchboard
from .transport import Connect, Endpoint, connect

_log = logging.getLogger("edchat.client.connection")

Talk = Driver | Switchboard
"""What carries a conversation: with one server, or with one that another may stand in for."""


class Key(msgspec.Struct, frozen=True):
    """What makes two chats the same conversation."""

    url: str | None
    session: str
    data_dir: str


class Conversation:
    """A driver, the name that its notebook knows it by, and how many chats use it. I/O thread only."""

    def __init__(self, settings: Settings, implicit: str | None, session: str, opener: Connect) -> None:
        self.implicit = implicit
        self.leases = 0
        self.settings = settings
        where = None
        if settings.url is not None:
            # Part of a file's name, so that one session at two servers has two outboxes.
            where = hashlib.sha256(settings.url.encode()).hexdigest()[:8]
        self._opener = opener
        driver = Driver(
            settings, session, self._resolve, opener=opener, server=settings.url, outbox_suffix=where)
        self.driver: Talk = driver
        if settings.url is not None:
            self.driver = Switchboard(settings, settings.url, driver, self._make_local)
        # A token from the environment may be read there again; one that was given for this server only, never.
        self._token_of_environment = settings.token in (None, token_of_environment())
        self._renew = True
        self._renewal: asyncio.Task[None] | None = None

    @property
    def key(self) -> Key:
        """What it is found by."""
        return _key(self.settings, self.driver.view.session)

    def adopt(self, settings: Settings) -> None:
        """Go on under the settings of a newer chat; a token or model that it does not name stays."""
        self.settings = replace(
            settings, token=settings.token or self.settings.token, model=settings.model or self.settings.model)
        self._token_of_environment = self.settings.token in (None, token_of_environment())
        self.driver.configure(self.settings)
        if settings.url is None and settings.model is not None:
            self._renew = True
            self._renewal = asyncio.get_running_loop().create_task(self._renew_server())
        # Whoever runs the cell once more after "disconnected" means: try again.
        self.driver.reconnect()

    async def _renew_server(self) -> None:
        try:
            await self._resolve()
        except EdChatError as exc:
            # The connection has lost its server then, meets the same, and shows it.
            _log.info("the bundled server could not be started anew: %s", exc.reason)

    async def _resolve(self, *, renew: bool = False) -> Endpoint:
        if renew and self._token_of_environment:
            self.settings = replace(self.settings, token=token_of_environment() or self.settings.token)
        settings = self.settings
        if settings.url is not None:
            return Endpoint(settings.url, settings.token)
        return await self._resolve_bundled(renew=renew)

    async def _resolve_bundled(self, *, renew: bool = False) -> Endpoint:  # noqa: ARG002 - it is always read anew
        settings = self.settings
        # Another model is wanted by whoever begins a conversation. A mere reconnect takes what runs:
        # two kernels with different models would end each other's server for ever.
        another, self._renew = self._renew, False
        record = await in_thread(lambda: launcher.ensure(settings.data_dir, settings.model, renew=another))
        return record.endpoint

    def _make_local(self, settings: Settings, fork: Fork) -> Driver:
        return Driver(
            settings, fork.local, self._resolve_bundled, opener=self._opener, server=HERE, history=fork.history)

    def act(self, intent: AnyIntent) -> SnapshotMessage | Refusal | None:
        """Do what a person asked for in the panel; return what the panel is to be told."""
        if self.driver.closed:
            return answer_of_closed(self, intent)
        try:
            match intent:
                case ReadyIntent():
                    return self.driver.snapshot()
                case SubmitIntent():
                    self.driver.submit(intent.id, checked(intent.text))
                case RetryIntent():
                    self.driver.retry(intent.id, intent.new_id)
                case CancelIntent():
                    self.driver.cancel(intent.run)
                case ReconnectIntent():
                    self.driver.reconnect()
                case ClearIntent():
                    self.clear()
                case FailoverIntent() | FailbackIntent():
                    self.change_server(back=isinstance(intent, FailbackIntent))
        except EdChatError as exc:
            return _refusal(exc, intent)
        return None

    def change_server(self, *, back: bool) -> None:
        """Go on with the server on this machine, or return from it.

        Raises:
            EdChatError: that is not possible now; the text says why.
        """
        if not isinstance(self.driver, Switchboard):
            raise EdChatError("This chat uses the server on this machine already.", code="bundled")
        if back:
            self.driver.failback()
        else:
            self.driver.failover()

    @property
    def forks(self) -> list[Fork]:
        """The conversations on this machine that this one led to, the oldest first."""
        return self.driver.forks if isinstance(self.driver, Switchboard) else []

    def clear(self) -> None:
        """Leave the session for a new, empty one."""
        before = self.key
        fresh = aliases.successor(self.driver.view.session)
        self.driver.switch(fresh)
        if _conversations.get(before) is self:
            del _conversations[before]
            _conversations[self.key] = self
        if self.implicit is not None:
            try:
                aliases.point(self.settings.data_dir, self.implicit, fresh)
            except (OSError, filelock.Timeout) as exc:
                _log.warning("the next run of this notebook will find the old conversation: %s", exc)


_conversations: dict[Key, Conversation] = {}


async def join(
    portal: Portal, settings: Settings, implicit: str, *, opener: Connect = connect
) -> Conversation:
    """Return the conversation of these settings, begun if it is not there yet. I/O thread only."""
    session = settings.session or aliases.current(settings.data_dir, implicit)
    key = _key(settings, session)
    conversation = _conversations.get(key)
    # A forked child, or a portal started anew, finds conversations of a loop that runs no more.
    if conversation is None or conversation.driver.closed or not conversation.driver.here:
        conversation = Conversation(settings, implicit if settings.session is None else None, session, opener)
        try:
            conversation.driver.start()
        except EdChatError:
            await conversation.driver.close()
            raise
        _conversations[key] = conversation
        portal.at_close(_shut_all)
    else:
        conversation.adopt(settings)
    conversation.leases += 1
    return conversation


def leave(conversation: Conversation) -> "asyncio.Task[None] | None":
    """Give a lease back; the last one closes. Return the task that closes, if any. I/O thread only."""
    conversation.leases -= 1
    if conversation.leases > 0 or conversation.driver.closed:
        return None
    if _conversations.get(conversation.key) is conversation:
        del _conversations[conversation.key]
    conversation.driver.shut()
    return asyncio.get_running_loop().create_task(conversation.driver.close())


def leave_soon(owner: Portal, conversation: Conversation, ends: list[Callable[[], None]]) -> None:
    """Give a lease back and end callbacks, from any thread and inside any code, such as a finalizer's."""
    with contextlib.suppress(PortalClosed):
        for end in ends:
            owner.post(end)
        owner.post(leave, conversation)


def end_soon(owner: Portal, end: Callable[[], None]) -> None:
    """End a callback, from any thread."""
    with contextlib.suppress(PortalClosed):
        owner.post(end)


def _shut_all() -> None:
    for conversation in _conversations.values():
        if conversation.driver.here:
            conversation.driver.shut()
    _conversations.clear()


def _key(settings: Settings, session: str) -> Key:
    return Key(settings.url, session, str(settings.data_dir))


def answer_of_closed(conversation: Conversation, intent: AnyIntent) -> SnapshotMessage | Refusal:
    """Return what a panel is told whose chat is closed. Any thread."""
    if isinstance(intent, ReadyIntent):
        return SnapshotMessage(view=conversation.driver.view)
    return _refusal(PortalClosed("This chat is closed.", hint="Run its cell again."), intent)


def _refusal(exc: EdChatError, intent: AnyIntent) -> Refusal:
    named: str | None = None
    if isinstance(intent, SubmitIntent):
        named = intent.id
    elif isinstance(intent, RetryIntent):
        named = intent.new_id
    return Refusal(code=exc.code, message=str(exc), id=named)
