"""One thread that owns one SQLite connection, and groups what waits into one commit."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from .base import StoreError
from .schema import PRAGMAS

T = TypeVar("T")
Job = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]

_GROUP = 64
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
    is told is committed.
    """

    def __init__(self, path: Path, prepare: Sequence[Callable[[sqlite3.Connection], None]]) -> None:
        self._path = path
        self._prepare = prepare
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name="edchat-store", daemon=True)
        self._closed = False
        self.healthy = True

    async def open(self) -> None:
        """Start the thread and wait for the database. Raises `StoreError`."""
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    async def submit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the owner's thread; return when it is committed."""
        if self._closed:
            raise StoreError("the store is closed")
        future: Future[T] = Future()
        self._jobs.put((work, future))
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
            self._opened.set_exception(StoreError(f"cannot open the database {self._path}: {exc}"))
            return
        self._opened.set_result(None)
        while True:
            batch, last = self._gather()
            if batch and not self._run(conn, batch):
                conn = self._reopen(conn)
            if last:
                break
        conn.close()

    def _connect(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self._path, isolation_level=None, factory=_Connection)
        try:
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
            return self._connect()
        except sqlite3.Error as exc:
            _log.error("the database cannot be reopened: %s", exc)
            return sqlite3.connect(self._path, isolation_level=None, factory=_Connection)

    def _gather(self) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            if job[1].set_running_or_notify_cancel():
                batch.append(job)
            if self._jobs.empty() or len(batch) >= _GROUP:
                return batch, False
            job = self._jobs.get()
        return batch, True

    def _run(self, conn: sqlite3.Connection, batch: list[Job]) -> bool:
        """Carry out a batch in one transaction; return whether the connection can be used further."""
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        before = conn.total_changes
        try:
            conn.execute("BEGIN IMMEDIATE")
            for work, future in batch:
                outcomes.append((future, *_in_savepoint(conn, work)))
            conn.execute("COMMIT")
        except sqlite3.Error as exc:
            self.healthy = False
            _log.error("a transaction failed, nothing of it was stored: %s", exc)
            with contextlib.suppress(sqlite3.Error):
                conn.execute("ROLLBACK")
            for _, future in batch:
                future.set_exception(StoreError(f"the database refused the write: {exc}"))
            return False
        # A full disk still reads: only a write that went through says that the database takes writes.
        self.healthy = self.healthy or conn.total_changes != before
        for future, result, error in outcomes:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        return True


def _in_savepoint(
    conn: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]
) -> tuple[Any, BaseException | None]:
    conn.execute("SAVEPOINT job")
    try:
        result = work(conn)
    except BaseException as exc:
        if not conn.in_transaction:  # a full disk makes SQLite roll back everything by itself
            raise sqlite3.OperationalError(str(exc)) from exc
        conn.execute("ROLLBACK TO job")
        conn.execute("RELEASE job")
        return None, StoreError(str(exc)) if _is_storage(exc) else exc
    conn.execute("RELEASE job")
    return result, None


def _is_storage(exc: BaseException) -> bool:
    return isinstance(exc, sqlite3.Error)
