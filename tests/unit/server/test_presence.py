"""Who is in a session: told to those who want it, without flicker, and kept nowhere."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from tests.server_fixtures import Client, server

from edchat_server.identity import add_token
from edchat_server.presence import Follower, Presence


def told(follower: Follower) -> list[tuple[str, str | None, int]]:
    found = []
    while not follower.news.empty():
        data = follower.news.get_nowait()
        found.append((data.event, data.user, data.clients))
    return found


def test_others_are_told_who_comes_and_goes() -> None:
    async def main() -> None:
        presence = Presence(grace=0)
        with presence.here("s", "a1", "ada"), presence.follow("s", "a1") as ada:
            assert told(ada) == [("here", "ada", 1)]
            with presence.here("s", "b1", "bob"), presence.here("s", "b2", "bob"), presence.here("t", "c1", "cy"):
                assert told(ada) == [("join", "bob", 1), ("join", "bob", 2)]
                with presence.follow("s", "b1") as bob:
                    assert told(bob) == [("here", "ada", 1), ("here", "bob", 2)]
            await asyncio.sleep(0.05)
            assert told(ada) == [("leave", "bob", 1), ("leave", "bob", 0)]
        await asyncio.sleep(0.05)
        assert presence._rooms == {}, "an empty session is remembered"

    asyncio.run(main())


def test_a_reconnect_and_a_change_of_carrier_do_not_flicker() -> None:
    async def main() -> None:
        presence = Presence(grace=0.3)
        with presence.here("s", "a", "ada"), presence.follow("s", "a") as ada, ExitStack() as old:
            told(ada)
            old.enter_context(presence.here("s", "b", "bob"))
            with presence.here("s", "b", "bob"):
                old.close()
            for _ in range(5):
                await asyncio.sleep(0.1)
                with presence.here("s", "b", "bob"):
                    pass
            assert told(ada) == [("join", "bob", 1)]
            await asyncio.sleep(0.5)
            assert told(ada) == [("leave", "bob", 0)]

    asyncio.run(main())


def test_a_follower_who_reads_nothing_costs_a_fixed_size() -> None:
    async def main() -> None:
        presence = Presence(grace=0)
        with presence.follow("s", "a") as deaf:
            for n in range(1000):
                with presence.here("s", f"b{n}", "bob"):
                    pass
                await asyncio.sleep(0)
            assert deaf.news.qsize() == 100

    asyncio.run(main())


def test_only_who_wants_it_is_told_and_the_log_has_nothing_of_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    bearers = {name: {"Authorization": f"Bearer {add_token(file, name)}"} for name in ("ada", "bob")}
    with server(tmp_path / "data", EDCHAT_TOKENS_FILE=str(file)) as running, ExitStack() as stack:
        ada = Client(running, client="a", want=("presence",)).open(**bearers["ada"])
        stack.callback(ada.close)
        assert ada.until("presence")["data"] == {"event": "here", "user": "ada", "clients": 1}
        with running.http(headers=bearers["ada"]) as http:
            http.post("/v2/sessions/s1/share", json={"with": "bob"})
        with running.http(headers=bearers["bob"]) as http:
            http.get("/v2/sessions/s1/events", params={"client": "b", "conn": 1, "wait": 0})
        joined = ada.until("presence")
        assert joined["data"] == {"event": "join", "user": "bob", "clients": 1}
        assert "seq" not in joined
        bob = Client(running, client="b", conn=1).open(**bearers["bob"])
        stack.callback(bob.close)
        bob.say("hello")
        assert ada.until_over() == bob.until_over() == "completed"
        assert ada.log == bob.log
        kinds = [frame["type"] for frame in bob.frames]
        assert "presence" not in kinds
        assert [frame["data"]["event"] for frame in ada.frames if frame["type"] == "presence"] == ["here", "join"]
