"""The backlog's tables."""

SCHEMA: tuple[str, ...] = (
    # AUTOINCREMENT would do for one table; a counter of its own also outlives an emptied table.
    """CREATE TABLE IF NOT EXISTS backlog_counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS epics (
        key TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) WITHOUT ROWID""",
    # `body` is the story; the generated columns only make it searchable, so they cannot disagree with it.
    """CREATE TABLE IF NOT EXISTS stories (
        number INTEGER PRIMARY KEY,
        body TEXT NOT NULL,
        epic_key TEXT NOT NULL REFERENCES epics (key),
        assignee_key TEXT NOT NULL,
        search TEXT NOT NULL,
        priority TEXT GENERATED ALWAYS AS (json_extract(body, '$.priority')) VIRTUAL,
        status TEXT GENERATED ALWAYS AS (json_extract(body, '$.status')) VIRTUAL,
        type TEXT GENERATED ALWAYS AS (json_extract(body, '$.type')) VIRTUAL
    )""",
    "CREATE INDEX IF NOT EXISTS stories_by_priority ON stories (priority, number)",
    "CREATE INDEX IF NOT EXISTS stories_by_epic ON stories (epic_key, priority, number)",
    "CREATE INDEX IF NOT EXISTS stories_by_status ON stories (status, priority, number)",
    """CREATE TABLE IF NOT EXISTS story_history (
        number INTEGER NOT NULL,
        version INTEGER NOT NULL,
        changed_at TEXT NOT NULL,
        actor TEXT NOT NULL,
        run_id TEXT,
        before TEXT,
        after TEXT NOT NULL,
        PRIMARY KEY (number, version)
    ) WITHOUT ROWID""",
)
