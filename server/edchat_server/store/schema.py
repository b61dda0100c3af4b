"""The tables. One connection owns the file, so that readers never see half a transaction.

`sessions.trimmed_upto`: up to this seq the log may have holes, where tokens were that nobody needs any more.
`closed_mids.seq`: the event that made a message's tokens void. `runs.untrimmed`: when the run ended, as long
as its void tokens are in the log; '' means that they may go at once.
"""

from sqlite3 import Connection

PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # NORMAL can lose the last commits in a power cut: a seq that was shown would be given away again.
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=67108864",
)

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS meta(
        key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS sessions(
        id TEXT PRIMARY KEY, epoch TEXT NOT NULL, last_seq INTEGER NOT NULL DEFAULT 0,
        v1_seq INTEGER, created TEXT NOT NULL, trimmed_upto INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS clients(
        session TEXT NOT NULL REFERENCES sessions(id), client TEXT NOT NULL,
        last_csn INTEGER NOT NULL DEFAULT 0, conn INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY(session, client)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS inbox(
        session TEXT NOT NULL REFERENCES sessions(id), client TEXT NOT NULL, csn INTEGER,
        id TEXT NOT NULL, fingerprint BLOB NOT NULL, outcome TEXT NOT NULL,
        run TEXT, code TEXT, message TEXT, UNIQUE(session, client, csn))""",
    """CREATE UNIQUE INDEX IF NOT EXISTS inbox_once
        ON inbox(session, id) WHERE outcome = 'accepted'""",
    """CREATE TABLE IF NOT EXISTS events(
        session TEXT NOT NULL REFERENCES sessions(id), seq INTEGER NOT NULL, run TEXT,
        type TEXT NOT NULL, mid TEXT, body BLOB NOT NULL,
        PRIMARY KEY(session, seq)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS events_of_run ON events(run, seq)",
    """CREATE TABLE IF NOT EXISTS closed_mids(
        session TEXT NOT NULL, mid TEXT NOT NULL, seq INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY(session, mid)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS runs(
        n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        session TEXT NOT NULL REFERENCES sessions(id), input_id TEXT NOT NULL,
        content TEXT NOT NULL, history BLOB, state TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
        fence INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0,
        error TEXT, created TEXT NOT NULL, finished TEXT, last_seq INTEGER, untrimmed TEXT)""",
    """CREATE UNIQUE INDEX IF NOT EXISTS one_running
        ON runs(session) WHERE state IN ('running', 'cancelling')""",
    """CREATE INDEX IF NOT EXISTS runs_unfinished
        ON runs(state, n) WHERE state IN ('queued', 'running', 'cancelling')""",
    """CREATE TABLE IF NOT EXISTS tool_calls(
        key TEXT PRIMARY KEY, run TEXT NOT NULL, call TEXT NOT NULL, result BLOB NOT NULL) WITHOUT ROWID""",
)

_ADDED = (
    ("sessions", "trimmed_upto", "INTEGER NOT NULL DEFAULT 0"),
    ("closed_mids", "seq", "INTEGER NOT NULL DEFAULT 0"),
    ("runs", "last_seq", "INTEGER"),
    ("runs", "untrimmed", "TEXT"),
)
"""Columns that a database of an earlier version lacks."""

_INDEXES = (
    "CREATE INDEX IF NOT EXISTS runs_untrimmed ON runs(untrimmed) WHERE untrimmed IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS runs_of_session ON runs(session, last_seq) WHERE untrimmed IS NOT NULL",
)


def prepare(conn: Connection) -> None:
    """Make what is missing of the tables."""
    for statement in SCHEMA:
        conn.execute(statement)
    for table, column, kind in _ADDED:
        known = {row[1] for row in conn.execute(f"PRAGMA table_info({table})")}
        if column not in known:
            conn.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    for statement in _INDEXES:
        conn.execute(statement)
