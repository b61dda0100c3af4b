"""Conversations of this kernel. `Chat()` run twice in a notebook is one conversation, not two."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from edchat_widget._core.limits import checked
from edchat_widget.errors import EdChatError
from edchat_widget.settings import Settings
from edchat_widget.view import (
    AnyIntent,
    CancelIntent,
    ClearIntent,
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
from .transport import Connect, Endpoint, connect


class Key(msgspec.Struct, frozen=True):
    """What makes two chats the same conversation."""

    url: str | None
    session: str
    data_dir: str
    token: str | None

    def __repr__(self) -> str:
        return f"Key({self.url!r}, {self.session!r})"


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
        self.driver = Driver(
            settings, session, _resolver(settings), opener=opener, server=settings.url, outbox_suffix=where)

    @property
    def key(self) -> Key:
        """What it is found by."""
        return _key(self.settings, self.driver.view.session)

    def act(self, intent: AnyIntent) -> SnapshotMessage | Refusal | None:
        """Do what a person asked for in the panel; return what the panel is to be told."""
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
        except EdChatError as exc:
            named = intent.id if isinstance(intent, SubmitIntent | RetryIntent) else None
            return Refusal(code=exc.code, message=str(exc), id=named)
        return None

    def clear(self) -> None:
        """Leave the session for a new, empty one."""
        before = self.key
        fresh = aliases.successor(self.driver.view.session)
        self.driver.switch(fresh)
        if self.implicit is not None:
            aliases.point(self.settings.data_dir, self.implicit, fresh)
        if _conversations.get(before) is self:
            del _conversations[before]
            _conversations[self.key] = self


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
        conversation = _conversations[key] = Conversation(
            settings, implicit if settings.session is None else None, session, opener)
        portal.at_close(_shut_all)
        conversation.driver.start()
    else:
        # Whoever runs the cell once more after "disconnected" means: try again.
        conversation.driver.reconnect()
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


def _shut_all() -> None:
    for conversation in _conversations.values():
        if conversation.driver.here:
            conversation.driver.shut()
    _conversations.clear()


def _key(settings: Settings, session: str) -> Key:
    return Key(settings.url, session, str(settings.data_dir), settings.token)


def _resolver(settings: Settings) -> Callable[[], Awaitable[Endpoint]]:
    url = settings.url
    if url is not None:
        given = Endpoint(url, settings.token)

        async def configured() -> Endpoint:
            return given

        return configured

    async def bundled() -> Endpoint:
        record = await in_thread(lambda: launcher.ensure(settings.data_dir, settings.model))
        return record.endpoint

    return bundled
