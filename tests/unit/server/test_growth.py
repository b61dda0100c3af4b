"""What each message costs does not grow with what was said before: no statement reads through a table."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint

from edchat_protocol.frames import MessageData, MessageFrame, StatusData, StatusFrame, Token, TokenData
from edchat_server import delivery
from edchat_server.backlog import Backlog, StoryDraft
from edchat_server.backlog import prepare as backlog
from edchat_server.janitor import Janitor
from edchat_server.store import Accepted, Command, Say, SqliteStore, Stop, utc_now
from edchat_server.store.saver import FencedSaver

SMALL = {"meta", "epics", "backlog_counters", "last"}
"""What may be read through: it does not grow with what is said. `last` is one row, a subquery's."""


OF_WHAT_IS_OPEN = {"runs_open", "runs_queued", "one_running", "runs_untrimmed"}
"""Indexes of what waits or runs: they do not grow with what is over."""


class Watched:
    """A store, and every statement that it runs between `begin` and `end`."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.seen: set[str] = set()

    async def begin(self) -> None:
        await self.store.submit(lambda conn: conn.set_trace_callback(self.seen.add))  # type: ignore[attr-defined]

    async def end(self) -> dict[str, list[str]]:
        """Return the plan of each statement that reads or writes a table."""

        def plans(conn: Any) -> dict[str, list[str]]:
            conn.set_trace_callback(None)
            found = {}
            for sql in sorted(self.seen):
                if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql):
                    found[" ".join(sql.split())] = [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}")]
            return found

        return await self.store.submit(plans)


def scans(plan: list[str]) -> list[str]:
    """Return the steps that read a whole table, or a whole index, of those that grow."""
    found = [re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step) for step in plan]
    return [
        match.group(1) for match in found
        if match and match.group(1) not in SMALL and match.group(2) not in OF_WHAT_IS_OPEN
    ]


def command(n: int, work: Any, session: str = "s") -> Command:
    return Command(session=session, client="c", csn=n, id=f"m{n}", fingerprint=b"%d" % n, work=work)


async def talk(store: SqliteStore) -> None:
    """Everything that the server asks of its store, once."""
    saver = FencedSaver(store)
    greeting = await store.greet("s", "c", 1, cursor=0, epoch=None)
    said = await store.accept(command(1, Say(content="go")))
    await store.accept(command(1, Say(content="go")))
    assert isinstance(said, Accepted)
    claim = await store.claim()
    assert claim is not None
    config: Any = {"configurable": {
        "thread_id": "s", "checkpoint_ns": "", "edchat_run": claim.run, "edchat_fence": claim.fence,
    }}
    await saver.aget_tuple(config)
    written = await saver.aput(config, empty_checkpoint(), {}, {})
    await saver.aput_writes({"configurable": {**config["configurable"], **written["configurable"]}}, [("a", 1)], "t")
    await saver.aget_tuple(config)
    await store.run_frames(claim.run)
    await store.effects_of(claim.run)
    await store.intents_of(claim.run)
    await store.append(claim, [Token(run=claim.run, mid="a", off=0, data=TokenData(token="x"))])
    await store.effect(claim, "t1", lambda conn: {
        "id": Backlog(conn, utc_now()).create_story(StoryDraft(title="Login"), run_id=claim.run, actor="a").id
    })
    await store.intend(claim, "t2", "?")
    await store.settle(claim, "t2", {})
    await store.intend(claim, "t3", "?")
    await store.doubt(claim, "t3")
    await store.withdraw(claim, "t3")
    await store.run_state(claim.run)
    await store.unfinished()
    await store.park(claim)
    again = await store.claim()
    assert again is not None
    await store.accept(command(2, Say(content="waits")))
    await store.accept(command(3, Stop()))
    closing = MessageFrame(run=claim.run, mid="a", data=MessageData(content="x"))
    void = StatusFrame(run=claim.run, data=StatusData(status="retrying", supersedes=("b",)))
    await store.append(again, [closing, void])
    await store.finish(again, "completed", [StatusFrame(run=claim.run, data=StatusData(status="completed"))])
    await store.submit(lambda conn: store.checkpoints.prune(conn, "s"))
    await store.greet("s", "c", 2, cursor=2, epoch=greeting.epoch)
    await store.read_range("s", 1)
    _ = [page async for page in delivery.snapshot(store, "s")]
    await store.set_v1_cursor("s", 1)
    await store.v1_cursor("s")
    await store.answered_by_post("s", claim.run)
    await store.probe()
    await Janitor(store, timedelta(days=-1)).sweep()
    await store.recover()


def plans_of(path: Path, work: Callable[[SqliteStore], Any]) -> dict[str, list[str]]:
    async def main() -> dict[str, list[str]]:
        store = await SqliteStore.open(path, prepare=[backlog])
        watched = Watched(store)
        await watched.begin()
        await work(store)
        plans = await watched.end()
        await store.close()
        return plans

    return asyncio.run(main())


def test_no_statement_of_a_conversation_reads_through_a_table(tmp_path: Path) -> None:
    plans = plans_of(tmp_path / "edchat.db", talk)
    assert len(plans) > 60, "the statements were not seen"
    slow = {sql: plan for sql, plan in plans.items() if scans(plan)}
    assert not slow, "\n".join(f"{sql}\n    {plan}" for sql, plan in slow.items())
