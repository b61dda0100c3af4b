"""One life of a run over LangGraph as it is, with any durability: ``python -m tests.faults.late_save FILE DURABILITY``.

The ledger is ours, its key the tool call's id; the checkpoints are LangGraph's own, on a disk that takes a tenth
of a second. The first life dies inside the first tool; the next one resumes, and prints the calls that have acted.
"""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from tests.scripted_server import ScriptedModel

from edchat_server.agent.graph import build_agent
from edchat_server.backlog import Backlog, prepare
from edchat_server.sql import SQLITE

CONFIG: Any = {"configurable": {"thread_id": "s1"}}


@dataclass
class Scope:
    """A `RunScope` without a server."""

    db: sqlite3.Connection
    dies: bool
    run_id: str = "r1"
    session: str = "s1"

    async def effect(self, tool_call_id: str, work: Callable[[Backlog], dict[str, Any]]) -> dict[str, Any]:
        with self.db:
            found = self.db.execute("SELECT result FROM done WHERE call = ?", (tool_call_id,)).fetchone()
            if found:
                return dict(json.loads(found[0]))
            result = work(Backlog(self.db, "2026-01-01T00:00:00Z"))
            self.db.execute("INSERT INTO done VALUES(?, ?)", (tool_call_id, json.dumps(result)))
        if self.dies:
            os._exit(137)
        return result

    async def read(self, work: Callable[[Backlog], Any]) -> Any:
        return work(Backlog(self.db, "2026-01-01T00:00:00Z"))


class SlowSaver(AsyncSqliteSaver):
    """LangGraph's own, where saving takes its time."""

    async def aput(self, *given: Any) -> Any:
        await asyncio.sleep(0.1)
        return await super().aput(*given)


async def live(file: str, durability: Any) -> None:
    db = sqlite3.connect(f"{file}.ledger")
    prepare(db, SQLITE)
    db.execute("CREATE TABLE IF NOT EXISTS done(call TEXT PRIMARY KEY, result TEXT)")
    async with SlowSaver.from_conn_string(file) as checkpointer:
        agent = build_agent(ScriptedModel(), checkpointer=checkpointer)
        begun = (await agent.aget_state(CONFIG)).tasks
        given = None if begun else {"messages": [HumanMessage(content="make Login", id="m-1")]}
        dies = not db.execute("SELECT count(*) FROM done").fetchone()[0]
        stream = agent.astream(
            given, CONFIG, context=Scope(db, dies), durability=durability, stream_mode=["messages", "updates"]
        )
        async for _ in stream:
            pass
    print(json.dumps([call for (call,) in db.execute("SELECT call FROM done")]))


if __name__ == "__main__":
    asyncio.run(live(*sys.argv[1:]))
