"""A disk that is full or fails: what was acknowledged is there, what was refused is not, and it heals."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edchat_protocol.frames import StatusData, StatusFrame, Token, TokenData
from edchat_server.store import Accepted, Claim, Command, Quota, Refused, Say, SqliteStore, Stop, StoreError
from edchat_server.store.owner import Owner

pytestmark = pytest.mark.fault("F12", "the disk ends at any byte of the database")

resource = pytest.importorskip("resource", reason="limits of a process exist on Unix only")


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let every write behind the first `size` bytes of any file of this process fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, **options)
    try:
        yield store
    finally:
        await store.close()


def say(n: int, *, client: str = "c", size: int = 3000) -> Command:
    return Command(
        session="s", client=client, csn=n, id=f"{client}-{n}", fingerprint=b"%d" % n, work=Say(content="x" * size)
    )


def token(claim: Claim, n: int) -> Token:
    return Token(run=claim.run, mid=f"a{n}", off=0, data=TokenData(token="y" * 500))


async def log_of(store: SqliteStore) -> list[int]:
    return [row.seq for row in await store.read_range("s", 0, 10_000)]


@pytest.mark.parametrize("step", range(0, 40_000, 1777))
def test_a_disk_that_ends_anywhere_loses_nothing_acknowledged(tmp_path: Path, step: int) -> None:
    async def main() -> None:
        path = tmp_path / "edchat.db"
        async with opened(path) as store:
            await store.accept(say(1))
            claim = await store.claim()
            assert claim is not None
            wal = Path(f"{path}-wal").stat().st_size
            shown, taken, n = 1, [1], 1
            with no_file_beyond(wal + step):
                try:
                    while n < 100:
                        n += 1
                        await store.accept(say(n))
                        taken.append(n)
                        shown = await store.append(claim, [token(claim, n)])
                except StoreError:
                    assert store.trouble
                assert n < 100, "the disk was never full"
                assert len(await log_of(store)) >= shown, "a full disk must not keep anybody from reading"
            await store.probe()
            assert store.trouble is None
            again = await store.accept(say(n))
            assert isinstance(again, Accepted), again
            assert await log_of(store) == list(range(1, (await store.head("s"))[1] + 1))
        async with opened(path) as store:
            for each in taken:
                outcome = await store.accept(say(each))
                assert isinstance(outcome, Accepted), outcome
                assert outcome.duplicate, "what was acknowledged is gone"
            assert await store.unfinished() == n, "a message became two runs, or none"

    asyncio.run(main())


class Unsynced:
    """A connection whose commits fail as on a disk that can no longer be synced."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, sql: str, *args: Any) -> Any:
        if sql == "COMMIT":
            failure = sqlite3.OperationalError("disk I/O error")
            failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise failure
        return self._conn.execute(sql, *args)


class Failing(Owner):
    """An owner some of whose commits fail; counts how often it opened the file anew."""

    failures = 0
    reopened = 0

    def _run(self, conn: Any, batch: Any) -> bool:
        if not self.failures:
            return super()._run(conn, batch)
        self.failures -= 1
        return super()._run(Unsynced(conn), batch)  # type: ignore[arg-type]

    def _reopen(self, conn: sqlite3.Connection) -> sqlite3.Connection:
        self.reopened += 1
        return super()._reopen(conn)


async def as_one(
    store: SqliteStore, *calls: Awaitable[Any], before: Callable[[], None] = lambda: None
) -> list[Any]:
    """Have the calls done in one transaction; return their results, and what they raised."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(conn: Any) -> None:
        begun.set()
        go_on.wait(10)

    holding = asyncio.create_task(store.submit(hold))
    await asyncio.to_thread(begun.wait, 10)
    together = asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(0)  # now they wait together
    before()
    go_on.set()
    await holding
    return await together


def test_a_failed_commit_fails_those_who_wrote_and_lets_the_others_see_only_what_is_stored(tmp_path: Path) -> None:
    owners: list[Failing] = []

    def make(*given: Any) -> Owner:
        owners.append(Failing(*given))
        return owners[0]

    async def main() -> None:
        async with opened(tmp_path / "edchat.db", make_owner=make) as store:
            (owner,) = owners
            await store.accept(say(1))
            def fail_once() -> None:
                owner.failures = 1

            written, read, again = await as_one(
                store, store.accept(say(2)), log_of(store), store.accept(say(1)), before=fail_once
            )
            assert isinstance(written, StoreError)
            assert read == [1], "an event was shown that is not in the database"
            assert isinstance(again, Accepted)
            assert (again.csn, again.duplicate) == (1, True)
            assert owner.reopened == 1, "after such a failure the connection's view of the file is not to be trusted"
            assert isinstance(await store.accept(say(2)), Accepted)
            assert store.trouble is None

    asyncio.run(main())


def test_a_job_that_fills_the_disk_fails_alone(tmp_path: Path) -> None:
    def almost_full(conn: Any) -> None:
        pages = conn.execute("PRAGMA page_count").fetchone()[0]
        conn.execute(f"PRAGMA max_page_count={pages + 50}").fetchone()

    async def main() -> None:
        async with opened(tmp_path / "edchat.db") as store:
            await store.submit(almost_full)
            small, huge, other = await as_one(
                store, store.accept(say(1, client="a")), store.accept(say(1, client="b", size=5_000_000)),
                store.accept(say(1, client="d")),
            )
            assert isinstance(huge, StoreError)
            assert isinstance(small, Accepted)
            assert isinstance(other, Accepted)

    asyncio.run(main())


def test_new_messages_leave_a_reserve_on_the_disk_for_the_runs_that_were_begun(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "edchat.db") as store:
            await store.accept(say(1))
            claim = await store.claim()
        assert claim is not None
        async with opened(tmp_path / "edchat.db", quota=Quota(reserve=2**62)) as store:
            assert "disk is nearly full" in (store.trouble or "")
            refused = await store.accept(say(2))
            assert isinstance(refused, Refused)
            assert (refused.code, refused.final, refused.csn) == ("storage", False, 1)
            assert "MiB" in refused.message
            assert isinstance(await store.accept(say(1)), Accepted), "what was taken is still acknowledged"
            done = StatusFrame(run=claim.run, data=StatusData(status="completed"))
            assert await store.finish(claim, "completed", [done]) == 2
        async with opened(tmp_path / "edchat.db") as store:
            assert isinstance(await store.accept(say(2)), Accepted), "its csn must not be used up"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("quota", "words"),
    [(Quota(events=3), "has 3 events"), (Quota(bytes=65_536), "database is full")],
)
def test_a_quota_refuses_new_messages_in_plain_words_and_lets_a_run_be_stopped(
    tmp_path: Path, quota: Quota, words: str
) -> None:
    async def main() -> None:
        async with opened(tmp_path / "edchat.db", quota=quota) as store:
            outcome: Accepted | Refused = Accepted(run=None, csn=0)
            csn = 0
            while isinstance(outcome, Accepted) and csn < 100:
                csn += 1
                outcome = await store.accept(say(csn))
            assert isinstance(outcome, Refused)
            assert (outcome.code, outcome.final) == ("storage", False)
            assert words in outcome.message
            stop = Command(session="s", client="c", csn=csn, id="stop", fingerprint=b"", work=Stop())
            assert isinstance(await store.accept(stop), Accepted)

    asyncio.run(main())


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock that another process takes to write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


@pytest.mark.fault("F11", "another process holds the lock, for longer than anybody waits")
def test_a_lock_that_stays_refuses_the_write_and_not_the_reading(tmp_path: Path) -> None:
    def impatient(path: Path, steps: Any) -> Owner:
        return Owner(path, steps, patience=0.1)

    async def main() -> None:
        async with opened(tmp_path / "edchat.db", make_owner=impatient) as store:
            await store.accept(say(1))
            with locked(tmp_path / "edchat.db"):
                written, read = await asyncio.gather(store.accept(say(2)), log_of(store), return_exceptions=True)
                assert isinstance(written, StoreError)
                assert "locked" in str(written)
                assert read == [1]
                assert "locked" in (store.trouble or "")
                assert await log_of(store) == [1]
            await store.probe()
            assert store.trouble is None
            assert isinstance(await store.accept(say(2)), Accepted)

    asyncio.run(main())


@pytest.mark.fault("F11", "another process holds the lock for a moment")
def test_a_lock_that_goes_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "edchat.db") as store:
            with locked(tmp_path / "edchat.db") as other:
                asyncio.get_running_loop().call_later(0.5, other.execute, "COMMIT")
                assert isinstance(await store.accept(say(1)), Accepted)
            assert store.trouble is None

    asyncio.run(main())


class UnsureOwner(Owner):
    """The disk takes the next commit, and says that it did not."""

    unsure = False

    def _connect(self) -> sqlite3.Connection:
        owner, conn = self, super()._connect()

        class Unsure:
            def __getattr__(self, name: str) -> Any:
                return getattr(conn, name)

            def execute(self, sql: str, *args: Any) -> Any:
                found = conn.execute(sql, *args)
                if sql == "COMMIT" and owner.unsure:
                    owner.unsure = False
                    failed = sqlite3.OperationalError("disk I/O error")
                    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR
                    raise failed
                return found

        return Unsure()  # type: ignore[return-value]


@pytest.mark.fault("F12", "a claim whose commit failed and is in the file nevertheless")
def test_a_claim_of_which_nobody_heard_does_not_block_its_session(tmp_path: Path) -> None:
    async def main() -> None:
        owners: list[UnsureOwner] = []

        def own(path: Path, steps: Any) -> Owner:
            owners.append(UnsureOwner(path, steps))
            return owners[0]

        store = await SqliteStore.open(tmp_path / "edchat.db", make_owner=own)
        await store.accept(replace(say(1), session="held"))
        held = await store.claim()
        assert held is not None
        await store.accept(say(1))
        owners[0].unsure = True
        with pytest.raises(StoreError):
            await store.claim()
        found = await store.claim()
        assert found is not None, "the run waits for somebody who does not know of it"
        assert found.session == "s"
        assert await store.claim() is None
        await store.append(held, [token(held, 1)])
        await store.close()

    asyncio.run(main())
