"""Copies of the database file: made while the server runs, put back while it does not."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from edchat_protocol.frames import ErrorData, ErrorFrame, Logged, RunState, StatusData, StatusFrame
from edchat_server.sql import SQLITE

from . import intents, log, runs, schema
from .base import StoreError
from .sql_store import new_id, utc_now
from .sqlite import take

RESTORED = "The server was set back to a backup before this was answered; ask again if it is still wanted."


def backup(database: Path, target: Path) -> int:
    """Write a copy of the database as it is at this moment; return its size in bytes. Writers are not kept waiting.

    Raises:
        StoreError: there is no database, or the copy cannot be written. An existing `target` is replaced at the end.
    """
    if not database.is_file():
        raise StoreError(f"there is no database {database}; give the server's --data-dir")
    if target.exists() and target.samefile(database):
        raise StoreError(f"{target} is the database itself; give another file")
    part = target.with_name(f"{target.name}.part")
    try:
        with suppress(FileNotFoundError):
            part.unlink()
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        # Read-only: a second connection that could write a checkpoint is one too many for this file.
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as source:
            _copy(source, part)
        part.replace(target)
    except (OSError, sqlite3.Error) as exc:
        raise StoreError(f"the backup {target} cannot be written: {exc}") from None
    return target.stat().st_size


def restore(database: Path, source: Path) -> Path | None:
    """Put a backup in the database's place; return where the database that was there is now. No server may run.

    Every session gets a new epoch, so that no client takes the old log for the one that it knows; the database
    keeps its name. Runs that were not over are ended: what they did meanwhile outside would be done again.

    Raises:
        StoreLocked: a server uses the database.
        StoreError: `source` is no backup, or the files cannot be written.
    """
    lock = take(database)
    part = database.with_name(f"{database.name}.part")
    try:
        with suppress(FileNotFoundError):
            part.unlink()
        with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as found:
            _check(found, source)
            _copy(found, part)
        part.chmod(0o600)
        with closing(sqlite3.connect(part, isolation_level=None)) as conn:
            _begin_anew(conn)
        return _swap(database, part)
    except (OSError, sqlite3.Error) as exc:
        raise StoreError(f"{source} cannot be restored: {exc}") from None
    finally:
        lock.release()


def _copy(source: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, which can be carried about
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def _check(conn: sqlite3.Connection, source: Path) -> None:
    try:
        (sound,) = conn.execute("PRAGMA quick_check(1)").fetchone()
        named = conn.execute("SELECT value FROM meta WHERE key = 'store'").fetchone()
    except sqlite3.Error:
        sound, named = "", None
    if sound != "ok" or named is None:
        raise StoreError(f"{source} is no backup of an edchat server, or it is damaged")


def _begin_anew(conn: sqlite3.Connection) -> None:
    conn.execute("BEGIN")
    schema.prepare(conn, SQLITE)  # the backup may be of an earlier version
    for (session,) in conn.execute("SELECT id FROM sessions").fetchall():
        conn.execute("UPDATE sessions SET epoch = ? WHERE id = ?", (new_id("e"), session))
    left = conn.execute(f"SELECT id, session FROM runs WHERE state IN {runs.UNFINISHED} ORDER BY n").fetchall()  # noqa: S608
    for run, session in left:
        _end(conn, session, run)
    conn.execute("COMMIT")


def _end(conn: sqlite3.Connection, session: str, run: str) -> None:
    now = utc_now()
    state: RunState = "failed"
    error = ErrorData(error=RESTORED, message=RESTORED, code="unavailable", retryable=True)
    open_calls = intents.intents_of(conn, run).values()
    if open_calls:
        state, text = "uncertain", " ".join(unknown for unknown, _ in open_calls)
        error = ErrorData(error=text, message=text, code="uncertain", hint=intents.ADVICE)
    frames: list[Logged] = [
        ErrorFrame(run=run, timestamp=now, data=error),
        StatusFrame(run=run, timestamp=now, data=StatusData(status=state)),
    ]
    runs.close(conn, run, state, error.error, now=now, last_seq=log.append(conn, session, frames))


def _swap(database: Path, part: Path) -> Path | None:
    """Put `part` in the database's place; return where the old one is now, if there was one."""
    before = database.with_name(f"{database.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
    # What a write-ahead log holds belongs to its database, and to no other: also where only the log is left of it.
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            old = database.with_name(f"{database.name}{suffix}")
            if old.stat().st_size:
                old.replace(before.with_name(f"{before.name}{suffix}"))
            else:
                old.unlink()
    part.replace(database)
    return before if before.exists() else None
