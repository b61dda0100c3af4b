"""The WebSocket's two tasks, on a real store, with a socket that a test holds in its hand."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.websockets import WebSocketDisconnect

from edchat_protocol.artifacts import Artifact
from edchat_protocol.frames import (
    MessageData,
    MessageFrame,
    Pong,
    StatusData,
    StatusFrame,
    Token,
    TokenData,
    ToolExecution,
    ToolExecutionData,
)
from edchat_server.access import Access
from edchat_server.audit import AuditLog
from edchat_server.door import Door
from edchat_server.hub import Hub
from edchat_server.identity import OPERATOR
from edchat_server.limits import Caps
from edchat_server.presence import Presence
from edchat_server.store import Claim, Command, Say, SqliteStore
from edchat_server.ws import serve


class Socket:
    """What `serve` sees of a connection; of version 1, if it offers nothing.

    Full: nothing that is sent goes out, a close frame included.
    """

    def __init__(self, *subprotocols: str) -> None:
        self.closed: list[int] = []
        self.sent: list[dict[str, Any]] = []
        self.full = False
        self.aborted = asyncio.Event()
        self.left = asyncio.Event()
        self.query_params = {"session_id": "s"}
        self.scope = {"subprotocols": subprotocols, "state": {"abort": self.aborted.set, "identity": OPERATOR}}

    async def accept(self, subprotocol: str | None) -> None:
        pass

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send_text(self, text: str) -> None:
        if self.full:
            await asyncio.Event().wait()
        self.sent.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        if self.full:
            await asyncio.Event().wait()
        self.closed.append(code)

    async def until(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while not self.sent or self.sent[-1]["type"] != kind:
                await asyncio.sleep(0.01)
        return self.sent[-1]


def core_of(store: SqliteStore) -> Any:
    return SimpleNamespace(
        store=store, hub=Hub(), audit=AuditLog(None), door=Door(Caps()), access=Access(store), presence=Presence()
    )


async def claimed(store: SqliteStore, text: str) -> Claim:
    await store.accept(Command(session="s", client="c", csn=None, id=text, fingerprint=b"", work=Say(content=text)))
    claim = await store.claim()
    assert claim is not None
    return claim


def end(claim: Claim) -> list[Any]:
    return [
        MessageFrame(run=claim.run, mid=f"a-{claim.run}", data=MessageData(content=f"to {claim.content}")),
        StatusFrame(run=claim.run, data=StatusData(status="completed")),
    ]


def test_an_answer_behind_another_one_is_whole_after_a_reconnect(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        await store.head("s")
        await store.set_v1_cursor("s", 0)
        one = await claimed(store, "one")
        await store.finish(one, "completed", end(one))
        two = await claimed(store, "two")
        tool = ToolExecutionData(
            tool="create_story", status="completed", artifacts=(Artifact(type="story", data={"id": "STORY-1"}),)
        )
        await store.append(two, [ToolExecution(run=two.run, step="t", data=tool)])

        first = Socket()
        serving = asyncio.create_task(serve(first, core_of(store)))  # type: ignore[arg-type]
        assert (await first.until("message"))["data"]["content"] == "to one"
        first.left.set()
        await serving

        await store.finish(two, "completed", end(two))
        second = Socket()
        serving = asyncio.create_task(serve(second, core_of(store)))  # type: ignore[arg-type]
        answer = (await second.until("message"))["data"]
        assert answer["content"] == "to two"
        assert [a["data"]["id"] for a in answer["artifacts"]] == ["STORY-1"]
        assert [f["type"] for f in second.sent].count("message") == 1
        second.left.set()
        await serving
        await store.close()

    asyncio.run(main())


def test_a_peer_that_reads_nothing_is_cut_off_and_leaves_no_task(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        peer = Socket()
        peer.full = True
        async with asyncio.timeout(20):
            await serve(peer, core_of(store), patience=0.05)  # type: ignore[arg-type]
        assert peer.aborted.is_set()
        await store.close()

    asyncio.run(main())


def test_a_peer_that_says_nothing_is_sent_away() -> None:
    async def main() -> None:
        peer = Socket("edchat.v2")
        await serve(peer, SimpleNamespace(door=Door(Caps())), patience=0.05)  # type: ignore[arg-type]
        assert peer.closed == [4408]

    asyncio.run(main())


def test_a_defect_ends_one_connection_and_is_audited(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        core = core_of(store)
        core.audit = AuditLog(tmp_path / "audit.jsonl")

        class Odd(Socket):
            async def receive(self) -> dict[str, Any]:
                raise RuntimeError("never seen before")

            async def close(self, code: int, reason: str) -> None:
                assert code == 1011
                raise WebSocketDisconnect(code)

        await serve(Odd(), core)  # type: ignore[arg-type]
        core.audit.close()
        lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
        assert [line["action"] for line in lines] == ["connect", "disconnect"]
        await store.close()

    asyncio.run(main())


class Slow(Socket):
    """A version 2 peer that says hello and takes nothing until it is let go."""

    def __init__(self, cursor: int, epoch: str) -> None:
        super().__init__("edchat.v2")
        self.go = asyncio.Event()
        self._hello = {"proto": 2, "session": "s", "client": "slow", "conn": 1, "cursor": cursor, "epoch": epoch}

    async def receive(self) -> dict[str, Any]:
        if self._hello:
            said, self._hello = self._hello, {}
            return {"type": "websocket.receive", "text": json.dumps({"type": "hello", "data": said})}
        return await super().receive()

    async def send_text(self, text: str) -> None:
        await super().send_text(text)
        if self.sent[-1]["type"] == "events":
            await self.go.wait()


def test_a_reader_that_falls_far_behind_begins_anew_with_a_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        run = await claimed(store, "go on and on")
        epoch, head = await store.head("s")
        core = core_of(store)
        core.welcome = lambda session, greeting: Pong()
        tokens = [Token(run=run.run, mid="a", off=n, data=TokenData(token="x")) for n in range(6000)]
        await store.append(run, tokens[:300])
        peer = Slow(head, epoch)
        serving = asyncio.create_task(serve(peer, core, patience=20))  # type: ignore[arg-type]
        await peer.until("events")
        await store.append(run, tokens[300:])
        peer.go.set()
        await serving
        assert peer.closed == [4413]
        greeting = await store.greet("s", "slow", 2, cursor=peer.sent[-1]["data"]["last"], epoch=epoch)
        assert not greeting.replay
        await store.close()

    asyncio.run(main())
