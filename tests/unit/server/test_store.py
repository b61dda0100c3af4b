"""The store: accepted once, gapless, fenced, and honest when the disk is not."""

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import empty_checkpoint
from tests.stores import Stores, on_store, opened

from edchat_protocol.codec import decode_down
from edchat_protocol.frames import MessageData, MessageFrame, StatusData, StatusFrame, Token, TokenData
from edchat_server.audit import AuditLog
from edchat_server.hub import Hub
from edchat_server.runner import Runner
from edchat_server.sql import Connection
from edchat_server.store import (
    Accepted,
    Claim,
    Command,
    Fenced,
    Refused,
    Reject,
    Say,
    SqliteStore,
    Stop,
    Store,
    StoreError,
    StoreLocked,
)
from edchat_server.store.base import Intent
from edchat_server.store.saver import FencedSaver


def on_file(tmp_path: Path, test: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "edchat.db")
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())


def say(text: str, *, csn: int | None = 1, message_id: str | None = None, client: str = "c") -> Command:
    return Command(
        session="s", client=client, csn=csn, id=message_id or f"m-{text}", fingerprint=text.encode(),
        work=Say(content=text),
    )


async def claimed(store: Store, text: str = "go") -> Claim:
    await store.accept(say(text, csn=None))
    claim = await store.claim()
    assert claim is not None
    return claim


async def kinds(store: Store) -> list[str]:
    frames = [decode_down(row.body) for row in await store.read_range("s", 0)]
    return [f.data.status if isinstance(f, StatusFrame) else type(f).__name__ for f in frames]


def test_a_repeated_command_changes_nothing(stores: Stores) -> None:
    async def test(store: Store) -> None:
        first = await store.accept(say("a"))
        assert isinstance(first, Accepted)
        again = await store.accept(say("a"))
        assert again == Accepted(run=first.run, csn=1, duplicate=True)
        other_client = await store.accept(say("a", client="d"))
        assert other_client == Accepted(run=first.run, csn=1, duplicate=True)
        assert (await store.head("s"))[1] == 1

    on_store(stores, test)


def test_a_gap_a_conflict_and_a_refusal(stores: Stores) -> None:
    async def test(store: Store) -> None:
        gap = await store.accept(say("b", csn=3))
        assert isinstance(gap, Refused)
        assert (gap.code, gap.expect, gap.final) == ("gap", 1, False)
        await store.accept(say("a", csn=1))
        conflict = await store.accept(say("z", csn=1))
        assert isinstance(conflict, Refused)
        assert (conflict.code, conflict.final) == ("conflict", True)
        bad = Command(session="s", client="c", csn=2, id="bad", fingerprint=b"", work=Reject(
            code="empty_message", message="the message is empty"))
        for _ in range(2):
            refused = await store.accept(bad)
            assert isinstance(refused, Refused)
            assert (refused.code, refused.final, refused.csn) == ("empty_message", True, 2)
        third = await store.accept(say("c", csn=3))
        assert isinstance(third, Accepted), "a refused command must not block those behind it"
        same_id = await store.accept(say("other text", csn=4, message_id="m-a"))
        assert isinstance(same_id, Refused)
        assert same_id.code == "conflict"
        assert await store.unfinished() == 2

    on_store(stores, test)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.tuples(st.sampled_from("cd"), st.integers(1, 4)), max_size=25))
def test_whatever_is_resent_each_message_runs_once_and_the_log_has_no_gap(
    stores: Stores, order: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        async with opened(stores) as store:
            taken: set[str] = set()
            for client, csn in order:
                outcome = await store.accept(say(f"{client}{csn}", csn=csn, client=client))
                if isinstance(outcome, Accepted):
                    taken.add(f"{client}{csn}")
            assert await store.unfinished() == len(taken)
            rows = await store.read_range("s", 0)
            assert [row.seq for row in rows] == list(range(1, len(rows) + 1))

    asyncio.run(main())


def test_one_run_a_session_in_the_order_of_the_messages(stores: Stores) -> None:
    async def test(store: Store) -> None:
        for n in (1, 2):
            await store.accept(say(str(n), csn=n))
        first = await store.claim()
        assert first is not None
        assert first.content == "1"
        assert await store.claim() is None
        await store.finish(first, "completed", [])
        second = await store.claim()
        assert second is not None
        assert second.content == "2"

    on_store(stores, test)


def test_an_attempt_that_lost_its_run_can_write_nothing(stores: Stores) -> None:
    async def test(store: Store) -> None:
        old = await claimed(store)
        await stores.orphan(store)
        new = await store.claim()
        assert new is not None
        assert (new.run, new.attempt) == (old.run, 2)
        status = StatusFrame(run=old.run, data=StatusData(status="processing"))
        saver = FencedSaver(store)
        config: Any = {"configurable": {
            "thread_id": "s", "checkpoint_ns": "", "edchat_run": old.run, "edchat_fence": old.fence,
        }}
        for write in (
            store.append(old, [status]),
            store.finish(old, "completed", []),
            store.park(old),
            store.effect(old, "call", lambda conn: {"made": 1}),
            store.intend(old, "outside", "?"),
            store.settle(old, "outside", {"made": 1}),
            store.withdraw(old, "outside"),
            store.doubt(old, "outside"),
            saver.aput(config, empty_checkpoint(), {}, {}),
            saver.aput_writes({"configurable": {**config["configurable"], "checkpoint_id": "x"}}, [], "t"),
        ):
            with pytest.raises(Fenced):
                await write
        assert await kinds(store) == ["MessageFrame"]
        await store.append(new, [status])

    on_store(stores, test)


def test_what_happens_outside_is_noted_before_and_settled_after(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await claimed(store)
        assert await store.intend(claim, "a", "Not known.") == Intent()
        assert await store.intend(claim, "a", "Not known.") == Intent(again=True)
        assert await store.intents_of(claim.run) == {"a": ("Not known.", False)}
        await store.settle(claim, "a", {"n": 1})
        assert await store.intend(claim, "a", "Not known.") == Intent(result={"n": 1})
        await store.intend(claim, "b", "Nor this.")
        await store.doubt(claim, "b")
        assert await store.intend(claim, "b", "Nor this.") == Intent(again=True, doubt=True)
        assert await store.intents_of(claim.run) == {"b": ("Nor this.", True)}
        await store.intend(claim, "c", "?")
        await store.withdraw(claim, "c")
        assert await store.intend(claim, "c", "?") == Intent()
        assert await store.effects_of(claim.run) == {"a"}

    on_store(stores, test)


def test_an_effect_and_its_record_are_one(stores: Stores) -> None:
    async def test(store: Store) -> None:
        await store.submit(lambda conn: conn.execute("CREATE TABLE IF NOT EXISTS made(n BIGINT)"))
        claim = await claimed(store)

        def make(conn: Connection) -> dict[str, Any]:
            conn.execute("INSERT INTO made VALUES(1)")
            return {"n": conn.execute("SELECT count(*) FROM made").fetchone()[0]}

        def fail(conn: Connection) -> dict[str, Any]:
            make(conn)
            raise ValueError("no")

        assert await store.effect(claim, "a", make) == {"n": 1}
        assert await store.effect(claim, "a", make) == {"n": 1}, "done twice"
        with pytest.raises(ValueError, match="no"):
            await store.effect(claim, "b", fail)
        assert await store.effect(claim, "b", make) == {"n": 2}, "a failed effect left something behind"
        assert await store.effects_of(claim.run) == {"a", "b"}

    on_store(stores, test)


def test_a_tool_call_with_a_long_id_has_its_effect_once(stores: Stores) -> None:
    """Some providers put kilobytes of their own into the ids of tool calls: more than PostgreSQL's indexes take."""

    async def test(store: Store) -> None:
        claim = await claimed(store)
        one, other = (secrets.token_hex(4000) for _ in range(2))
        for n in (1, 2):
            assert await store.effect(claim, one, lambda conn: {"n": n}) == {"n": 1}  # noqa: B023 - called at once
        assert await store.intend(claim, other, "?") == Intent()
        assert await store.intend(claim, other, "?") == Intent(again=True)
        await store.settle(claim, other, {"n": 3})
        assert await store.intend(claim, other, "?") == Intent(result={"n": 3})
        assert await store.effects_of(claim.run) == {one, other}

    on_store(stores, test)


def test_cancelling(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await claimed(store)
        await store.accept(say("waits", csn=None))
        stop = Command(session="s", client="c", csn=1, id="x", fingerprint=b"x", work=Stop())
        assert isinstance(await store.accept(stop), Accepted)
        assert await kinds(store) == ["MessageFrame", "MessageFrame", "queued", "cancelling", "cancelled"]
        assert await store.run_state(claim.run) == "cancelling"
        await store.finish(claim, "cancelled", [])
        late = Command(session="s", client="c", csn=2, id="y", fingerprint=b"y", work=Stop(run=claim.run))
        assert await store.accept(late) == Accepted(run=claim.run, csn=2)
        assert await store.run_state(claim.run) == "cancelled"

    on_store(stores, test)


def test_cancelling_a_run_that_was_begun_and_waits_again(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await claimed(store)
        await store.park(claim)
        for n in (1, 2):
            stop = Command(session="s", client="c", csn=n, id=f"x{n}", fingerprint=b"x", work=Stop())
            assert isinstance(await store.accept(stop), Accepted)
        assert await kinds(store) == ["MessageFrame", "cancelling"]
        again = await store.claim()
        assert again is not None
        assert (again.run, again.cancel) == (claim.run, True)

    on_store(stores, test)


def test_a_snapshot_leaves_out_the_tokens_that_later_events_made_void(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await claimed(store)
        for mid in ("closed", "void", "open"):
            await store.append(claim, [Token(run=claim.run, mid=mid, off=0, data=TokenData(token="x"))])
        await store.append(claim, [
            MessageFrame(run=claim.run, mid="closed", data=MessageData(content="x")),
            StatusFrame(run=claim.run, data=StatusData(status="retrying", supersedes=("void",))),
        ])
        page = await store.snapshot("s", 6)
        frames = [decode_down(raw) for raw in page.frames]
        assert [f.mid for f in frames if isinstance(f, Token)] == ["open"]
        assert page.after is None

    on_store(stores, test)


def test_how_a_client_resumes(stores: Stores) -> None:
    async def test(store: Store) -> None:
        fresh = await store.greet("s", "c", 5, cursor=0, epoch=None)
        assert (fresh.replay, fresh.head, fresh.stale) == (True, 0, False)
        await store.accept(say("a"))
        replay = await store.greet("s", "c", 6, cursor=0, epoch=fresh.epoch)
        assert (replay.replay, replay.accepted_csn) == (True, 1)
        assert (await store.greet("s", "c", 4, cursor=0, epoch=fresh.epoch)).stale
        assert not (await store.greet("s", "d", 1, cursor=0, epoch=None)).replay
        assert not (await store.greet("s", "d", 2, cursor=1, epoch="e_other")).replay
        lost = await store.greet("s", "d", 3, cursor=9, epoch=fresh.epoch)
        assert not lost.replay
        assert lost.epoch != fresh.epoch, "a client ahead of the log has seen another log"

    on_store(stores, test)


def test_a_full_disk_stores_nothing_says_so_and_heals(tmp_path: Path) -> None:
    async def test(store: SqliteStore) -> None:
        claim = await claimed(store)

        def fill(conn: sqlite3.Connection) -> None:
            pages = conn.execute("PRAGMA page_count").fetchone()[0]
            conn.execute(f"PRAGMA max_page_count={pages}")

        await store.submit(fill)
        big = [Token(run=claim.run, mid="m", off=0, data=TokenData(token="x" * 50_000))] * 4
        with pytest.raises(StoreError):
            await store.append(claim, big)
        assert store.trouble
        assert (await store.head("s"))[1] == 1, "a failed append used up a seq"
        assert store.trouble, "a disk that can be read is no disk that can be written"
        assert len(await store.read_range("s", 0)) == 1
        await store.submit(lambda conn: conn.execute("PRAGMA max_page_count=1000000").fetchone())
        assert await store.append(claim, big) == 5
        assert store.trouble is None

    on_file(tmp_path, test)


def test_one_callers_failure_does_not_touch_the_others(stores: Stores) -> None:
    async def test(store: Store) -> None:
        def bad(conn: Connection) -> None:
            conn.execute("INSERT INTO meta VALUES('half', '1')")
            raise KeyError("mine")

        good = [store.accept(say(str(n), csn=None)) for n in range(20)]
        outcomes = await asyncio.gather(*good[:10], store.submit(bad), *good[10:], return_exceptions=True)
        assert sum(isinstance(o, Accepted) for o in outcomes) == 20
        assert sum(isinstance(o, KeyError) for o in outcomes) == 1
        left = await store.submit(lambda conn: conn.execute("SELECT 1 FROM meta WHERE key='half'").fetchall())
        assert left == []

    on_store(stores, test)


def test_a_damaged_file_is_the_stores_failure(tmp_path: Path) -> None:
    async def test(store: SqliteStore) -> None:
        def damaged(conn: sqlite3.Connection) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        with pytest.raises(StoreError, match="malformed"):
            await store.submit(damaged)

    on_file(tmp_path, test)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write in .*file; give another --data-dir|file: .*--data-dir"):
        asyncio.run(SqliteStore.open(tmp_path / "file" / "edchat.db"))


def test_a_second_store_on_the_same_file_is_refused(tmp_path: Path) -> None:
    async def test(store: SqliteStore) -> None:
        with pytest.raises(StoreLocked, match="another edchat server already uses"):
            await SqliteStore.open(tmp_path / "edchat.db")

    on_file(tmp_path, test)
    on_file(tmp_path, nothing_is_there)


async def nothing_is_there(store: Store) -> None:
    assert await kinds(store) == []


def test_a_run_that_was_given_back_is_no_poison(stores: Stores) -> None:
    async def test(store: Store) -> None:
        await store.accept(say("go", csn=None))
        for attempt in (1, 2, 3, 4, 5):
            claim = await store.claim()
            assert claim is not None
            assert (claim.attempt, claim.tries) == (attempt, 1)
            await store.park(claim)

    on_store(stores, test)


@pytest.mark.fault("F5", "the runner is told to save late: refused")
@pytest.mark.parametrize("durability", ["async", "exit"])
def test_only_sync_durability_is_accepted(stores: Stores, durability: str) -> None:
    async def test(store: Store) -> None:
        with pytest.raises(ValueError, match="exactly once only with 'sync'"):
            Runner(store, Hub(), AuditLog(None), None, durability=durability)

    on_store(stores, test)
