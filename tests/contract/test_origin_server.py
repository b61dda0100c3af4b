"""Our Chat against a server that knows the origin's frames and nothing else, over real sockets."""

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from edchat_protocol.messages import ArtifactPart, Message, ToolCallPart
from edchat_widget import AgentError, Chat, ConnectionLost

pytestmark = pytest.mark.fault("F21", "our Chat at a server of version 1")
STAMP = "2026-01-01T00:00:00+00:00"
STORY = {"id": "s-1", "title": "Login", "epic": "Security", "priority": "P1",
         "acceptanceCriteria": ["works"], "technicalDetails": "none"}


class OriginServer:
    """Written from the origin's documented frames alone. It awaits the agent inside its receive loop."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.sessions: list[str] = []
        self.paths: list[str] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        async with serve(self.talk, "127.0.0.1", 0) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def send(self, ws: ServerConnection, kind: str, data: Any) -> None:
        await ws.send(json.dumps({"type": kind, "data": data, "timestamp": STAMP}))

    async def talk(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        session = ws.request.path.split("session_id=")[1]
        self.sessions.append(session)
        self.paths.append(ws.request.path)
        await self.send(ws, "status", {"status": "connected", "session_id": session, "message": "hello"})
        async for raw in ws:
            frame = json.loads(raw)
            if frame["type"] == "ping":
                await ws.send(json.dumps({"type": "pong", "timestamp": STAMP}))
                continue
            assert frame["type"] == "message"
            assert set(frame) <= {"type", "data", "timestamp"}
            self.received.append(frame["data"])
            await self.reply(ws, frame["data"]["content"])

    async def reply(self, ws: ServerConnection, content: str) -> None:
        if content == "unheard":
            await ws.close(1012)
            return
        await self.send(ws, "status", {"status": "processing", "message": "Understanding your request..."})
        if content == "cut":
            await ws.close(1011)
        elif content == "fail":
            await self.send(ws, "error", {"error": "The model is out."})
        else:
            for status in ("running", "success"):
                call = {"tool": "create_story", "status": status, "details": None}
                await self.send(ws, "tool_execution", call)
            for token in ("Crea", "ted."):
                await self.send(ws, "token", {"token": token, "done": False})
            await self.send(ws, "message", {
                "content": "Created.", "artifacts": [{"type": "story", "data": STORY}]})


@pytest.fixture
def server() -> Iterator[OriginServer]:
    running = OriginServer()
    yield running
    running.close()


@pytest.fixture
def chat(server: OriginServer, tmp_path: Path) -> Iterator[Chat]:
    with Chat(server.url, session="mine", data_dir=tmp_path, reconnect_interval=0.01) as talk:
        yield talk


def test_a_story_arrives_with_its_card_its_tool_and_its_text(chat: Chat, server: OriginServer) -> None:
    reply = chat.ask("Create a story", timeout=20)
    assert reply.text == "Created."
    assert [(s.id, s.priority, s.acceptance_criteria) for s in reply.stories] == [("s-1", "P1", ("works",))]
    assert [(c.tool, c.state) for c in reply.tool_calls] == [("create_story", "output-available")]
    kinds = [type(p) for p in reply.message.parts]
    assert kinds.count(ToolCallPart) == kinds.count(ArtifactPart) == 1
    assert chat.connection.guaranteed is False
    assert server.sessions == ["mine"]


def test_tokens_stream(chat: Chat) -> None:
    events = list(chat.stream("Create a story"))
    assert "".join(e.text for e in events if e.type == "token") == "Created."
    assert events[-1].type == "message"


def test_the_last_ten_messages_go_along_as_history(chat: Chat, server: OriginServer) -> None:
    for n in range(7):
        chat.ask(f"message {n}", timeout=20)
    history = server.received[-1]["message_history"]
    assert len(history) == 10
    assert history[-2:] == [
        {"role": "user", "content": "message 5"}, {"role": "assistant", "content": "Created."}]
    assert server.received[-1]["session_id"] == "mine"


def test_an_error_is_the_agents_and_the_next_message_works(chat: Chat) -> None:
    with pytest.raises(AgentError, match="The model is out"):
        chat.ask("fail", timeout=20)
    assert chat.ask("again", timeout=20).text == "Created."


@pytest.mark.parametrize("how", ["unheard", "cut"])
def test_a_message_that_was_cut_off_is_in_doubt_and_never_sent_again_by_itself(
    chat: Chat, server: OriginServer, how: str
) -> None:
    with pytest.raises(ConnectionLost, match="cut"):
        chat.ask(how, timeout=20)
    assert chat.ask("after", timeout=20).text == "Created."
    assert [d["content"] for d in server.received] == [how, "after"]
    assert [m.state for m in chat.messages if m.role == "user"] == ["in_doubt", "answered"]


def test_messages_wait_for_their_turn_and_keep_their_order(chat: Chat, server: OriginServer) -> None:
    runs = [chat.send(f"message {n}") for n in range(5)]
    assert [r.result(20).text for r in runs] == ["Created."] * 5
    assert [d["content"] for d in server.received] == [f"message {n}" for n in range(5)]
    assert [m.role for m in chat.messages] == ["user", "assistant"] * 5


def test_async_code_gets_the_same(chat: Chat) -> None:
    async def main() -> list[str]:
        reply = await chat.aask("one", timeout=20)
        kinds = [e.type async for e in chat.astream("two")]
        return [reply.text, kinds[-1]]

    assert asyncio.run(main()) == ["Created.", "message"]


def test_callbacks_hear_of_it_and_can_be_ended(chat: Chat) -> None:
    heard: list[str] = []
    end: Callable[[], None] = chat.on("story", lambda story: heard.append(story.id))
    chat.on("story", lambda _story: 1 / 0)
    chat.ask("one", timeout=20)
    end()
    chat.ask("two", timeout=20)
    assert heard == ["s-1"]


def test_a_callback_may_send_but_not_wait(
    chat: Chat, server: OriginServer, caplog: pytest.LogCaptureFixture
) -> None:
    sent = threading.Event()

    def on_message(message: Message) -> None:
        if message.role == "assistant" and not sent.is_set():
            chat.send("from the callback")
            sent.set()
            chat.ask("never")

    chat.on("message", on_message)
    chat.ask("one", timeout=20)
    assert sent.wait(20)
    chat.ask("last", timeout=20)
    assert [d["content"] for d in server.received] == ["one", "from the callback", "last"]
    assert "WrongThread" in caplog.text
    assert "chat.send(…)" in caplog.text


def test_callbacks_end_with_the_chat_that_they_were_given_to(
    chat: Chat, server: OriginServer, tmp_path: Path
) -> None:
    heard: list[str] = []
    for n in range(2):
        again = Chat(server.url, session="mine", data_dir=tmp_path)
        again.on("token", heard.append)
        if n:
            again.close()
    del again
    gc.collect()
    chat.ask("one", timeout=20)
    assert heard == []


def test_a_server_behind_a_path_is_reached(server: OriginServer, tmp_path: Path) -> None:
    with Chat(f"{server.url}/teams/a/", session="mine", data_dir=tmp_path) as chat:
        assert chat.ask("one", timeout=20).text == "Created."
        assert server.paths == ["/teams/a/ws/chat?session_id=mine"]


def test_messages_from_many_threads_arrive_once_each(chat: Chat, server: OriginServer) -> None:
    texts = [f"{t}-{n}" for t in range(6) for n in range(5)]
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda text: chat.ask(text, timeout=30).text, texts))
    assert replies == ["Created."] * 30
    assert sorted(d["content"] for d in server.received) == sorted(texts)
