"""One thread that owns one SQLite connection, and groups what waits into one commit."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from .base import StoreError, StoreUnavailable
from .schema import PRAGMAS

T = TypeVar("T")
Job = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]", bool]
"""What to do, whom to tell, and whether it only reads."""

_GROUP = 64
PATIENCE_SECONDS = 5.0
"""How long a write waits for another process's lock on the file."""

_NO_PATIENCE_SECONDS = 0.2
_log = logging.getLogger("edchat.server.store")


class _Connection(sqlite3.Connection):
    """A connection whose `commit` does nothing: committing is the owner's alone.

    LangGraph's saver commits after each of its statements, which would end the owner's transaction
    halfway.
    """

    def commit(self) -> None:
        """Leave the transaction open."""


class Owner:
    """Runs functions of the connection, in the order in which they were submitted.

    Each runs in a savepoint; those that wait together share one transaction and one fsync. What a caller
    is told is committed. When the disk fails, only those fail that wrote; a job may be run again for that,
    so that it does nothing beside its use of the connection.

    A failed commit is reported as nothing stored. After a failed fsync the next start may find it on disk
    nevertheless; whoever was refused must therefore ask again in a way that finds what is there.
    """

    def __init__(
        self, path: Path, prepare: Sequence[Callable[[sqlite3.Connection], None]], *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.path = path
        self._patience = patience
        self._prepare = prepare
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._opened: Future[None] = Future()
        self._shut: str | None = None  # why there is no connection
        self._thread = threading.Thread(target=self._work, name="edchat-store", daemon=True)
        self._closed = False
        self.trouble: str | None = None

    async def open(self) -> None:
        """Start the thread and wait for the database. Raises `StoreError`."""
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    async def submit(self, work: Callable[[sqlite3.Connection], T], *, reads: bool = False) -> T:
        """Run `work` on the owner's thread; return when it is committed. `reads`: it writes nothing."""
        if self._closed:
            raise StoreError("the store is closed")
        future: Future[T] = Future()
        self._jobs.put((work, future, reads))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Finish what was submitted and close the file."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------------------------ on the owner's thread

    def _work(self) -> None:
        try:
            conn = self._connect()
        except sqlite3.Error as exc:
            self._opened.set_exception(StoreError(f"cannot open the database {self.path}: {exc}"))
            return
        self._opened.set_result(None)
        closing = False
        while not (closing and self._jobs.empty()):
            batch, last = self._gather()
            closing = closing or last
            if batch and not self._run(conn, batch):
                conn = self._reopen(conn)
        conn.close()

    def _connect(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self.path, isolation_level=None, factory=_Connection)
        try:
            _wait_for_locks(conn, self._patience)
            for pragma in PRAGMAS:
                conn.execute(pragma)
            for step in self._prepare:
                step(conn)
        except sqlite3.Error:
            conn.close()
            raise
        return conn

    def _reopen(self, conn: sqlite3.Connection) -> sqlite3.Connection:
        # After an I/O error the connection's view of the file is not to be trusted.
        with contextlib.suppress(sqlite3.Error):
            conn.close()
        try:
            conn = self._connect()
        except sqlite3.Error as exc:
            _log.error("the database cannot be reopened: %s", exc)
            self._shut = f"it cannot be opened: {exc}"  # the next batch fails, and then this is tried again
        else:
            self._shut = None
        return conn

    def _gather(self) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            if job[1].running() or job[1].set_running_or_notify_cancel():
                batch.append(job)
            if self._jobs.empty() or len(batch) >= _GROUP:
                return batch, False
            job = self._jobs.get()
        return batch, True

    def _run(self, conn: sqlite3.Connection, batch: list[Job]) -> bool:
        """Carry out a batch in one transaction; return whether the connection can be used further."""
        outcomes: list[_Outcome] = []
        begun = False
        before = 0
        try:
            before = conn.total_changes
            # Reads alone need no lock: another process that holds it shall not keep anybody from reading.
            conn.execute("BEGIN" if all(reads for _, _, reads in batch) else "BEGIN IMMEDIATE")
            begun = True
            for job in batch:
                outcomes.append(_in_savepoint(conn, job))  # noqa: PERF401 - how many there are is needed when one fails
            conn.execute("COMMIT")
        except sqlite3.Error as exc:
            why = self._shut or str(exc)  # that a connection is closed tells nobody anything
            self._failed(why)
            with contextlib.suppress(sqlite3.Error):
                conn.execute("ROLLBACK")
                _wait_for_locks(conn, _NO_PATIENCE_SECONDS)  # others wait behind whoever waits
            for job in _to_blame(batch, outcomes) if begun else _writers(batch):
                job[1].set_exception(StoreUnavailable(f"the database refused the write: {why}"))
            for job in batch:
                if not job[1].done():
                    self._jobs.put(job)
            return _code(exc) in _HARMLESS
        # A full disk still reads: only a write that went through says that the database takes writes.
        if conn.total_changes != before and self.trouble is not None:
            self.trouble = None
            _wait_for_locks(conn, self._patience)
        for outcome in outcomes:
            outcome.tell()
        return True

    def _failed(self, why: str) -> None:
        if self.trouble is None:
            _log.error("a transaction failed, nothing of it was stored: %s", why)
        self.trouble = f"the database refuses writes: {why}"


@dataclass(frozen=True)
class _Outcome:
    future: "Future[Any]"
    result: Any
    error: BaseException | None
    wrote: bool

    def tell(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _to_blame(batch: list[Job], outcomes: list[_Outcome]) -> list[Job]:
    """Return the jobs that fail with their transaction; the others saw what was never stored, and run again."""
    if len(outcomes) < len(batch):
        return [batch[len(outcomes)]]  # the commit was not reached
    return [job for job, outcome in zip(batch, outcomes, strict=True) if outcome.wrote] or batch


def _writers(batch: list[Job]) -> list[Job]:
    return [job for job in batch if not job[2]] or batch


def _wait_for_locks(conn: sqlite3.Connection, seconds: float) -> None:
    conn.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")


def _in_savepoint(conn: sqlite3.Connection, job: Job) -> _Outcome:
    work, future, _ = job
    before = conn.total_changes
    conn.execute("SAVEPOINT job")
    try:
        result = work(conn)
    except BaseException as exc:
        # A full disk makes SQLite roll back everything by itself.
        if isinstance(exc, sqlite3.Error) and _code(exc) in _FATAL:
            raise
        if not conn.in_transaction:
            raise sqlite3.OperationalError(str(exc)) from exc
        conn.execute("ROLLBACK TO job")
        conn.execute("RELEASE job")
        return _Outcome(future, None, StoreError(str(exc)) if isinstance(exc, sqlite3.Error) else exc, wrote=False)
    conn.execute("RELEASE job")
    return _Outcome(future, result, None, wrote=conn.total_changes != before)


_HARMLESS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""After these SQLite has rolled back in good order, and the connection still reads."""

_FATAL = _HARMLESS | {
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM,
}
"""These are the database's failures; all others are the statement's own."""


def _code(exc: BaseException) -> int | None:
    code = getattr(exc, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the rest of it tells kinds of I/O errors apart
