"""The tables, and how SQLite is told to keep them.

`sessions.trimmed_upto`: up to this seq the log may have holes, where tokens were that nobody needs any more.
`closed_mids.seq`: the event that made a message's tokens void. `runs.untrimmed`: when the run ended, as long
as its void tokens are in the log; '' means that they may go at once. `intents`: calls of tools that act
outside the database, from before the call to its result; `doubt`: there will be none.
"""

from collections.abc import Iterable

from edchat_server.sql import Connection, Dialect, add_columns, create

PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # NORMAL can lose the last commits in a power cut: a seq that was shown would be given away again.
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=67108864",
)


def _tables(d: Dialect) -> Iterable[str]:
    return (
        f"""CREATE TABLE IF NOT EXISTS meta(
            key TEXT PRIMARY KEY, value TEXT NOT NULL) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS sessions(
            id TEXT PRIMARY KEY, epoch TEXT NOT NULL, last_seq BIGINT NOT NULL DEFAULT 0,
            v1_seq BIGINT, created TEXT NOT NULL, trimmed_upto BIGINT NOT NULL DEFAULT 0) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS clients(
            session TEXT NOT NULL REFERENCES sessions(id), client TEXT NOT NULL,
            last_csn BIGINT NOT NULL DEFAULT 0, conn BIGINT NOT NULL DEFAULT 0,
            PRIMARY KEY(session, client)) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS inbox(
            session TEXT NOT NULL REFERENCES sessions(id), client TEXT NOT NULL, csn BIGINT,
            id TEXT NOT NULL, fingerprint {d.blob} NOT NULL, outcome TEXT NOT NULL,
            run TEXT, code TEXT, message TEXT, UNIQUE(session, client, csn))""",
        """CREATE UNIQUE INDEX IF NOT EXISTS inbox_once
            ON inbox(session, id) WHERE outcome = 'accepted'""",
        f"""CREATE TABLE IF NOT EXISTS events(
            session TEXT NOT NULL REFERENCES sessions(id), seq BIGINT NOT NULL, run TEXT,
            type TEXT NOT NULL, mid TEXT, body {d.blob} NOT NULL,
            PRIMARY KEY(session, seq)) {d.by_key}""",
        "CREATE INDEX IF NOT EXISTS events_of_run ON events(run, seq)",
        f"""CREATE TABLE IF NOT EXISTS closed_mids(
            session TEXT NOT NULL, mid TEXT NOT NULL, seq BIGINT NOT NULL DEFAULT 0,
            PRIMARY KEY(session, mid)) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS runs(
            n {d.counter}, id TEXT NOT NULL UNIQUE,
            session TEXT NOT NULL REFERENCES sessions(id), input_id TEXT NOT NULL,
            content TEXT NOT NULL, history {d.blob}, state TEXT NOT NULL,
            attempt BIGINT NOT NULL DEFAULT 0, tries BIGINT NOT NULL DEFAULT 0,
            fence BIGINT NOT NULL DEFAULT 0, cancel BIGINT NOT NULL DEFAULT 0,
            error TEXT, created TEXT NOT NULL, finished TEXT, last_seq BIGINT, untrimmed TEXT)""",
        """CREATE UNIQUE INDEX IF NOT EXISTS one_running
            ON runs(session) WHERE state IN ('running', 'cancelling')""",
        "DROP INDEX IF EXISTS runs_unfinished",
        # SQLite takes a partial index only for a query that has its condition word for word.
        """CREATE INDEX IF NOT EXISTS runs_open
            ON runs(session, n) WHERE state IN ('queued', 'running', 'cancelling')""",
        "CREATE INDEX IF NOT EXISTS runs_queued ON runs(n) WHERE state = 'queued'",
        f"""CREATE TABLE IF NOT EXISTS tool_calls(
            key TEXT PRIMARY KEY, run TEXT NOT NULL, call TEXT NOT NULL, result {d.blob} NOT NULL) {d.by_key}""",
        "CREATE INDEX IF NOT EXISTS tool_calls_of_run ON tool_calls(run)",
        f"""CREATE TABLE IF NOT EXISTS intents(
            key TEXT PRIMARY KEY, run TEXT NOT NULL, call TEXT NOT NULL, unknown TEXT NOT NULL,
            doubt BIGINT NOT NULL DEFAULT 0) {d.by_key}""",
        "CREATE INDEX IF NOT EXISTS intents_of_run ON intents(run)",
    )


_ADDED = (
    ("sessions", "trimmed_upto", "BIGINT NOT NULL DEFAULT 0"),
    ("closed_mids", "seq", "BIGINT NOT NULL DEFAULT 0"),
    ("runs", "last_seq", "BIGINT"),
    ("runs", "untrimmed", "TEXT"),
)
"""Columns that a database of an earlier version lacks."""

_INDEXES = (
    "CREATE INDEX IF NOT EXISTS runs_untrimmed ON runs(untrimmed) WHERE untrimmed IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS runs_of_session ON runs(session, last_seq) WHERE untrimmed IS NOT NULL",
)


def prepare(conn: Connection, dialect: Dialect) -> None:
    """Make what is missing of the tables."""
    create(conn, _tables(dialect))
    add_columns(conn, dialect, _ADDED)
    create(conn, _INDEXES)
