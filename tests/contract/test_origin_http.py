"""Our Chat against a server that has the origin's HTTP routes and nothing else, over real sockets."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_origin_server import STORY

from edchat_protocol.messages import ArtifactPart
from edchat_widget import AgentError, Chat, ConnectionLost, EdChatError

Reply = tuple[int, Any]
CUT: Reply = (0, None)
ANSWER = {
    "success": True, "response": "Created.", "artifacts": [{"type": "story", "data": STORY}],
    "requires_clarification": False, "clarification_prompt": None, "current_state": "done", "session_id": "mine"}


class Routes:
    """Written from the origin's documented routes alone; answers with what `replies` has for the text."""

    def __init__(self, *routes: str, root: Any = None) -> None:
        self.routes = routes
        self.root = root or {"name": "MCP server"}
        self.replies: dict[str, list[Reply]] = {}
        self.received: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.health = 200
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
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head.split("\r\n")[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, answer = self._answer(method, path, headers, body)
            if status:
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(data)))
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if path == "/":
            return 200, self.root
        if path == "/health":
            return self.health, {"status": "healthy"}
        if path not in self.routes:
            return 404, {"detail": "Not Found"}
        if method != "POST":
            return 405, {"detail": "Method Not Allowed"}
        message = json.loads(body)
        self.received.append(message)
        self.keys.append(headers.get("idempotency-key", ""))
        replies = self.replies.get(message["message"])
        return replies.pop(0) if replies else (200, ANSWER)


@pytest.fixture
def start() -> Iterator[Callable[..., Routes]]:
    begun: list[Routes] = []

    def begin(*routes: str, **given: Any) -> Routes:
        begun.append(Routes(*(routes or ("/api/agent/process",)), **given))
        return begun[-1]

    yield begin
    for server in begun:
        server.close()


def chat(server: Routes, tmp_path: Path, **given: Any) -> Chat:
    return Chat(server.url, session="mine", data_dir=tmp_path, reconnect_interval=0.01, **given)


Start = Callable[..., Routes]


def test_a_story_arrives_with_its_card_over_the_origins_route(start: Start, tmp_path: Path) -> None:
    server = start()
    with chat(server, tmp_path) as talk:
        for n in range(7):
            reply = talk.ask(f"message {n}", timeout=20)
        assert reply.text == "Created."
        assert [(s.id, s.priority, s.acceptance_criteria) for s in reply.stories] == [("s-1", "P1", ("works",))]
        assert [type(p) for p in reply.message.parts].count(ArtifactPart) == 1
        view = talk.connection
        assert (view.state, view.carrier, view.guaranteed) == ("fallback", "http", False)
    last = server.received[-1]
    assert (last["session_id"], len(last["message_history"])) == ("mine", 10)
    assert last["message_history"][-2:] == [
        {"role": "user", "content": "message 5"}, {"role": "assistant", "content": "Created."}]


def test_the_web_pages_route_gets_the_names_that_it_knows(start: Start, tmp_path: Path) -> None:
    server = start("/api/chat")
    server.replies["one"] = [(200, {"response": "Hello.", "artifacts": [], "currentState": "idle"})]
    with chat(server, tmp_path, enable_websocket=False) as talk:
        assert talk.ask("one", timeout=20).text == "Hello."
    assert server.received == [{"message": "one", "sessionId": "mine", "messageHistory": []}]


def test_messages_go_out_one_at_a_time(start: Start, tmp_path: Path) -> None:
    server = start()
    with chat(server, tmp_path) as talk:
        runs = [talk.send(f"message {n}") for n in range(5)]
        assert [r.result(20).text for r in runs] == ["Created."] * 5
    assert [len(m["message_history"]) for m in server.received] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(("reply", "says"), [
    ((500, {"detail": "The agent is broken."}), "The agent is broken."),
    ((503, b"<html>"), "Service temporarily unavailable."),
    ((401, {"error": "Who are you?"}), "Who are you?"),
    ((200, b"<html>Processing your request...</html>"), "cannot be read"),
    ((200, {"success": False, "response": "No model."}), "No model."),
    ((200, {"status": "ok"}), "could not answer"),
])
def test_a_failure_is_shown_as_a_failure_and_never_as_an_answer(
    reply: Reply, says: str, start: Start, tmp_path: Path
) -> None:
    server = start()
    server.replies["one"] = [reply]
    with chat(server, tmp_path) as talk:
        with pytest.raises(AgentError, match=says):
            talk.ask("one", timeout=20)
        assert talk.ask("two", timeout=20).text == "Created."
    assert [m["message"] for m in server.received] == ["one", "two"]


@pytest.mark.parametrize("reply", [CUT, (504, b"gateway"), (502, b"gateway")])
def test_an_answer_that_was_cut_off_leaves_the_message_in_doubt_and_it_is_not_sent_again(
    reply: Reply, start: Start, tmp_path: Path
) -> None:
    server = start()
    server.replies["one"] = [reply]
    with chat(server, tmp_path) as talk:
        with pytest.raises(ConnectionLost):
            talk.ask("one", timeout=20)
        assert talk.ask("two", timeout=20).text == "Created."
        assert [m.state for m in talk.messages if m.role == "user"] == ["in_doubt", "answered"]
    assert [m["message"] for m in server.received] == ["one", "two"]


def test_a_server_that_honours_the_key_is_asked_again_with_the_same_one(start: Start, tmp_path: Path) -> None:
    server = start(root={"name": "edchat", "version": "0.1.0"})
    server.replies["one"] = [CUT, (504, b"gateway"), (200, ANSWER)]
    with chat(server, tmp_path) as talk:
        assert talk.ask("one", timeout=20).text == "Created."
        assert talk.ask("two", timeout=20).text == "Created."
    assert len(server.keys) == 4
    assert len({*server.keys[:3]}) == 1
    assert server.keys[3] not in {"", server.keys[0]}


def test_a_question_back_is_a_card(start: Start, tmp_path: Path) -> None:
    server = start()
    server.replies["one"] = [(200, ANSWER | {
        "response": "Which epic?", "artifacts": [], "requires_clarification": True,
        "clarification_prompt": "Which epic?"})]
    with chat(server, tmp_path) as talk:
        parts = talk.ask("one", timeout=20).message.parts
    assert [p.data for p in parts if isinstance(p, ArtifactPart)] == [{"question": "Which epic?"}]


def test_an_address_without_any_chat_is_said_to_be_one(start: Start, tmp_path: Path) -> None:
    server = start("/other")
    with (
        chat(server, tmp_path, max_reconnect_attempts=1) as talk,
        pytest.raises(EdChatError, match="no such chat server"),
    ):
        talk.ask("one", timeout=10)
    assert server.received == []
