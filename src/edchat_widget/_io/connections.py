"""A conversation's connections: opened, written to and closed as the core asks."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from edchat_widget._core.carriers import Way
from edchat_widget._core.effects import Close, Open, Send
from edchat_widget.errors import ConnectionLost, EdChatError

from .link import Link
from .transport import Connect, Endpoint, unauthorized

_log = logging.getLogger("edchat.client.connection")
_PATIENCE = 3.0  # for polite closes, when all ends


class Resolve(Protocol):
    """Says where the server is. `renew`: with a token read anew, since this one was refused or is to expire."""

    async def __call__(self, *, renew: bool = False) -> Endpoint: ...


class Listener(Protocol):
    """Who is told what connections do."""

    def opened(self, conn: int, way: Way, subprotocol: str | None) -> None:
        """Connection `conn` stands."""

    def heard(self, conn: int, raw: bytes | str) -> None:
        """Connection `conn` brought a frame."""

    def lost(self, conn: int, error: EdChatError) -> None:
        """Connection `conn` ended by itself, or did not come about."""


class Connections:
    """One task for each connection."""

    def __init__(self, listener: Listener, resolve: Resolve, opener: Connect) -> None:
        self._listener = listener
        self._resolve = resolve
        self._opener = opener
        self._loop = asyncio.get_running_loop()
        self._links: dict[int, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._shut = False
        self._endpoint: Endpoint | None = None  # where the last attempt went, and with which token

    def open(self, effect: Open) -> None:
        """Begin to open a connection."""
        link = Link()
        self._links[effect.hello.conn] = link
        link.task = self.spawn(self._attend(effect, link))

    def send(self, effect: Send) -> None:
        """Queue a frame."""
        link = self._links.get(effect.conn)
        if link is not None:
            link.outgoing.put_nowait(effect.raw)

    def close(self, effect: Close) -> None:
        """Close a connection; nothing more is heard of it."""
        link = self._links.pop(effect.conn, None)
        if link is not None:
            self.spawn(link.close(effect))

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside; it is ended when all ends."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def shut(self) -> None:
        """Begin nothing more."""
        self._shut = True

    async def end(self) -> None:
        """Let what is being closed end politely; end all else."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
        for task in self._tasks:
            task.cancel()

    async def _attend(self, effect: Open, link: Link) -> None:
        conn = effect.hello.conn
        error: EdChatError
        try:
            await self._converse(effect, link)
            return
        except EdChatError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001 - the connection's task root: nothing may end the conversation silently
            _log.exception("the connection failed in an unexpected way")
            error = ConnectionLost(
                f"Something failed inside this chat: {type(exc).__name__}.",
                hint="It is a mistake of this package; the log has the details.")
        finally:
            link.drop()
            if link.transport is not None and not self._shut:
                self.spawn(link.transport.close())
        if self._links.get(conn) is link:
            del self._links[conn]
            self._listener.lost(conn, error)

    async def _converse(self, effect: Open, link: Link) -> None:
        conn = effect.hello.conn
        endpoint = await self._resolve(renew=effect.renew)
        if effect.renew and endpoint == self._endpoint:
            raise unauthorized()
        self._endpoint = endpoint
        transport = await self._opener(endpoint, effect.carrier, effect.hello)
        link.transport = transport
        link.writer = self._loop.create_task(link.write(transport))
        self._listener.opened(conn, transport.way, transport.subprotocol)
        while self._links.get(conn) is link:
            raw = await transport.receive()
            self._listener.heard(conn, raw)
