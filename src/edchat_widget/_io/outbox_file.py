"""The outbox on disk: one SQLite file per session and kernel, so that a message outlives the kernel.

Two kernels on one session have a file each, claimed by a lock, and so a name of their own at the server.
What an ended kernel left behind is taken over by the next.
"""

import contextlib
import hashlib
import logging
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import filelock
import msgspec

from edchat_widget._core.outbox import Outbox, OutboxHead, Row
from edchat_widget.errors import StorageError, plain

from .private import make_private

_log = logging.getLogger("edchat.client.outbox")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS row (csn INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
_SLOTS = 64
_FILES = ("", "-wal", "-shm")  # what belongs to an SQLite file
_CURE = "Is the disk full, or the data directory read-only? Name another one: EDCHAT_DATA_DIR or Chat(data_dir=…)."


class OutboxFile:
    """One claimed file. All of it is used by one thread at a time."""

    def __init__(self, path: Path, lock: filelock.BaseFileLock, db: sqlite3.Connection) -> None:
        self.path = path
        self._lock = lock
        self._db = db
        self._unstored: dict[int, Row] = {}  # changes that the disk would not take
        self._undeleted: set[int] = set()

    def prepare(self) -> None:
        """Make it a file of ours, if it is new."""
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def load(self, new_id: Callable[[], str]) -> Outbox:
        """Return the outbox as it was stored last; a new one under a new name if there was none."""
        found = self._db.execute("SELECT body FROM head").fetchone()
        if found is None:
            head = OutboxHead(client=new_id())
            self.store(head, (), ())
        else:
            head = msgspec.json.decode(found[0], type=OutboxHead)
        return Outbox(head, self.rows())

    def add(self, head: OutboxHead, row: Row) -> None:
        """Store a new row.

        Raises:
            StorageError: it is not stored.
        """
        self.store(msgspec.structs.replace(head, last_csn=row.csn), (row,), ())

    def store(self, head: OutboxHead, rows: Iterable[Row], gone: Iterable[int]) -> None:
        """Store changes, all of them or none.

        Raises:
            StorageError: nothing was stored.
        """
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("INSERT OR REPLACE INTO head VALUES (1, ?)", (msgspec.json.encode(head),))
                self._db.executemany("DELETE FROM row WHERE csn = ?", [(n,) for n in gone])
                self._db.executemany(
                    "INSERT OR REPLACE INTO row VALUES (?, ?)",
                    [(r.csn, msgspec.json.encode(r)) for r in rows],
                )
        except sqlite3.Error as exc:
            raise StorageError(
                f"The message could not be stored in {self.path.name}: {plain(exc)}.", hint=_CURE) from exc

    def update(self, head: OutboxHead, rows: Iterable[Row], gone: Collection[int]) -> None:
        """Store changes, and with them those that could not be stored before.

        Raises:
            StorageError: nothing was stored; the next update does it.
        """
        fresh = {r.csn: r for r in rows}
        self._unstored = {n: r for n, r in self._unstored.items() if n not in gone} | fresh
        self._undeleted = (self._undeleted | set(gone)) - fresh.keys()
        self.store(head, self._unstored.values(), self._undeleted)
        self._unstored, self._undeleted = {}, set()

    def close(self) -> None:
        """Give the file free for the next kernel."""
        self._db.close()
        self._lock.release()

    def discard(self) -> None:
        """Close, and remove the file: its session is not used any more."""
        self._db.close()
        for suffix in _FILES:
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._lock.release()

    def set_aside(self) -> Path:
        """Close, and put the file out of the way for whoever can still read something in it."""
        self._db.close()
        aside = self.path.with_suffix(f".damaged-{secrets.token_hex(4)}")
        for suffix in _FILES:
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self._lock.release()
        return aside

    def rows(self) -> list[Row]:
        """Return what is stored."""
        return [
            msgspec.json.decode(body, type=Row)
            for (body,) in self._db.execute("SELECT body FROM row ORDER BY csn")
        ]


def open_outbox(directory: Path, name: str, new_id: Callable[[], str]) -> tuple[OutboxFile, Outbox]:
    """Claim an outbox file for `name`, and return it with what is in it.

    Raises:
        StorageError: the directory cannot be used.
    """
    if name != name.lower():  # some file systems take names that differ in case for one
        name += f"+{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    name = re.sub(r"[^A-Za-z0-9_.~@+-]", "_", name)
    try:
        make_private(directory)
        file, outbox = _claim_readable(directory, name, new_id)
        with contextlib.ExitStack() as undo:
            undo.callback(file.close)
            for slot in range(1, _SLOTS + 1):
                path = _path(directory, name, slot)
                if path != file.path and path.exists():
                    _take_over(directory, name, slot, file, outbox)
            undo.pop_all()
    except (OSError, sqlite3.Error) as exc:
        raise StorageError(f"The data directory {directory} cannot be used: {plain(exc)}.", hint=_CURE) from exc
    return file, outbox


def _claim_readable(directory: Path, name: str, new_id: Callable[[], str]) -> tuple[OutboxFile, Outbox]:
    for _ in range(2):
        file = _claim(directory, name, range(1, _SLOTS + 1))
        if file is None:
            raise StorageError(f"{_SLOTS} kernels use the session {name!r} already.")
        try:
            file.prepare()
            return file, file.load(new_id)
        except (sqlite3.DatabaseError, msgspec.DecodeError, StorageError) as exc:
            if not _is_damage(exc):
                file.close()
                raise
            _warn_of_damage(file.set_aside(), exc)
    raise StorageError(f"The data directory {directory} damages files.", hint=_CURE)


def _is_damage(exc: BaseException) -> bool:
    """Return whether a file's content is to blame, and not the disk, its rights or a lock."""
    if isinstance(exc, StorageError):
        return exc.__cause__ is not None and _is_damage(exc.__cause__)
    return not isinstance(exc, sqlite3.OperationalError)


def _warn_of_damage(aside: Path, exc: Exception) -> None:
    _log.warning(
        "the outbox was damaged (%s); messages that it still held are in %s and will not be sent", exc, aside)


def _path(directory: Path, name: str, slot: int) -> Path:
    # No session's name has a plus in it, so this is never another session's file.
    return directory / f"{name}.db" if slot == 1 else directory / f"{name}+{slot}.db"


def _claim(directory: Path, name: str, slots: Iterable[int]) -> OutboxFile | None:
    for slot in slots:
        path = _path(directory, name, slot)
        lock = filelock.FileLock(path.with_suffix(".lock"), mode=0o600)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            continue
        # Created before SQLite opens it, so that it is never readable by others, not even for a moment.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        # A path, never a URI; one thread at a time, though not always the same one.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        return OutboxFile(path, lock, db)
    return None


def _take_over(directory: Path, name: str, slot: int, file: OutboxFile, outbox: Outbox) -> None:
    """Move the undelivered messages of an ended kernel into this one's outbox.

    Their ids make sure that the server takes none of them twice, even where it has one already.
    """
    left = _claim(directory, name, [slot])
    if left is None:
        return
    try:
        left.prepare()
        rows = left.rows()
    except (sqlite3.DatabaseError, msgspec.DecodeError) as exc:
        if _is_damage(exc):
            _warn_of_damage(left.set_aside(), exc)
        else:
            left.close()
        return
    try:
        for row in rows:
            if row.kind == "message" and outbox.find(row.id) is None:
                _take_in(row, file, outbox)
    except StorageError:
        left.close()
        raise
    left.discard()


def _take_in(row: Row, file: OutboxFile, outbox: Outbox) -> None:
    if row.state == "queued" or (row.state == "written" and row.store == outbox.head.store != "v1"):
        moved = msgspec.structs.replace(row, csn=outbox.head.last_csn + 1, state="queued", store=None)
        file.add(outbox.head, moved)
        outbox.add(moved)
    else:
        parked = outbox.park(row)
        file.store(outbox.head, (parked,), ())
