"""The store in one SQLite file, for one server process."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from edchat_server.sql import SQLITE, Connection, Dialect

from . import room, runs, schema
from .base import Claim, Quota, StoreError, StoreLocked
from .owner import Owner
from .saver import SqliteCheckpoints
from .sql_store import SqlStore, identify, utc_now

T = TypeVar("T")
Step = Callable[[sqlite3.Connection], None]

_CHECKPOINTS = SqliteCheckpoints()


class SqliteStore(SqlStore):
    """A `Store`. Opened by `open`; a second one on the same file raises `StoreLocked`."""

    def __init__(
        self, owner: Owner, lock: FileLock, store_id: str, *, clock: Callable[[], str], keep_events: int, quota: Quota
    ) -> None:
        super().__init__(store_id, _CHECKPOINTS, clock=clock, keep_events=keep_events, quota=quota)
        self._owner = owner
        self.path = owner.path
        self._lock = lock
        self._held: dict[str, int] = {}
        self._unsure = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        prepare: Sequence[Callable[[Connection, Dialect], None]] = (),
        clock: Callable[[], str] | None = None,
        make_owner: Callable[[Path, Sequence[Step]], Owner] = Owner,
        keep_events: int = 20_000,
        quota: Quota | None = None,
    ) -> "SqliteStore":
        """Open or make the database.

        `prepare` adds tables of others; `clock` gives ISO times in UTC; `make_owner` makes what runs the
        transactions.

        A session's last `keep_events` events are kept whole until they are old; see `trim`.

        Raises:
            StoreLocked: another process owns the file.
            StoreError: the file cannot be opened.
        """
        lock = take(path)
        clock = clock or utc_now
        owner = make_owner(path, [_on_sqlite(step) for step in (schema.prepare, _CHECKPOINTS.prepare, *prepare)])
        try:
            await owner.open()
            store_id = await owner.submit(identify)
        except StoreError:
            lock.release()
            raise
        return cls(owner, lock, store_id, clock=clock, keep_events=keep_events, quota=quota or Quota())

    async def close(self) -> None:
        """Finish what was submitted, close the file, let others in."""
        await self._owner.close()
        self._lock.release()

    @property
    def trouble(self) -> str | None:
        """Why no new work is to be taken: a write failed, or the disk is nearly full. None: it may."""
        return self._owner.trouble or room.short_of_disk(self.path, self._quota)

    def full(self, conn: Connection, head: int) -> str | None:
        """Say, for people, why a session whose last seq is `head` can take no message; None: it can."""
        return (
            room.short_of_disk(self.path, self._quota)
            or room.database_full(conn, self._quota)
            or super().full(conn, head)
        )

    async def submit(self, work: Callable[[Connection], T], *, locks: Sequence[str] = ()) -> T:  # noqa: ARG002
        """Run `work` in a transaction; the owner's thread runs one at a time, whatever their locks."""
        return await self._owner.submit(work)

    def watch(self, sessions: Callable[[], Collection[str]], ring: Callable[[str], None]) -> None:
        """Do nothing: no other process writes to the file."""

    async def claim(self) -> Claim | None:
        """Take the oldest queued run of a session in which none is running."""
        held, unsure = tuple(self._held), self._unsure

        def work(conn: Connection) -> Claim | None:
            if unsure:
                runs.recover(conn, held)
            return runs.claim(conn)

        try:
            claim = await self.submit(work)
        except (StoreError, asyncio.CancelledError):
            self._unsure = True  # the commit may be in the file nevertheless, and a run of which nobody knows
            raise
        self._unsure = False
        if claim is not None:
            self._held[claim.run] = claim.fence
        return claim

    def drop(self, claim: Claim) -> None:
        """Forget a claim, unless this process has claimed the run again."""
        if self._held.get(claim.run) == claim.fence:
            del self._held[claim.run]

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which writes nothing, on one state of the database."""
        return await self._owner.submit(work, reads=True)


def _on_sqlite(step: Callable[[Connection, Dialect], None]) -> Step:
    return lambda conn: step(conn, SQLITE)


def take(path: Path) -> FileLock:
    """Make the file if there is none, and keep all other processes from it. Raises `StoreLocked`, `StoreError`."""
    lock = FileLock(f"{path}.lock", timeout=0, mode=0o600)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
        # Made before SQLite opens it, so that it is never readable by others, not even for a moment.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except Timeout:
        raise StoreLocked(
            f"another edchat server already uses {path}; stop it, or give this one its own --data-dir"
            " (a notebook's bundled server stops 15 minutes after its last chat was closed, or at once by"
            " edchat_widget.launch().stop())"
        ) from None
    except OSError as exc:
        lock.release()
        raise StoreError(
            f"cannot write in {path.parent}: {exc.strerror or exc}; give another --data-dir"
        ) from None
    return lock
