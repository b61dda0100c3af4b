"""What leaves the log is in no snapshot, and nobody is given a log with a hole."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stores import Stores, on_store, opened

from edchat_protocol.codec import decode_down
from edchat_protocol.frames import (
    Logged,
    MessageData,
    MessageFrame,
    Snapshot,
    StatusData,
    StatusFrame,
    Token,
    TokenData,
)
from edchat_server import delivery
from edchat_server.hub import Hub
from edchat_server.janitor import Janitor
from edchat_server.store import Claim, Command, Say, Store, Trimmed

LATER = "9"


async def begun(store: Store, name: str) -> Claim:
    said = Command(session="s", client="c", csn=None, id=name, fingerprint=name.encode(), work=Say(content=name))
    await store.accept(said)
    claim = await store.claim()
    assert claim is not None
    return claim


def token(claim: Claim, mid: str, off: int) -> Token:
    return Token(run=claim.run, mid=mid, off=off, data=TokenData(token="x"))


def closing(claim: Claim, mid: str, text: str = "x") -> MessageFrame:
    return MessageFrame(run=claim.run, mid=mid, data=MessageData(content=text))


def done(claim: Claim) -> StatusFrame:
    return StatusFrame(run=claim.run, data=StatusData(status="completed"))


def frames_of(claim: Claim, script: list[tuple[str, str]]) -> list[Logged]:
    """Tokens of a few texts; a text may be completed or declared void, and has no token after that."""
    frames: list[Logged] = []
    lengths: dict[str, int] = {}
    over: set[str] = set()
    for act, name in script:
        mid = f"{claim.run}-{name}"
        if mid in over:
            continue
        if act == "token":
            frames.append(token(claim, mid, lengths.get(mid, 0)))
            lengths[mid] = lengths.get(mid, 0) + 1
            continue
        over.add(mid)
        if act == "close":
            frames.append(closing(claim, mid, "x" * lengths.get(mid, 0)))
        else:
            frames.append(StatusFrame(run=claim.run, data=StatusData(status="retrying", supersedes=(mid,))))
    return frames


async def snapshot_at(store: Store, head: int, size: int = 10_000) -> list[bytes]:
    found, after = list[bytes](), 0
    while True:
        page = await store.snapshot("s", head, after, size)
        found += [bytes(frame) for frame in page.frames]
        if page.after is None:
            return found
        assert page.after > after, "a page that goes nowhere"
        after = page.after


ACTS = st.lists(st.tuples(st.sampled_from(["token"] * 6 + ["close", "void"]), st.sampled_from("ab")), max_size=14)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(ACTS, min_size=1, max_size=4), rows=st.integers(1, 5), size=st.sampled_from([1, 300, 100_000]))
def test_a_snapshot_is_the_same_before_and_after_trimming(
    stores: Stores, runs: list[list[tuple[str, str]]], rows: int, size: int
) -> None:
    async def main() -> None:
        async with opened(stores) as store:
            for n, script in enumerate(runs):
                claim = await begun(store, f"m{n}")
                await store.append(claim, frames_of(claim, script))
                await store.finish(claim, "completed", [done(claim)])
            epoch, head = await store.head("s")
            before, whole = await snapshot_at(store, head), await store.read_range("s", 0, 1000)
            while await store.trim(LATER, rows):
                # at every step of the way, since a client may come at any
                assert await snapshot_at(store, head, size) == before
            left = await store.read_range("s", 0, 1000)
            for cursor in range(head + 1):
                greeting = await store.greet("s", "c", cursor + 1, cursor=cursor, epoch=epoch)
                after = [row for row in whole if row.seq > cursor]
                if greeting.replay:
                    assert [row for row in left if row.seq > cursor] == after, "a replay with a hole"
            assert len(left) == len(before), "a token that no snapshot has was kept"

    asyncio.run(main())


def test_pages_of_one_snapshot_fit_together_while_the_log_grows(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await begun(store, "m")
        for off in range(6):
            await store.append(claim, [token(claim, "open", off)])
        head = (await store.head("s"))[1]
        first = await store.snapshot("s", head, 0, 300)
        assert first.after is not None
        # the text is completed while the client still reads; at `head` it was not
        await store.append(claim, [closing(claim, "open", "xxxxxx")])
        second = await store.snapshot("s", head, first.after)
        mids = [getattr(decode_down(raw), "mid", None) for raw in (*first.frames, *second.frames)]
        assert mids == ["m", *["open"] * 6]

    on_store(stores, test)


def test_a_reader_overtaken_by_the_janitor_begins_anew(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await begun(store, "m")
        await store.append(claim, [token(claim, "a", 0), token(claim, "a", 1), closing(claim, "a", "xx")])
        await store.finish(claim, "completed", [])
        with Hub().listen("s") as listener:
            reader = delivery.follow(store, listener, "s", 1)
            while await store.trim(LATER):
                pass
            with pytest.raises(Trimmed):
                await anext(reader)
            old = delivery.follow(store, listener, "s", 1, holes=True)
            assert [row.seq for row in await anext(old)] == [4], "a version 1 client needs no tokens"
            await old.aclose()
        with pytest.raises(Trimmed):
            await store.snapshot("s", 2)

    on_store(stores, test)


def test_only_what_is_old_is_trimmed(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await begun(store, "m")
        await store.append(claim, [token(claim, "a", 0), closing(claim, "a")])
        day = timedelta(days=1)
        now = datetime.now(UTC)
        await Janitor(store, day, lambda: now + 2 * day).sweep()
        assert len(await store.read_range("s", 0)) == 3, "of a run that is not over"
        await store.finish(claim, "completed", [])
        await Janitor(store, day, lambda: now + day / 2).sweep()
        assert len(await store.read_range("s", 0)) == 3
        await Janitor(store, day, lambda: now + 2 * day).sweep()
        assert len(await store.read_range("s", 0)) == 2

    on_store(stores, test)


def test_of_a_long_session_the_beginning_is_trimmed_at_once(stores: Stores) -> None:
    async def test(store: Store) -> None:
        for n in range(3):
            claim = await begun(store, f"m{n}")
            tokens = [token(claim, f"a{n}", off) for off in range(10)]
            await store.append(claim, [*tokens, closing(claim, f"a{n}")])
            await store.finish(claim, "completed", [])
        await Janitor(store, timedelta(days=1)).sweep()
        kept = [row.seq for row in await store.read_range("s", 0)]
        assert kept == [1, 12, 13, 24, *range(25, 37)]

    on_store(stores, test, keep_events=12)


def test_a_snapshot_goes_out_in_pages_and_the_last_one_moves_the_cursor(stores: Stores) -> None:
    async def test(store: Store) -> None:
        claim = await begun(store, "m")
        await store.append(claim, [
            closing(claim, f"a{n}", "x" * 50_000) for n in range(6)
        ])
        sent = [out async for out in delivery.snapshot(store, "s")]
        pages = [frame.data for out in sent if isinstance(frame := decode_down(out.body), Snapshot)]
        assert [(p.page, p.last_page, len(p.frames)) for p in pages] == [(1, False, 3), (2, False, 2), (3, True, 2)]
        assert [out.seq for out in sent] == [None, None, 7]

    on_store(stores, test)
