"""What only a database with several servers on it can get wrong."""

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.postgres import Postgres, missing, postgres

from edchat_protocol.frames import Token, TokenData
from edchat_server.backlog import Backlog, StoryChange, StoryDraft, prepare
from edchat_server.settings import Settings, SettingsError
from edchat_server.sql import Connection
from edchat_server.store import Accepted, Claim, Command, Fenced, Say, Store, StoreError, StoreUnavailable

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (run.py test installs it)")
NOW = "2026-01-01T00:00:00Z"


@asynccontextmanager
async def replicas(server: Postgres, count: int = 2, **options: Any) -> AsyncIterator[list[Store]]:
    """Open stores on one fresh database, all at the same moment."""
    from edchat_server.store.postgres import PostgresStore

    url = server.url(server.database())
    opening = (PostgresStore.open(url, replica=f"srv_{n}", prepare=[prepare], **options) for n in range(count))
    stores = await asyncio.gather(*opening)
    async with AsyncExitStack() as stack:
        for store in stores:
            stack.push_async_callback(store.close)
        yield list(stores)


def on_replicas(
    server: Postgres, test: Callable[[list[Any]], Awaitable[None]], count: int = 2, **options: Any
) -> None:
    async def main() -> None:
        async with replicas(server, count, **options) as stores:
            await test(stores)

    asyncio.run(main())


def say(text: str, *, session: str = "s", csn: int | None = None) -> Command:
    return Command(
        session=session, client="c", csn=csn, id=f"m-{text}", fingerprint=text.encode(), work=Say(content=text)
    )


def token(claim: Claim) -> Token:
    return Token(run=claim.run, mid="m", off=0, data=TokenData(token="x"))


@pytest.mark.fault("F15", "servers start together on an empty database")
def test_servers_that_start_together_find_one_database(postgres_server: Postgres) -> None:
    async def test(stores: list[Store]) -> None:
        assert len({store.id for store in stores}) == 1

    on_replicas(postgres_server, test, count=5)


@pytest.mark.fault("F7", "the same command at several servers at once")
def test_a_command_offered_to_all_servers_at_once_is_taken_once(postgres_server: Postgres) -> None:
    async def test(stores: list[Store]) -> None:
        for csn in range(1, 13):
            given = await asyncio.gather(*(store.accept(say(f"{csn}", csn=csn)) for store in stores * 3))
            assert all(isinstance(outcome, Accepted) for outcome in given)
            assert len({outcome.run for outcome in given}) == 1
            assert sum(not outcome.duplicate for outcome in given) == 1
        assert await stores[0].unfinished() == 12

    on_replicas(postgres_server, test, count=3)


def test_a_new_session_that_all_servers_begin_at_once_is_one(postgres_server: Postgres) -> None:
    async def test(stores: list[Store]) -> None:
        for n in range(10):
            greetings = await asyncio.gather(
                *(store.greet(f"s{n}", f"c{k}", 1, cursor=0, epoch=None) for k, store in enumerate(stores * 3))
            )
            assert len({greeting.epoch for greeting in greetings}) == 1

    on_replicas(postgres_server, test)


@pytest.mark.fault("F15", "all servers claim and write at once")
def test_runs_are_shared_out_and_every_log_is_gapless(postgres_server: Postgres) -> None:
    async def serve(store: Store, done: list[str]) -> None:
        while (claim := await store.claim()) is not None:
            assert await store.append(claim, [token(claim)]) > 0
            # the queue of this session goes on growing while its run goes on
            await store.accept(say(f"more-{claim.run}", session=claim.session)) if "more" not in claim.content else None
            await store.append(claim, [token(claim), token(claim)])
            await store.finish(claim, "completed", [])
            done.append(claim.run)

    async def test(stores: list[Store]) -> None:
        for session, text in itertools.product(range(6), range(4)):
            await stores[0].accept(say(f"{text}", session=f"s{session}"))
        done: list[str] = []
        await asyncio.gather(*(serve(store, done) for store in stores * 3))
        for store in stores:
            await serve(store, done)
        assert len(done) == len(set(done)) == 48, "a run was carried out twice, or not at all"
        for session in range(6):
            rows = await stores[1].read_range(f"s{session}", 0, 1000)
            assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), "a gap in the log"

    on_replicas(postgres_server, test)


def test_a_session_has_one_run_and_keeps_its_order(postgres_server: Postgres) -> None:
    async def test(stores: list[Store]) -> None:
        for csn in (1, 2, 3):
            await stores[0].accept(say(str(csn), csn=csn))
        for wanted in ("1", "2", "3"):
            claims = [c for c in await asyncio.gather(*(s.claim() for s in stores * 3)) if c is not None]
            assert [claim.content for claim in claims] == [wanted]
            await stores[1].finish(claims[0], "completed", [])

    on_replicas(postgres_server, test)


@pytest.mark.fault("F15", "a server says nothing for longer than its lease")
def test_a_run_whose_owner_fell_silent_is_taken_over_and_the_owner_fenced(postgres_server: Postgres) -> None:
    async def test(stores: list[Any]) -> None:
        dead, other = stores
        await dead.accept(say("go"))
        old = await dead.claim()
        assert await other.claim() is None
        dead.drop(old)
        deadline = time.monotonic() + 30
        while (new := await other.claim()) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert (new.run, new.attempt, new.tries) == (old.run, 2, 2)
        for write in (
            dead.append(old, [token(old)]), dead.finish(old, "completed", []), dead.park(old),
            dead.effect(old, "call", lambda conn: {}),
        ):
            with pytest.raises(Fenced):
                await write
        await other.finish(new, "completed", [])

    on_replicas(postgres_server, test, lease=1.0)


@pytest.mark.fault("F25", "the event loop is blocked for longer than the lease")
def test_a_blocked_event_loop_keeps_its_run(postgres_server: Postgres) -> None:
    async def test(stores: list[Store]) -> None:
        await stores[0].accept(say("go"))
        claim = await stores[0].claim()
        assert claim is not None
        time.sleep(2.5)
        assert await stores[1].claim() is None, "a busy server lost its run"
        await stores[0].append(claim, [token(claim)])

    on_replicas(postgres_server, test, lease=1.0)


def test_a_takeover_waits_for_the_write_that_is_under_way(postgres_server: Postgres) -> None:
    async def test(stores: list[Any]) -> None:
        owner, other = stores
        await owner.accept(say("go"))
        claim = await owner.claim()
        await owner.submit(lambda conn: conn.execute("UPDATE runs SET lease_until = now() - interval '1 s'"))

        def slow(conn: Connection) -> dict[str, Any]:
            time.sleep(1)
            return {"made": 1}

        effect = asyncio.create_task(owner.effect(claim, "call", slow))
        await asyncio.sleep(0.3)
        assert await other.claim() is None, "taken over between the check of the fence and the commit"
        assert await effect == {"made": 1}
        new = await other.claim()
        assert new is not None
        assert await other.effects_of(new.run) == {"call"}

    on_replicas(postgres_server, test)


def test_stories_changed_by_two_sessions_at_once_lose_nothing(postgres_server: Postgres) -> None:
    def change(n: int) -> Callable[[Connection], dict[str, Any]]:
        def work(conn: Connection) -> dict[str, Any]:
            added = StoryChange(add_labels=(f"label{n}",))
            story = Backlog(conn, NOW).update_story("STORY-1", added, run_id=None, actor="a")
            return {"version": story.version}

        return work

    async def test(stores: list[Any]) -> None:
        await stores[0].submit(
            lambda conn: Backlog(conn, NOW).create_story(StoryDraft(title="Login page"), run_id=None, actor="a")
        )
        for n in range(8):
            await stores[0].accept(say("go", session=f"s{n}"))
        claims = [await stores[n % 2].claim() for n in range(8)]
        await asyncio.gather(*(stores[n % 2].effect(claims[n], "call", change(n)) for n in range(8)))
        story = await stores[1].read(lambda conn: Backlog(conn, NOW).get_story("STORY-1"))
        assert story.version == 9
        assert set(story.labels) == {f"label{n}" for n in range(8)}

    on_replicas(postgres_server, test)


def test_who_listens_here_hears_what_was_written_there(postgres_server: Postgres) -> None:
    async def test(stores: list[Any]) -> None:
        rung: list[str] = []
        heard = asyncio.Event()
        stores[1].watch(lambda: {"s"}, lambda session: (rung.append(session), heard.set()))
        await asyncio.sleep(0.6)
        heard.clear()
        rung.clear()
        await stores[0].accept(say("go"))
        await asyncio.wait_for(heard.wait(), 10)
        assert set(rung) == {"s"}

    on_replicas(postgres_server, test)


@pytest.mark.parametrize("cut", ["LISTEN", "pg_notify"])
def test_a_lost_notification_costs_a_poll_and_nothing_else(postgres_server: Postgres, cut: str) -> None:
    async def test(stores: list[Any]) -> None:
        heard = asyncio.Event()
        stores[1].watch(lambda: {"s"}, lambda session: heard.set())
        await asyncio.sleep(0.6)
        if cut == "LISTEN":
            await stores[0].submit(lambda conn: conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            ).fetchall())
        heard.clear()
        # written past the store, so that nobody is notified
        await stores[0].submit(lambda conn: conn.execute(
            "INSERT INTO sessions(id, epoch, last_seq, created) VALUES('s', 'e', 1, '')"
        ))
        await asyncio.wait_for(heard.wait(), 10)

    on_replicas(postgres_server, test)


def test_a_frozen_transaction_does_not_hold_up_the_others(postgres_server: Postgres) -> None:
    async def test(stores: list[Any]) -> None:
        await stores[0].accept(say("go"))
        claim = await stores[0].claim()

        def freeze(conn: Connection) -> dict[str, Any]:
            time.sleep(2)
            return {}

        frozen = asyncio.create_task(stores[0].effect(claim, "call", freeze))
        await asyncio.sleep(0.2)
        assert isinstance(await stores[1].accept(say("more")), Accepted)
        with pytest.raises(StoreError):
            await frozen
        assert await stores[0].effects_of(claim.run) == frozenset()

    on_replicas(postgres_server, test, lease=1.5)


def test_no_text_is_refused_for_its_letters(postgres_server: Postgres) -> None:
    async def test(stores: list[Any]) -> None:
        await stores[0].accept(say("a\x00b ? $1 %s \\ ' 😀"))
        claim = await stores[0].claim()
        assert claim.content == "a\ufffdb ? $1 %s \\ ' 😀"
        draft = StoryDraft(title="Login ? page", description="x\x00y %s")
        await stores[0].submit(lambda conn: Backlog(conn, NOW).create_story(draft, run_id=None, actor="a"))

    on_replicas(postgres_server, test)


@given(st.text(alphabet="a? 12$%", max_size=12))
def test_placeholders_are_numbered_as_sqlite_counts_them(sql: str) -> None:
    from edchat_server.store.postgres_links import numbered

    found = numbered(sql).decode()
    assert found.count("$") == sql.count("?") + sql.count("$")
    assert "?" not in found


def test_what_is_no_address_is_refused_without_being_repeated(postgres_server: Postgres) -> None:
    from edchat_server.store.postgres import PostgresStore

    with pytest.raises(SettingsError, match="EDCHAT_DATABASE") as refused:
        Settings.from_env({"EDCHAT_DATABASE": "mysql://me:geheim@db/x"})
    assert "geheim" not in str(refused.value)
    settings = Settings.from_env({"EDCHAT_DATABASE": "postgresql://me:geheim@127.0.0.1:1/x"})
    assert "geheim" not in repr(settings)
    for url in ("postgresql://me:geheim@127.0.0.1:1/x", "postgresql://me:geheim@127.0.0.1:port/x?what=3"):
        with pytest.raises(StoreError) as unreachable:
            asyncio.run(PostgresStore.open(url, replica="srv_1"))
        assert "geheim" not in str(unreachable.value)


def test_a_database_in_another_encoding_is_refused(postgres_server: Postgres) -> None:
    from edchat_server.store.postgres import PostgresStore

    postgres_server.execute("CREATE DATABASE narrow ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="takes UTF8"):
        asyncio.run(PostgresStore.open(postgres_server.url("narrow"), replica="srv_1"))


@pytest.mark.fault("F15", "servers start while another one writes all the time")
def test_a_server_that_starts_disturbs_nobody(postgres_server: Postgres) -> None:
    from edchat_server.store.postgres import PostgresStore

    def make(conn: Connection) -> dict[str, Any]:
        return {"made": Backlog(conn, NOW).create_story(StoryDraft(title="Login page"), run_id=None, actor="a").id}

    async def write(store: Any, session: str, over: asyncio.Event) -> None:
        n = 0
        while not over.is_set():
            n += 1
            await store.accept(say(f"{session}-{n}", session=session))
            claim = await store.claim()
            while claim is not None:
                await store.append(claim, [token(claim)])
                await store.effect(claim, "call", make)
                await store.finish(claim, "completed", [token(claim)])
                claim = await store.claim()

    async def main() -> None:
        url = postgres_server.url(postgres_server.database())
        first = await PostgresStore.open(url, replica="srv_0", prepare=[prepare])
        over = asyncio.Event()
        writers = [asyncio.create_task(write(first, f"s{n}", over)) for n in range(4)]
        for n in range(1, 25):
            await (await PostgresStore.open(url, replica=f"srv_{n}", prepare=[prepare])).close()
        over.set()
        await asyncio.gather(*writers)
        assert first.trouble is None
        await first.close()

    asyncio.run(main())


@pytest.mark.fault("F16", "PostgreSQL is frozen: it keeps its connections and says nothing")
def test_a_frozen_database_is_given_up_and_taken_up_again() -> None:
    from edchat_server.store.postgres import PostgresStore

    async def main(server: Postgres) -> None:
        store = await PostgresStore.open(server.url(server.database()), replica="srv_0", prepare=[prepare], lease=1.0)
        await store.head("s")
        with server.frozen():
            for _ in range(2):
                with pytest.raises(StoreError, match=r"does not answer|cannot be reached"):
                    await store.accept(say("go", csn=1))
            assert store.trouble is not None
        deadline = time.monotonic() + 30
        while True:
            try:
                outcome = await store.accept(say("go", csn=1))
                break
            except StoreError:
                assert time.monotonic() < deadline
        assert isinstance(outcome, Accepted)
        assert (await store.head("s"))[1] == 1, "taken twice"
        await store.close()

    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with postgres() as server:
        asyncio.run(main(server))


@pytest.mark.fault("F16", "PostgreSQL takes no writes for a while: a standby, or a provider's read-only mode")
def test_a_database_that_is_read_only_is_waited_for(postgres_server: Postgres) -> None:
    from edchat_server.store.postgres import PostgresStore

    async def main() -> None:
        name = postgres_server.database()
        store = await PostgresStore.open(postgres_server.url(name), replica="srv_0", prepare=[prepare])

        def set_to(mode: str) -> None:
            postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {mode}")
            postgres_server.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", name
            )

        set_to("on")
        with pytest.raises(StoreUnavailable):
            await store.accept(say("go", csn=1))
        assert store.trouble is not None
        set_to("off")
        assert isinstance(await store.accept(say("go", csn=1)), Accepted)
        assert store.trouble is None
        await store.close()

    asyncio.run(main())


@pytest.mark.fault("F16", "a server is stopped while PostgreSQL is frozen")
def test_a_server_can_be_stopped_while_its_database_is_frozen() -> None:
    from edchat_server.store.postgres import PostgresStore

    async def main(server: Postgres) -> None:
        store = await PostgresStore.open(server.url(server.database()), replica="srv_0", prepare=[prepare], lease=1.0)
        store.watch(lambda: {"s"}, lambda _: None)
        await store.accept(say("go", csn=1))
        assert await store.claim() is not None
        await asyncio.sleep(1)  # the lease has been renewed once, so that its connection hangs, too
        with server.frozen():
            async with asyncio.timeout(20):
                await asyncio.gather(store.head("s"), store.close(), return_exceptions=True)
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edchat-")]

    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with postgres() as server:
        asyncio.run(main(server))


def test_the_file_needs_none_of_its_packages() -> None:
    code = "import sys, edchat_server.app; sys.exit(any('psycopg' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
