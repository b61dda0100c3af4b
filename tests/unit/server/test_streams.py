"""The event stream's rhythm, on a real store, faster than in life."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edchat_protocol.frames import AgentBrief
from edchat_server.core import Core
from edchat_server.door import Door
from edchat_server.hub import Hub
from edchat_server.identity import OPERATOR, Tokens
from edchat_server.limits import Caps
from edchat_server.store import Command, Say, SqliteStore
from edchat_server.streams import Pace, Reader, stream


def core_of(store: SqliteStore) -> Any:
    parts = SimpleNamespace(
        store=store, hub=Hub(), door=Door(Caps()), tokens=Tokens(None, None), settings=SimpleNamespace(replica="r"),
        agent=AgentBrief(name="nobody"),
    )
    parts.welcome = lambda session, greeting: Core.welcome(parts, session, greeting)
    parts.goaway = lambda *given, **named: Core.goaway(parts, *given, **named)
    return parts


async def reader(store: SqliteStore) -> Reader:
    greeting = await store.greet("s", "c", 1, cursor=0, epoch=None)
    return Reader(session="s", client="c", conn=1, cursor=0, greeting=greeting, who=OPERATOR)


def frames_of(parts: list[bytes]) -> list[dict[str, Any]]:
    lines = b"".join(parts).decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_a_silent_stream_beats_and_is_renewed_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        pace = Pace(heartbeat=0.5, rotate=2.5)
        parts = [part async for part in stream(core_of(store), await reader(store), pace)]
        assert parts[0].startswith(b":")
        assert len(parts[0]) > 2048, "too short to get through a buffer"
        frames = frames_of(parts)
        kinds = [frame["type"] for frame in frames]
        assert kinds[0] == "welcome"
        assert kinds.count("ping") >= 2, "nothing to tell a silent stream from a dead one"
        assert frames[-1]["type"] == "goaway"
        assert frames[-1]["data"]["retry_after_ms"] == 0, "a stream that is renewed is no server that stops"
        await store.close()

    asyncio.run(main())


def test_each_event_has_the_place_from_which_to_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        core, who = core_of(store), await reader(store)
        parts: list[bytes] = []
        events = stream(core, who, Pace())
        async for part in events:
            parts.append(part)
            if len(parts) == 2:
                await store.accept(
                    Command(session="s", client="c", csn=1, id="m", fingerprint=b"", work=Say(content="hello"))
                )
                core.hub.ring("s")
            if b"id: " in part:
                break
        await events.aclose()
        assert parts[-1].startswith(f"id: {who.greeting.epoch}:1\n".encode())
        assert core.hub.connections == 0, "a stream that was left still listens"
        await store.close()

    asyncio.run(main())


def test_a_stream_that_stops_says_when_to_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        core = core_of(store)
        told = []
        for jitter in (0.0, 1.0):
            core.door = Door(Caps(), jitter=lambda jitter=jitter: jitter)
            core.hub = Hub()
            parts: list[bytes] = []
            async for part in stream(core, await reader(store), Pace()):
                parts.append(part)
                core.hub.drain()
            told.append(frames_of(parts)[-1]["data"])
        assert [data["code"] for data in told] == [1012, 1012]
        assert [data["retry_after_ms"] for data in told] == [500, 1000]
        await store.close()

    asyncio.run(main())
