"""The process around the application: the socket, the ready line, the goodbye."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec
import uvicorn
from fastapi import FastAPI

from edchat_protocol.errors import MAX_FRAME_BYTES

from .app import Build, create_app
from .core import Core
from .settings import Settings, SettingsError
from .sockets import WebSocketConnection, bind, http_protocol, url_of
from .store import StoreError

GOODBYE_SECONDS = 10
# Room above the frame limit, so that a frame that is somewhat too large gets an answer, not a cut.
MAX_SOCKET_FRAME = 2 * MAX_FRAME_BYTES

_log = logging.getLogger("edchat.server")


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Where to say that the server listens: a file descriptor. Raises `SettingsError` if it is not open."""

    fd: int

    def __post_init__(self) -> None:
        try:
            os.fstat(self.fd)
        except OSError:
            raise SettingsError(f"--ready-fd {self.fd}: takes the number of an open file") from None

    def tell(self, url: str, settings: Settings, store: str) -> None:
        """Write one JSON line: `url`, `token`, `pid` and `store`."""
        line = msgspec.json.encode(
            {"url": url, "token": settings.token, "pid": os.getpid(), "store": store}
        )
        with suppress(BrokenPipeError):
            os.write(self.fd, line + b"\n")
            if self.fd > 2:
                os.close(self.fd)


class Server(uvicorn.Server):
    """Uvicorn that says when it listens, leaves when idle, and drains the runs before it closes sockets."""

    def __init__(self, app: FastAPI, settings: Settings, ready: Ready | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http_protocol(settings.caps.hello_seconds), ws=WebSocketConnection,
                ws_per_message_deflate=False, ws_max_size=MAX_SOCKET_FRAME,
                timeout_graceful_shutdown=GOODBYE_SECONDS, access_log=False, log_config=None,
                server_header=False, lifespan="off",
            )
        )
        self._app = app
        self._settings = settings
        self._ready = ready
        self._idle: asyncio.Task[None] | None = None

    @property
    def _core(self) -> Core:
        core: Core = self._app.state.core
        return core

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM, and then return: uvicorn would die of the signal before we are done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; then say so."""
        await super().startup(sockets)
        if self.should_exit or not sockets:
            return
        url = url_of(sockets[0])
        reach = "" if self._settings.loopback else f" (all that {self._settings.host} reaches)"
        _log.info("listening on %s%s, data in %s", url, reach, self._settings.data_dir)
        if self._settings.token is None and self._settings.tokens_file is None:
            _log.warning("no token is set: every program and local web page on this machine can use this server")
        if self._ready is not None:
            self._ready.tell(url, self._settings, self._core.store.id)
        if self._settings.idle_exit is not None:
            self._idle = asyncio.create_task(self._leave_when_idle(self._settings.idle_exit))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say goodbye, let the runs come to a boundary, then close the sockets."""
        if self._idle is not None:
            self._idle.cancel()
        for server in self.servers:
            server.close()
        await self._core.drain()
        self._drop_version_1()
        await super().shutdown(sockets)

    def _drop_version_1(self) -> None:
        # The origin's client does not come back after a clean close, but does after a cut.
        for connection in list(self.server_state.connections):
            scope = getattr(connection, "scope", None)  # absent before the first request is read
            if isinstance(connection, WebSocketConnection) and scope and not scope["subprotocols"]:
                connection.transport.abort()

    async def _leave_when_idle(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(min(1.0, max(0.05, seconds / 4)))
            core = self._core
            try:
                busy = await core.store.unfinished()
            except StoreError:
                busy = 0  # a database that fails is no reason to stay for ever
            if busy:
                core.activity.touch()
            elif core.activity.idle_seconds() >= seconds:
                _log.info("nothing to do for %g seconds: leaving", seconds)
                self.should_exit = True
                return


async def serve_until_told(settings: Settings, *, ready: Ready | None, build: Build) -> None:
    """Run a server until a signal or idleness ends it.

    Raises:
        PortTaken: nothing can listen there.
        StoreError: the database cannot be opened, or another server owns it (`StoreLocked`).
    """
    sock = bind(settings)
    try:
        app = create_app(settings, build=build)
        async with app.router.lifespan_context(app):
            await Server(app, settings, ready).serve([sock])
    finally:
        sock.close()
