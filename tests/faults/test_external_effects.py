"""A tool that acts outside our database, killed at each step: done once, or said to be unknown, never repeated."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.external_api import ExternalApi, external_api
from tests.server_fixtures import Client, ServerProcess, fold, server

from edchat_protocol.frames import FINAL_RUN_STATES
from edchat_server.agent.external import Blind, Keyed, Marked, NotDone, Unknown, carry_out
from edchat_server.scope import LedgerScope
from edchat_server.store import Command, Say, SqliteStore
from edchat_widget import AgentError, Chat

KILLED = 137
POINTS = ["intent_before", "intent_committed", "external_done", "external_recorded", "part_updates:3", "finish_before"]
UNKNOWN = "Whether the thing was made in the other system is not known."


def ask(client: Client, kind: str) -> None:
    client.send({"type": "message", "id": "m-1", "csn": 1, "data": {"content": f"push {kind} Login"}})


def final_state(client: Client, after: int = 0) -> str | None:
    states = (e["data"]["status"] for seq, e in client.log.items() if e["type"] == "status" and seq > after)
    return next((state for state in states if state in FINAL_RUN_STATES), None)


def outcome(client: Client, running: ServerProcess) -> tuple[str, list[tuple[str, ...]]]:
    """The run's last state, and the tools as a person sees them; from the log of one that comes late, too."""
    while (state := final_state(client)) is None:
        client.recv()
    tools = sorted(part[1:] for part in fold(client.log) if part[0] == "tool")
    late = Client(running, client="late").open()
    while late.cursor < late.welcome["head"]:
        late.recv()
    assert fold(late.log) == fold(client.log)
    late.close()
    return state, tools


def stories(running: ServerProcess) -> list[str]:
    with running.http(headers={"Authorization": f"Bearer {running.ready['token']}"}) as http:
        return [story["title"] for story in http.get("/api/stories").json()["stories"]]


def killed_at(point: str, kind: str, tmp_path: Path, api: ExternalApi) -> tuple[Client, ServerProcess, Any]:
    data = tmp_path / "data"
    with server(data, EDCHAT_FAIL_POINT=point, EXTERNAL_API=api.url) as first:
        client = Client(first).open()
        ask(client, kind)
        assert first.wait() == KILLED, (data / "server.log").read_text(encoding="utf-8")
    second = server(data, EXTERNAL_API=api.url)
    running = second.__enter__()
    client.close()
    client.server = running
    client.cursor, client.epoch, client.log = 0, None, {}
    client.open()
    ask(client, kind)
    return client, running, second


@pytest.mark.fault("F4", "kill -9 around a call of an external API")
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", ["keyed", "marked"])
def test_an_effect_that_can_be_found_again_exists_once(tmp_path: Path, kind: str, point: str) -> None:
    with external_api() as api:
        client, running, second = killed_at(point, kind, tmp_path, api)
        try:
            state, tools = outcome(client, running)
            assert state == "completed"
            assert api.titles() == ["Login"]
            assert stories(running) == ["Login"]
            assert [tool[:2] for tool in tools] == [("create_story", "completed"), (f"push_{kind}", "completed")]
        finally:
            client.close()
            second.__exit__(None, None, None)


@pytest.mark.fault("F4", "kill -9 around a call of an API with neither key nor search")
@pytest.mark.parametrize("point", POINTS)
def test_an_effect_that_cannot_be_found_again_is_never_repeated(tmp_path: Path, point: str) -> None:
    with external_api() as api:
        client, running, second = killed_at(point, "blind", tmp_path, api)
        try:
            state, tools = outcome(client, running)
            assert len(api.made) <= 1
            assert stories(running) == ["Login"]
            if point in ("intent_committed", "external_done"):
                assert state == "uncertain"
                assert [tool[:2] for tool in tools] == [("create_story", "completed"), ("push_blind", "error")]
                error = next(event for event in client.log.values() if event["type"] == "error")["data"]
                assert (error["code"], error["error"], error.get("retryable", False)) == ("uncertain", UNKNOWN, False)
                assert "ask for it anew" in error["hint"]
            else:
                assert state == "completed"
                assert api.titles() == ["Login"]
            # the conversation goes on, and the user may ask anew
            head = client.cursor
            client.send({"type": "message", "id": "m-2", "csn": 2, "data": {"content": "hello"}})
            while (then := final_state(client, head)) is None:
                client.recv()
            assert then == "completed"
        finally:
            client.close()
            second.__exit__(None, None, None)


@pytest.mark.fault("F4", "kill -9 after the doubt was noted, and on the way to the run's end")
@pytest.mark.parametrize("point", ["doubt_committed", "part_updates:3", "finish_before"])
def test_doubt_outlives_the_server(tmp_path: Path, point: str) -> None:
    with external_api() as api:
        api.lose = 1
        client, running, second = killed_at(point, "blind", tmp_path, api)
        try:
            state, _ = outcome(client, running)
            assert state == "uncertain"
            assert api.titles() == ["Login"]
            assert stories(running) == ["Login"]
        finally:
            client.close()
            second.__exit__(None, None, None)


@pytest.mark.parametrize(("kind", "state"), [("keyed", "completed"), ("marked", "completed"), ("blind", "uncertain")])
def test_an_answer_that_is_lost_does_not_make_the_effect_twice(tmp_path: Path, kind: str, state: str) -> None:
    with external_api() as api, server(tmp_path / "data", EXTERNAL_API=api.url) as running:
        api.lose = 1
        client = Client(running).open()
        ask(client, kind)
        assert outcome(client, running)[0] == state
        assert api.titles() == ["Login"]
        assert stories(running) == ["Login"]
        client.close()


def test_a_person_reads_what_is_unknown_and_what_to_do(tmp_path: Path) -> None:
    with external_api() as api, server(tmp_path / "data", EXTERNAL_API=api.url, EDCHAT_TOKEN="t") as running:
        api.lose = 1
        with Chat(running.url, token="t", data_dir=tmp_path / "home") as chat:
            with pytest.raises(AgentError, match=UNKNOWN) as caught:
                chat.ask("push blind Login", timeout=60)
            assert caught.value.code == "uncertain"
            assert not caught.value.retryable
            assert "ask for it anew" in (caught.value.hint or "")
            answer = chat.messages[-1]
            assert answer.state == "incomplete"
            assert chat.ask("hello", timeout=60).text == "You said: hello"


def test_a_search_before_the_lag_is_over_proves_nothing() -> None:
    """What was made shows in the search only after a while; asked too early, it would be made again."""

    async def main() -> None:
        made: list[str] = []
        visible = asyncio.Event()

        async def perform(mark: str) -> dict[str, Any]:
            made.append(mark)
            asyncio.get_running_loop().call_later(0.2, visible.set)
            raise ConnectionError("the answer is lost")

        async def find(mark: str) -> dict[str, Any] | None:
            return {"number": 1} if visible.is_set() else None

        call = Marked(perform=perform, find=find, unknown="?", lag=0.4)
        assert await carry_out(call, "k", again=False) == {"number": 1}
        assert made == ["k"]

    asyncio.run(main())


def test_what_certainly_did_not_happen_is_no_doubt() -> None:
    async def refuse(*mark: str) -> dict[str, Any]:
        raise NotDone("A title is needed.")

    async def nothing(mark: str) -> None:
        return None

    async def broken(*mark: str) -> dict[str, Any]:
        raise OSError

    async def main() -> None:
        for call in (
            Keyed(perform=refuse, unknown="?"), Marked(perform=refuse, find=nothing, unknown="?", lag=0),
            Blind(perform=refuse, unknown="?"),
        ):
            with pytest.raises(NotDone, match="title"):
                await carry_out(call, "k", again=False)
        for call in (
            Keyed(perform=broken, unknown="?", pauses=(0, 0)), Marked(perform=refuse, find=broken, unknown="?", lag=0),
            Blind(perform=refuse, unknown="?"),
        ):
            with pytest.raises(Unknown):
                await carry_out(call, "k", again=True)

    asyncio.run(main())


@pytest.mark.parametrize("again", [False, True])
def test_a_refusal_settles_nothing_about_a_call_before_it(again: bool) -> None:
    """The first call made the thing and its answer was lost; the second could not even connect."""

    async def main() -> None:
        made: list[str] = []

        async def perform(key: str) -> dict[str, Any]:
            if not made and not again:
                made.append(key)
                raise TimeoutError
            raise NotDone("No connection.")

        with pytest.raises(Unknown):
            await carry_out(Keyed(perform=perform, unknown="?", pauses=(0, 0)), "k", again=again)

    asyncio.run(main())


def test_what_cannot_be_recorded_is_in_doubt() -> None:
    async def no_json(*key: str) -> dict[str, Any]:
        return {"answer": object()}

    def at_once(*key: str) -> Any:
        raise ConnectionResetError

    async def nothing(mark: str) -> None:
        return None

    async def main() -> None:
        for perform in (no_json, at_once):
            for call in (
                Keyed(perform=perform, unknown="?", pauses=(0,)), Blind(perform=perform, unknown="?"),
                Marked(perform=perform, find=nothing, unknown="?", lag=0),
                Marked(perform=perform, find=no_json, unknown="?", lag=0),
            ):
                with pytest.raises(Unknown):
                    await carry_out(call, "k", again=False)

    asyncio.run(main())


def test_in_doubt_what_was_done_keeps_its_result_and_nothing_else_begins(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "edchat.db")
        said = Command(session="s", client="c", csn=None, id="m", fingerprint=b"", work=Say(content="go"))
        await store.accept(said)
        claim = await store.claim()
        assert claim is not None
        await store.effect(claim, "done", lambda conn: {"n": 1})
        await store.intend(claim, "lost", UNKNOWN)
        await store.doubt(claim, "lost")
        scope = LedgerScope(store, claim)
        await scope.recall()
        assert scope.doubt == UNKNOWN
        assert await scope.effect("done", lambda backlog: {"n": 2}) == {"n": 1}
        with pytest.raises(NotDone, match=UNKNOWN):
            await scope.effect("new", lambda backlog: {"n": 3})
        await store.close()

    asyncio.run(main())
