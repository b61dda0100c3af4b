"""Connections to PostgreSQL, and the threads that work on them."""

import asyncio
import logging
import re
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
import psycopg.errors
from psycopg import RawCursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumper

from edchat_server.sql import Connection

from .base import StoreError, StoreUnavailable

T = TypeVar("T")
Raw = psycopg.Connection[tuple[Any, ...]]

SIZE = 8
"""Transactions at once, in one server process."""

WRITE = b"BEGIN"
# One snapshot for all statements of the reader; it waits for nobody and nobody waits for it.
READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_DEFAULTS = {
    "connect_timeout": "5", "application_name": "edchat", "keepalives_idle": "10", "keepalives_interval": "3",
    "keepalives_count": "3", "tcp_user_timeout": "10000",
}
_SETUP = """
    SET statement_timeout = '15s'; SET lock_timeout = '10s';
    -- a server that is frozen inside a transaction may not hold up the others for longer than its lease
    SET idle_in_transaction_session_timeout = {patience};
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"""

# Whatever else fails is the database's, and may be gone the next time: a cut, a standby that takes no writes.
_THE_STATEMENTS_OWN = (
    psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.NotSupportedError,
    psycopg.errors.ProgramLimitExceeded,
)

_log = logging.getLogger("edchat.server.store")


class _Text(StrDumper):
    """Text as PostgreSQL takes it: any but NUL, which nobody types."""

    def dump(self, obj: str) -> Any:
        """Return the text's bytes."""
        return super().dump(obj.replace("\x00", "\ufffd"))


class PostgresConnection:
    """A `Connection` of ours on one of psycopg's."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> "RawCursor[tuple[Any, ...]]":
        """Run one statement."""
        return RawCursor(self.raw).execute(numbered(sql), parameters or None)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> "RawCursor[tuple[Any, ...]]":
        """Run one statement for each of the parameters."""
        cursor = RawCursor(self.raw)
        cursor.executemany(numbered(sql), parameters)
        return cursor


_MARK = re.compile(r"\?(\d*)")


@lru_cache(maxsize=512)
def numbered(sql: str) -> bytes:
    """Return a statement with PostgreSQL's placeholders: ``?`` and ``?2`` become ``$1`` and ``$2``.

    No statement of ours has a question mark in a literal.
    """
    count = iter(range(1, 1000))
    return _MARK.sub(lambda mark: f"${mark[1] or next(count)}", sql).encode()


class Links:
    """Runs functions of a connection, each in a transaction of its own, several at a time.

    A connection that was lost is replaced when it is needed next; what was under way on it fails. A transaction
    in which nothing happens for `patience` seconds is ended by the database; one that takes six times as long
    is given up.

    Raises:
        StoreError: the address is none.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._limit = 6 * patience
        self._setup = _SETUP.format(patience=int(patience * 1000)).encode()
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # its text may repeat the password
            raise StoreError("the database's address takes postgresql://USER@HOST:PORT/DATABASE") from None
        self._address = {**_DEFAULTS, **given, "client_encoding": "utf8"}
        self._idle: deque[Raw] = deque()
        self._threads = ThreadPoolExecutor(SIZE, thread_name_prefix="edchat-store")
        self._closed = False
        self._given: weakref.WeakSet[Raw] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._cut = False
        self.trouble: str | None = None

    def connect(self) -> Raw:
        """Return a new connection, which commits each statement by itself. Raises `psycopg.Error`."""
        raw: Raw = psycopg.connect(**self._address, autocommit=True)  # type: ignore[arg-type]
        with self._lock:
            if self._cut:
                raw.close()
                raise psycopg.OperationalError("the store is closed")
            self._given.add(raw)
        raw.adapters.register_dumper(str, _Text)
        raw.execute(self._setup)
        return raw

    async def run(
        self, work: Callable[[Connection], T], *, begin: bytes = WRITE, locks: Sequence[str] = ()
    ) -> T:
        """Run `work` between `begin` and ``COMMIT``, alone under each of the `locks`. Raises `StoreError`."""
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limit):
                return await loop.run_in_executor(self._threads, self._transact, work, begin, locks)
        except TimeoutError:
            # The thread waits on, and what it does may still be stored: who asks again finds out.
            self.trouble = "the database does not answer"
            raise StoreUnavailable(self.trouble) from None

    def cut(self) -> None:
        """End every connection at once, and let there be no new ones: who waits for an answer waits no longer."""
        with self._lock:
            self._cut = True
            given = list(self._given)
        for raw in given:
            # To close a socket under the thread that waits on it would not wake that; its family does not matter here.
            with suppress(psycopg.Error, OSError), socket.fromfd(raw.fileno(), socket.AF_INET, socket.SOCK_STREAM) as s:
                s.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Finish what was submitted and hang up."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        while self._idle:
            self._idle.pop().close()

    # ------------------------------------------------------------------------------------ on one of the threads

    def _transact(self, work: Callable[[Connection], T], begin: bytes, locks: Sequence[str]) -> T:
        try:
            raw = self._begun(begin)
        except psycopg.Error as exc:
            raise self._failure("the database cannot be reached", exc) from None
        try:
            conn = PostgresConnection(raw)
            for name in locks:
                conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"edchat {name}",))
            result = work(conn)
            if raw.info.transaction_status is not TransactionStatus.INTRANS:
                raise psycopg.OperationalError("a statement failed and its error was lost")
            raw.execute(b"COMMIT")
        except psycopg.Error as exc:
            raise self._failure("the database refused a statement", exc) from None
        finally:
            self._give_back(raw)
        if self.trouble is not None and begin == WRITE:
            self.trouble = None
            _log.warning("the database takes writes again")
        return result

    def _begun(self, begin: bytes) -> Raw:
        """Return a connection with a transaction begun; an idle one may have died since it was used."""
        while (raw := self._pop()) is not None:
            try:
                raw.execute(begin)
            except psycopg.Error:
                raw.close()
            else:
                return raw
        raw = self.connect()
        raw.execute(begin)
        return raw

    def _pop(self) -> Raw | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _give_back(self, raw: Raw) -> None:
        try:
            if raw.info.transaction_status is not TransactionStatus.IDLE:
                raw.execute(b"ROLLBACK")
            self._idle.append(raw)
        except psycopg.Error:
            raw.close()

    def _failure(self, what: str, exc: psycopg.Error) -> StoreError:
        # Details are for the log: the text goes to clients, who need not know the database's host and tables.
        if self.trouble is None:
            _log.error("%s: %s: %s", what, type(exc).__name__, str(exc).strip())
        if isinstance(exc, _THE_STATEMENTS_OWN):
            return StoreError(what)
        self.trouble = what
        return StoreUnavailable(what)
