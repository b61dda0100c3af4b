"""The backlog's tables."""

from collections.abc import Iterable

from edchat_server.sql import Connection, Dialect, create


def prepare(conn: Connection, dialect: Dialect) -> None:
    """Make what is missing of the tables."""
    create(conn, _tables(dialect))


def _tables(d: Dialect) -> Iterable[str]:
    return (
        # AUTOINCREMENT would do for one table; a counter of its own also outlives an emptied table.
        f"""CREATE TABLE IF NOT EXISTS backlog_counters (
            name TEXT PRIMARY KEY,
            value INTEGER NOT NULL
        ) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS epics (
            key TEXT {d.bytewise} PRIMARY KEY,
            name TEXT NOT NULL,
            created_at TEXT NOT NULL
        ) {d.by_key}""",
        # `body` is the story; the generated columns only make it searchable, so they cannot disagree with it.
        f"""CREATE TABLE IF NOT EXISTS stories (
            number INTEGER PRIMARY KEY,
            body TEXT NOT NULL,
            epic_key TEXT {d.bytewise} NOT NULL REFERENCES epics (key),
            assignee_key TEXT NOT NULL,
            search TEXT NOT NULL,
            priority {d.json_field('body', 'priority')},
            status {d.json_field('body', 'status')},
            type {d.json_field('body', 'type')}
        )""",
        "CREATE INDEX IF NOT EXISTS stories_by_priority ON stories (priority, number)",
        "CREATE INDEX IF NOT EXISTS stories_by_epic ON stories (epic_key, priority, number)",
        "CREATE INDEX IF NOT EXISTS stories_by_status ON stories (status, priority, number)",
        f"""CREATE TABLE IF NOT EXISTS story_history (
            number INTEGER NOT NULL,
            version INTEGER NOT NULL,
            changed_at TEXT NOT NULL,
            actor TEXT NOT NULL,
            run_id TEXT,
            before TEXT,
            after TEXT NOT NULL,
            PRIMARY KEY (number, version)
        ) {d.by_key}""",
    )
