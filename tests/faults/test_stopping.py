"""A run stopped at each of its steps, by a person or by the server's polite end: one end, and nothing half-shown."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests import external_api
from tests.scripted_server import ScriptedModel
from tests.server_fixtures import Client, server

from edchat_protocol.codec import decode_down
from edchat_protocol.frames import FINAL_RUN_STATES, Logged, StatusFrame, Token, ToolExecution
from edchat_server import failpoints
from edchat_server.agent.graph import build_agent
from edchat_server.audit import AuditLog
from edchat_server.backlog import Backlog, StoryQuery, prepare
from edchat_server.hub import Hub
from edchat_server.runner import Runner
from edchat_server.store import Accepted, Command, Say, SqliteStore, Stop, saver, utc_now

POINTS = [
    "claimed", "checkpoint_committed", "checkpoint_committed:3", "checkpoint_committed:5", "checkpoint_committed:7",
    "part_messages", "part_messages:3", "part_messages:9", "part_updates", "part_updates:2", "part_updates:3",
    "part_updates:4", "part_custom", "part_custom:2", "effect_before", "effect_before:2", "effect_committed",
    "effect_committed:2", "appended", "appended:3", "finish_before",
]
OUTSIDE = ["intent_before", "intent_committed", "external_done", "external_recorded", "part_updates:3"]


@contextmanager
def at(point: str, act: Callable[[], None]) -> Iterator[list[str]]:
    """Have `act` called in the midst of the step at which a fail-point is reached; yields whether it was."""
    name, _, nth = point.partition(":")
    left = int(nth or 1)
    reached: list[str] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        if event == "call" and frame.f_code is failpoints.reach.__code__ and frame.f_locals["name"] == name:
            left -= 1
            if left == 0:
                reached.append(point)
                act()

    sys.setprofile(watch)
    try:
        yield reached
    finally:
        sys.setprofile(None)


class Life:
    """A store with a runner, in this process; a second one can take over."""

    def __init__(self, store: SqliteStore, api: str | None = None) -> None:
        self.store = store
        more = external_api.tools(api) if api else ()
        agent = build_agent(ScriptedModel(), checkpointer=saver.FencedSaver(store), more_tools=more)
        self.runner = Runner(store, Hub(), AuditLog(None), agent)

    async def say(self, text: str) -> str:
        command = Command(session="s", client="c", csn=1, id="m", fingerprint=b"m", work=Say(content=text))
        outcome = await self.store.accept(command)
        assert isinstance(outcome, Accepted)
        assert outcome.run is not None
        return outcome.run

    async def stop(self, run: str, *, client: str, csn: int = 1) -> None:
        work = Stop(run=run)
        name = f"{client}-{csn}"
        outcome = await self.store.accept(
            Command(session="s", client=client, csn=csn, id=name, fingerprint=name.encode(), work=work)
        )
        assert outcome == Accepted(run=run, csn=csn)
        self.runner.wake()

    async def over(self, run: str) -> str:
        async with asyncio.timeout(30):
            while (state := await self.store.run_state(run)) not in FINAL_RUN_STATES:
                await asyncio.sleep(0.01)
        return str(state)

    async def log(self) -> list[Logged]:
        rows = await self.store.read_range("s", 0, 10_000)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        return [decode_down(row.body) for row in rows]  # type: ignore[misc]

    async def check(self, state: str) -> tuple[list[str], list[str]]:
        """The log has one end, and shows exactly what was done. Return the stories, and the tools that succeeded."""
        log = await self.log()
        ends = [f.data.status for f in log if isinstance(f, StatusFrame) and f.data.status in FINAL_RUN_STATES]
        assert ends == [state]
        assert isinstance(log[-1], StatusFrame), "something came after the end"
        steps = {f.step: f for f in log if isinstance(f, ToolExecution)}
        assert all(f.data.status in ("completed", "error") for f in steps.values()), "a tool was left running"
        shown = sorted(a.data["title"] for f in steps.values() for a in f.data.artifacts if a.type == "story")
        found, _ = await self.store.read(lambda conn: Backlog(conn, utc_now()).list_stories(StoryQuery()))
        assert sorted(story.title for story in found) == shown, "what was done and what is shown differ"
        return shown, [f.data.tool for f in steps.values() if f.data.status == "completed"]


def on_store(path: Path, test: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(path, prepare=[prepare])
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())


@pytest.mark.fault("F22", "cancelled at a named place, from two clients")
@pytest.mark.parametrize("point", POINTS)
def test_a_run_cancelled_anywhere_has_one_end_and_shows_all_that_it_did(tmp_path: Path, point: str) -> None:
    async def test(store: SqliteStore) -> None:
        life = Life(store)
        run = await life.say("make Login | Logout")
        stops: list[asyncio.Future[Any]] = []

        def cancel() -> None:
            stops.append(asyncio.ensure_future(asyncio.gather(life.stop(run, client="a"), life.stop(run, client="b"))))

        with at(point, cancel) as reached:
            await life.runner.start()
            state = await life.over(run)
        await asyncio.gather(*stops)
        assert reached, "the run never came to this point"
        assert state in ("cancelled", "completed")
        await life.check(state)
        await life.stop(run, client="a", csn=2)  # of a run that is over: taken, and without effect
        await life.check(state)
        await life.runner.drain(0)

    on_store(tmp_path / "db", test)


@pytest.mark.fault("F22", "cancelled around a call of an external API")
@pytest.mark.parametrize("point", OUTSIDE)
@pytest.mark.parametrize("kind", ["keyed", "marked", "blind"])
def test_a_cancellation_waits_for_what_happens_outside(tmp_path: Path, kind: str, point: str) -> None:
    with external_api.external_api() as api:

        async def test(store: SqliteStore) -> None:
            life = Life(store, api.url)
            run = await life.say(f"push {kind} Login")
            stops: list[asyncio.Future[None]] = []
            with at(point, lambda: stops.append(asyncio.ensure_future(life.stop(run, client="a")))) as reached:
                await life.runner.start()
                state = await life.over(run)
            await asyncio.gather(*stops)
            assert reached
            _, tools = await life.check(state)
            assert state in ("cancelled", "completed")
            assert len(api.made) == (f"push_{kind}" in tools), "done and not shown, or shown and not done"
            await life.runner.drain(0)

        on_store(tmp_path / "db", test)


@pytest.mark.fault("F4", "told to stop (SIGTERM) at a named place; the next server goes on")
@pytest.mark.parametrize("point", [*POINTS[:-1], *OUTSIDE[1:3]])
def test_a_drained_run_is_taken_up_by_the_next_server(tmp_path: Path, point: str) -> None:
    with external_api.external_api() as api:

        async def test(store: SqliteStore) -> None:
            outside = point in OUTSIDE
            first = Life(store, api.url)
            run = await first.say("push marked Login" if outside else "make Login | Logout")
            drains: list[asyncio.Future[None]] = []
            with at(point, lambda: drains.append(asyncio.ensure_future(first.runner.drain(0)))) as reached:
                await first.runner.start()
                async with asyncio.timeout(30):
                    while not drains:
                        await asyncio.sleep(0.001)
                    await asyncio.gather(*drains)
            assert reached
            assert await store.run_state(run) in ("queued", "completed"), "a drained run was not given back"
            second = Life(store, api.url)
            await second.runner.start()
            assert await second.over(run) == "completed"
            stories, _ = await second.check("completed")
            assert stories == (["Login"] if outside else ["Login", "Logout"])
            assert api.titles() == (["Login"] if outside else [])
            await second.runner.drain(0)

        on_store(tmp_path / "db", test)


@pytest.mark.fault("F22", "kill -9 after a cancellation was accepted, at its commit and before the run's end")
@pytest.mark.parametrize("point", ["accept_written:2", "accept_committed:2", "finish_before", "finish_written"])
def test_a_cancellation_outlives_the_server(tmp_path: Path, point: str) -> None:
    data = tmp_path / "data"
    stop = {"type": "cancel", "id": "x-1", "csn": 2, "data": {}}
    with server(data, "--pause", "0.02", EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        client.say("slow 500", id="m-1")
        client.until("token")
        client.send(stop)
        assert first.wait() == 137, (data / "server.log").read_text(encoding="utf-8")
        client.close()
    with server(data, "--pause", "0.02") as second:
        client.server = second
        client.open()
        client.send(stop)
        client.until("ack")
        while not (ends := ends_of(client)):
            client.recv()
        assert ends == ["cancelled"]
        client.close()


def ends_of(client: Client) -> list[str]:
    events = (client.log[seq] for seq in sorted(client.log))
    return [e["data"]["status"] for e in events if e["type"] == "status" and e["data"]["status"] in FINAL_RUN_STATES]


def test_nothing_of_a_cancelled_run_comes_after_its_end(tmp_path: Path) -> None:
    async def test(store: SqliteStore) -> None:
        life = Life(store)
        run = await life.say("slow 2000")
        await life.runner.start()
        await asyncio.sleep(0.05)
        await life.stop(run, client="a")
        assert await life.over(run) == "cancelled"
        before = len(await life.log())
        await asyncio.sleep(0.2)
        log = await life.log()
        assert len(log) == before
        assert any(isinstance(frame, Token) for frame in log), "what was said before is kept"
        await life.runner.drain(0)

    on_store(tmp_path / "db", test)
