"""The tables. One connection owns the file, so that readers never see half a transaction."""

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
        v1_seq INTEGER, created TEXT NOT NULL) WITHOUT ROWID""",
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
        session TEXT NOT NULL, mid TEXT NOT NULL, PRIMARY KEY(session, mid)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS runs(
        n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        session TEXT NOT NULL REFERENCES sessions(id), input_id TEXT NOT NULL,
        content TEXT NOT NULL, history BLOB, state TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
        fence INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0,
        error TEXT, created TEXT NOT NULL, finished TEXT)""",
    """CREATE UNIQUE INDEX IF NOT EXISTS one_running
        ON runs(session) WHERE state IN ('running', 'cancelling')""",
    """CREATE INDEX IF NOT EXISTS runs_unfinished
        ON runs(state, n) WHERE state IN ('queued', 'running', 'cancelling')""",
    """CREATE TABLE IF NOT EXISTS tool_calls(
        key TEXT PRIMARY KEY, run TEXT NOT NULL, call TEXT NOT NULL, result BLOB NOT NULL) WITHOUT ROWID""",
)
