"""Attempts at runs, on a real store, with an agent that does exactly what a test says."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from edchat_protocol.codec import decode_down
from edchat_protocol.frames import ErrorFrame, StatusFrame, ToolExecution
from edchat_server.agent.external import Blind
from edchat_server.audit import AuditLog
from edchat_server.hub import Hub
from edchat_server.identity import OPERATOR
from edchat_server.intake import Intake
from edchat_server.runner import Runner
from edchat_server.store import Accepted, Claim, Command, Say, SqliteStore, Stop, StoreError, StoreUnavailable

Script = Callable[[Any], AsyncIterator[tuple[str, Any]]]


class Scripted:
    """Stands where the compiled graph stands; keeps no checkpoint."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def aget_state(self, config: Any) -> Any:
        return SimpleNamespace(values={}, metadata=None, tasks=(), next=())

    async def astream(self, source: Any, *, context: Any, durability: str, **options: Any) -> Any:
        assert durability == "sync"
        async for part in self._script(context):
            yield part


async def opened(path: Path) -> SqliteStore:
    return await SqliteStore.open(path)


def said(text: str) -> Command:
    return Command(session="s", client="c", csn=None, id=text, fingerprint=b"", work=Say(content=text))


async def over(store: SqliteStore, run: str) -> str:
    async with asyncio.timeout(20):
        while (state := await store.run_state(run)) in ("queued", "running", "cancelling"):
            await asyncio.sleep(0.01)
    return str(state)


async def log_of(store: SqliteStore) -> list[Any]:
    return [decode_down(row.body) for row in await store.read_range("s", 0)]


async def first_run(store: SqliteStore) -> str:
    outcome = await store.accept(said("go"))
    return str(outcome.run)  # type: ignore[union-attr]


def call() -> AIMessage:
    return AIMessage(content="", id="m1", tool_calls=[{"id": "a", "name": "create_story", "args": {}}])


RUNNING = {"kind": "tool", "tool_call_id": "a", "tool": "create_story", "title": "Create story"}


def test_a_run_that_kills_its_server_three_times_is_given_up(tmp_path: Path) -> None:
    async def never(context: Any) -> AsyncIterator[tuple[str, Any]]:
        raise AssertionError("a poisonous run was tried again")
        yield ("", None)

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        for _ in range(3):
            await store.claim()
            await store.recover()
        runner = Runner(store, Hub(), AuditLog(None), Scripted(never))  # type: ignore[arg-type]
        await runner.start()
        assert await over(store, run) == "failed"
        log = await log_of(store)
        (error,) = [frame for frame in log if isinstance(frame, ErrorFrame)]
        assert error.data.retryable
        assert "3 times" in error.data.error
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


def test_a_stop_waits_until_what_a_tool_did_is_shown(tmp_path: Path) -> None:
    """The stop comes when the story is made and its result is not yet in the log."""
    made, go_on = asyncio.Event(), asyncio.Event()

    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        yield "updates", {"model": {"messages": [call()]}}
        yield "custom", RUNNING
        await context.effect("a", lambda backlog: {"made": 1})
        made.set()
        await go_on.wait()
        yield "updates", {"tools": {"messages": [ToolMessage("made", tool_call_id="a")]}}
        await asyncio.sleep(60)
        yield "messages", (AIMessageChunk(content="too late", id="m2"), {})

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        await asyncio.wait_for(made.wait(), 20)
        await store.accept(
            Command(session="s", client="c", csn=1, id="x", fingerprint=b"x", work=Stop(run=run))
        )
        runner.wake()
        await asyncio.sleep(0.1)
        assert await store.run_state(run) == "cancelling"
        go_on.set()
        assert await over(store, run) == "cancelled"
        tools = [f for f in await log_of(store) if isinstance(f, ToolExecution)]
        assert [f.data.status for f in tools] == ["pending", "running", "completed"]
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


def test_a_stop_before_the_effect_keeps_it_from_happening(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        yield "updates", {"model": {"messages": [call()]}}
        yield "custom", RUNNING
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await context.effect("a", lambda backlog: {"made": 1})

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        await asyncio.wait_for(begun.wait(), 20)
        await store.accept(Command(session="s", client="c", csn=1, id="x", fingerprint=b"x", work=Stop()))
        runner.wake()
        await over(store, run)
        log = await log_of(store)
        assert [f.data.status for f in log if isinstance(f, ToolExecution)][-1] == "error"
        assert not await store.effects_of(run)
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


def test_the_log_holds_a_thousand_tokens_in_few_events(tmp_path: Path) -> None:
    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        for n in range(1000):
            yield "messages", (AIMessageChunk(content=f"{n} ", id="m1"), {})
        yield "updates", {"model": {"messages": [
            AIMessage(content="".join(f"{n} " for n in range(1000)), id="m1")]}}

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        assert await over(store, run) == "completed"
        log = await log_of(store)
        assert len(log) < 50
        assert [f.data.status for f in log if isinstance(f, StatusFrame)] == ["processing", "completed"]
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


class Grumpy(AuditLog):
    """A log on a disk that is full."""

    class _Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, line: Any) -> int:
            raise OSError(28, "No space left on device")

    def __init__(self) -> None:
        super().__init__(None)
        self._file = self._Full()


def test_an_audit_log_that_cannot_be_written_costs_neither_the_message_nor_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        yield "updates", {"model": {"messages": [call()]}}
        yield "custom", RUNNING
        yield "updates", {"tools": {"messages": [ToolMessage("made", tool_call_id="a")]}}

    async def main() -> None:
        store = await opened(tmp_path / "db")
        audit = Grumpy()
        runner = Runner(store, Hub(), audit, Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        outcome = await Intake(store, Hub(), audit, runner.wake).take(said("go"), OPERATOR)
        assert isinstance(outcome, Accepted)
        assert await over(store, str(outcome.run)) == "completed"
        audit.close()
        await runner.drain(0)
        await store.close()

    asyncio.run(main())
    assert len([r for r in caplog.records if "No space left" in r.getMessage()]) == 1


def test_an_event_that_cannot_be_written_ends_its_run_and_not_the_session(tmp_path: Path) -> None:
    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        odd = ToolMessage("made", tool_call_id="a", artifact={"type": "story", "data": {"id": object()}})
        yield "updates", {"model": {"messages": [call()]}}
        yield "updates", {"tools": {"messages": [odd]}}
        await asyncio.sleep(0.1)

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        assert await over(store, run) == "failed"
        assert any(isinstance(frame, ErrorFrame) for frame in await log_of(store))
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


def test_the_queue_is_served_whatever_goes_wrong_with_it_once(tmp_path: Path) -> None:
    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        yield "messages", (AIMessageChunk(content="hi", id="m1"), {})

    class Odd(SqliteStore):
        failures = 1

        async def claim(self) -> Claim | None:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("never seen before")
            return await super().claim()

    async def main() -> None:
        store = await Odd.open(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        assert await over(store, run) == "completed"
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


def test_a_newer_connection_stays_however_late_the_older_one_arrives() -> None:
    async def main() -> None:
        hub, closed = Hub(), list[int]()

        def close(conn: int) -> Any:
            async def done(code: int, reason: str) -> None:
                assert code == 4409
                closed.append(conn)

            return done

        with hub.place("s", "c", 6, close(6)) as six:
            hub.greeted("s", "c", six)
            with hub.place("s", "c", 5, close(5)) as five:
                hub.greeted("s", "c", five)
                await asyncio.sleep(0)
            assert closed == [5]
            with hub.place("s", "c", 7, close(7)) as seven:
                await asyncio.sleep(0)
                assert closed == [5], "closed before the newer one had its welcome"
                hub.greeted("s", "c", seven)
                await asyncio.sleep(0)
            assert closed == [5, 6]

    asyncio.run(main())


def test_a_run_does_not_complete_over_an_effect_of_which_nobody_knows(tmp_path: Path) -> None:
    """The tool itself gave up waiting, and said so to the model as if nothing had been sent."""

    async def sent() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        yield "updates", {"model": {"messages": [call()]}}
        with suppress(TimeoutError):
            blind = Blind(perform=sent, unknown="Whether it went is unknown.")
            await asyncio.wait_for(context.external("a", blind), 0.05)
        yield "updates", {"tools": {"messages": [ToolMessage("It took too long.", tool_call_id="a")]}}
        yield "updates", {"model": {"messages": [AIMessage("That did not work.", id="m2")]}}

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        assert await over(store, run) == "uncertain"
        (error,) = [frame for frame in await log_of(store) if isinstance(frame, ErrorFrame)]
        assert error.data.error == "Whether it went is unknown."
        await runner.drain(0)
        await store.close()

    asyncio.run(main())


def test_a_stop_while_a_begun_run_waits_again_still_shows_what_its_tool_did(tmp_path: Path) -> None:
    """The server stopped between what the tool did and the event that shows it; the stop came before the next claim."""
    made = asyncio.Event()

    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        yield "updates", {"model": {"messages": [call()]}}
        yield "custom", RUNNING
        await context.effect("a", lambda backlog: {"made": 1})
        if not made.is_set():
            made.set()
            await asyncio.sleep(60)
        yield "updates", {"tools": {"messages": [ToolMessage("made", tool_call_id="a")]}}
        await asyncio.sleep(60)

    async def main() -> None:
        store = await opened(tmp_path / "db")
        run = await first_run(store)
        first = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await first.start()
        await asyncio.wait_for(made.wait(), 20)
        await first.drain(0)
        assert await store.run_state(run) == "queued"
        await store.accept(Command(session="s", client="c", csn=1, id="x", fingerprint=b"x", work=Stop(run=run)))
        second = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await second.start()
        assert await over(store, run) == "cancelled"
        tools = [f for f in await log_of(store) if isinstance(f, ToolExecution)]
        assert [f.data.status for f in tools][-1] == "completed"
        await second.drain(0)
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("failure", [StoreError, StoreUnavailable])
def test_an_answer_that_the_database_never_takes_ends_its_run(tmp_path: Path, failure: type[StoreError]) -> None:
    """A database that is away is waited for; a statement that it refuses would be refused each time."""
    asked = 0

    async def script(context: Any) -> AsyncIterator[tuple[str, Any]]:
        nonlocal asked
        asked += 1
        yield "messages", (AIMessageChunk(content="hi", id="m1"), {})
        await asyncio.sleep(0.1)
        yield "updates", {"model": {"messages": [AIMessage("hi there", id="m1")]}}

    class Odd(SqliteStore):
        async def append(self, claim: Claim, frames: Any) -> int:
            if asked and (failure is StoreError or asked == 1):
                raise failure("no")
            return await super().append(claim, frames)

    async def main() -> None:
        store = await Odd.open(tmp_path / "db")
        run = await first_run(store)
        runner = Runner(store, Hub(), AuditLog(None), Scripted(script))  # type: ignore[arg-type]
        await runner.start()
        if failure is StoreUnavailable:
            assert await over(store, run) == "completed"
        else:
            assert await over(store, run) == "failed"
            (error,) = [frame for frame in await log_of(store) if isinstance(frame, ErrorFrame)]
            assert (error.data.code, error.data.error) == ("storage", "The server could not record this answer.")
        await runner.drain(0)
        await store.close()

    asyncio.run(main())
