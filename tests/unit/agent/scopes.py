"""A run's scope on a real SQLite database in memory, with a ledger like the server's."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from edchat_server.backlog import Backlog, StoryDraft, StoryQuery, prepare
from edchat_server.sql import SQLITE

T = TypeVar("T")
NOW = "2026-01-01T00:00:00Z"


class MemoryScope:
    """Keeps stories and a ledger of tool calls; `effects` counts the work really done."""

    def __init__(self, session: str = "s1", run_id: str = "run-1") -> None:
        self.session = session
        self.run_id = run_id
        self.effects = 0
        self.fail_with: BaseException | None = None
        self._conn = sqlite3.connect(":memory:", isolation_level=None)
        self._ledger: dict[str, dict[str, Any]] = {}
        prepare(self._conn, SQLITE)

    @property
    def acted(self) -> set[str]:
        return {key.removeprefix(f"{self.run_id}:") for key in self._ledger}

    def close(self) -> None:
        self._conn.close()

    async def effect(self, tool_call_id: str, work: Callable[[Backlog], dict[str, Any]]) -> dict[str, Any]:
        if self.fail_with is not None:
            raise self.fail_with
        key = f"{self.run_id}:{tool_call_id}"
        if key not in self._ledger:
            self._ledger[key] = self.write(work)
            self.effects += 1
        return self._ledger[key]

    async def read(self, work: Callable[[Backlog], T]) -> T:
        return work(Backlog(self._conn, NOW))

    def write(self, work: Callable[[Backlog], T]) -> T:
        self._conn.execute("BEGIN IMMEDIATE")
        try:
            result = work(Backlog(self._conn, NOW))
        except BaseException:
            self._conn.execute("ROLLBACK")
            raise
        self._conn.execute("COMMIT")
        return result

    def add(self, **fields: Any) -> Any:
        return self.write(lambda b: b.create_story(StoryDraft(**fields), run_id="given", actor="test"))

    def lines(self) -> list[str]:
        stories, _ = Backlog(self._conn, NOW).list_stories(StoryQuery())
        return sorted(f"{s.id} · {s.priority} · {s.title} · {s.epic}" for s in stories)

    def story(self, story_id: str) -> Any:
        return Backlog(self._conn, NOW).get_story(story_id)
