"""How a server hears that another one wrote to a session that it shows or carries out.

Polling is what counts: the log's head says all, and a lost word costs a quarter of a second. NOTIFY only makes
it faster; it is sent after the commit and for many sessions at once, because a notifying transaction holds a
lock that all the others wait for.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

import psycopg

from edchat_server.sql import Connection

from .base import StoreError
from .postgres_links import READ, Links, Raw

POLL_SECONDS = 0.25
GATHER_SECONDS = 0.02
_CHANNEL = "edchat"
_PAYLOAD_BYTES = 7000  # PostgreSQL takes 8000
_log = logging.getLogger("edchat.server.store")

Ring = Callable[[str], None]


class Bell:
    """Rings for sessions in which `replica` did not write itself."""

    def __init__(self, links: Links, replica: str) -> None:
        self._links = links
        self._replica = replica
        self._written: set[str] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._over = threading.Event()
        self._listener: threading.Thread | None = None

    def start(self, sessions: Callable[[], Collection[str]], ring: Ring) -> None:
        """Call `ring` for those of `sessions` that have grown, until `stop`."""
        loop = asyncio.get_running_loop()

        def heard(named: str) -> None:
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(ring, named)

        self._listener = threading.Thread(target=self._listen, args=(heard,), name="edchat-bell", daemon=True)
        self._listener.start()
        self._tasks = [
            asyncio.create_task(self._poll(sessions, ring), name="edchat-bell-poll"),
            asyncio.create_task(self._notify(), name="edchat-bell-notify"),
        ]

    def written(self, session: str) -> None:
        """Have the other servers told that a session has grown."""
        self._written.add(session)
        self._wake.set()

    async def stop(self) -> None:
        """Ring no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._over.set()
        if self._listener is not None:
            await asyncio.to_thread(self._listener.join)

    async def _poll(self, sessions: Callable[[], Collection[str]], ring: Ring) -> None:
        known: dict[str, int] = {}
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                heads = await self._heads(list(sessions()))
            except StoreError:
                continue
            for session, head in heads.items():
                # one that was not watched at the last look may have grown in between
                if known.get(session) != head:
                    ring(session)
            known = heads

    async def _notify(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            written, self._written = self._written, set()
            with suppress(StoreError):  # the others poll
                await self._send(list(_payloads(self._replica, written)))

    async def _heads(self, sessions: list[str]) -> dict[str, int]:
        if not sessions:
            return {}
        query = "SELECT id, last_seq FROM sessions WHERE id = ANY(?)"
        return await self._links.run(lambda conn: dict(conn.execute(query, (sessions,))), begin=READ)

    async def _send(self, payloads: list[str]) -> None:
        def work(conn: Connection) -> None:
            for payload in payloads:
                conn.execute("SELECT pg_notify(?, ?)", (_CHANNEL, payload))

        await self._links.run(work)

    # ---------------------------------------------------------------------------------- on the listener's thread

    def _listen(self, heard: Ring) -> None:
        raw: Raw | None = None
        while not self._over.is_set():
            try:
                if raw is None:
                    raw = self._links.connect()
                    raw.execute(f"LISTEN {_CHANNEL}".encode())
                for note in raw.notifies(timeout=0.5):
                    self._tell(note.payload, heard)
            except psycopg.Error:
                if raw is not None:
                    raw.close()
                    raw = None
                self._over.wait(1)
        if raw is not None:
            raw.close()

    def _tell(self, payload: str, heard: Ring) -> None:
        try:
            replica, *sessions = json.loads(payload)
        except ValueError:
            _log.debug("not ours on channel %s", _CHANNEL)
            return
        if replica != self._replica:
            for session in sessions:
                heard(str(session))


def _payloads(replica: str, sessions: Iterable[str]) -> Iterator[str]:
    part, room = [replica], _PAYLOAD_BYTES
    for session in sessions:
        size = len(json.dumps(session)) + 2
        if size > room and len(part) > 1:
            yield json.dumps(part)
            part, room = [replica], _PAYLOAD_BYTES
        part.append(session)
        room -= size
    if len(part) > 1:
        yield json.dumps(part)
