"""Many views of one session: they read the log once together, and each sees all of it."""

import asyncio
from pathlib import Path

import pytest

from edchat_protocol.frames import Token, TokenData
from edchat_server import delivery
from edchat_server.hub import Hub
from edchat_server.store import Claim, Command, Say, SqliteStore, StoreError
from edchat_server.store.base import Row

VIEWS = 50


class Counting(SqliteStore):
    reads = 0

    async def read_range(self, session: str, after: int, limit: int = 200) -> list[Row]:
        self.reads += 1
        return await super().read_range(session, after, limit)


async def begun(path: Path) -> tuple[Counting, Claim]:
    store = await Counting.open(path)
    assert isinstance(store, Counting)
    await store.accept(Command(session="s", client="c", csn=None, id="m", fingerprint=b"", work=Say(content="go")))
    claim = await store.claim()
    assert claim is not None
    return store, claim


def test_fifty_views_read_the_log_together_and_each_sees_every_event(tmp_path: Path) -> None:
    async def main() -> None:
        store, claim = await begun(tmp_path / "db")
        hub = Hub()

        async def view(number: int) -> list[int]:
            seen: list[int] = []
            with hub.listen("s") as listener:
                follower = delivery.follow(store, listener, "s", 0)
                async for rows in follower:
                    seen += [row.seq for row in rows]
                    if number % 7 == 0:
                        await asyncio.sleep(0.003 * (number % 5))  # some are slower, and at other places then
                    if seen and seen[-1] == 101:
                        break
                await follower.aclose()
            return seen

        views = [asyncio.create_task(view(n)) for n in range(VIEWS)]
        leavers = [asyncio.create_task(view(n)) for n in range(VIEWS)]
        for off in range(100):
            await store.append(claim, [Token(run=claim.run, mid="a", off=off, data=TokenData(token="x"))])
            hub.ring("s")
            leavers.pop().cancel() if leavers else None
            await asyncio.sleep(0.001 * (off % 3))
        async with asyncio.timeout(20):
            assert all(seen == list(range(1, 102)) for seen in await asyncio.gather(*views))
        assert store.reads < VIEWS * 100 / 4, "each view reads for itself"
        assert hub.connections == 0
        await store.close()

    asyncio.run(main())


def test_a_read_that_began_before_the_ring_is_not_shared_after_it() -> None:
    async def main() -> None:
        hub, log = Hub(), [1]
        slow = asyncio.Event()

        async def read() -> list[int]:
            found = list(log)
            await slow.wait()
            return found

        with hub.listen("s") as first, hub.listen("s") as second:
            early = asyncio.create_task(first.share(0, read))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            log.append(2)
            hub.ring("s")
            late = asyncio.create_task(second.share(0, read))
            await asyncio.sleep(0)
            slow.set()
            assert await early == [1]
            assert await late == [1, 2], "the bell rang for an event that the answer lacks"

    asyncio.run(main())


def test_a_failed_read_fails_all_who_shared_it_and_nobody_later() -> None:
    async def main() -> None:
        hub = Hub()

        async def fail() -> None:
            raise StoreError("gone")

        async def work() -> int:
            return 1

        with hub.listen("s") as listener:
            outcomes = await asyncio.gather(*(listener.share(0, fail) for _ in range(3)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StoreError] * 3
            assert await listener.share(0, work) == 1
            with pytest.raises(StoreError):
                await listener.share(0, fail)

    asyncio.run(main())
