"""A client that knows the origin's frames and routes and nothing else: only a socket, HTTP and JSON.

Nothing of this project is imported here but the process that it talks to.
"""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server_fixtures import ServerProcess, server
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.fault("F21", "a client of version 1 at our server")
ORIGIN_TYPES = {"message", "token", "tool_execution", "status", "error", "ping", "pong"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("origin"), open_to_all=True) as process:
        yield process


@pytest.fixture
def session() -> str:
    return uuid.uuid4().hex


def socket(url: str, session: str | None = None) -> Any:
    query = f"?session_id={session}" if session else ""
    return connect(url.replace("http", "ws", 1) + "/ws/chat" + query, proxy=None)


def turn(ws: ClientConnection) -> list[dict[str, Any]]:
    """Everything up to the answer."""
    frames = []
    while not frames or frames[-1]["type"] not in ("message", "error"):
        frame = json.loads(ws.recv(20))
        assert frame["type"] in ORIGIN_TYPES
        frames.append(frame)
    return frames


def say(ws: ClientConnection, text: str, session: str, **data: Any) -> None:
    ws.send(json.dumps({
        "type": "message", "timestamp": "2026-01-01T00:00:00Z",
        "data": {"content": text, "session_id": session, "message_history": [], **data},
    }))


def test_a_turn_over_the_websocket(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as ws:
        hello = json.loads(ws.recv(10))
        assert hello["type"] == "status"
        assert hello["data"]["status"] == "connected"
        assert hello["data"]["session_id"] == session
        assert hello["data"]["message"]

        say(ws, "make Login | Logout", session)
        frames = turn(ws)
        assert frames[0]["data"] == {"status": "processing", "message": "Understanding your request..."}
        tokens = [f["data"] for f in frames if f["type"] == "token"]
        assert all(set(t) == {"token", "done"} for t in tokens)
        assert [t["done"] for t in tokens] == [False] * (len(tokens) - 1) + [True]
        tools = [f["data"] for f in frames if f["type"] == "tool_execution"]
        assert {t["tool"] for t in tools} == {"create_story"}
        assert {t["status"] for t in tools} == {"pending", "running", "completed"}
        assert all("details" in t for t in tools)
        answer = frames[-1]["data"]
        assert "word9" in answer["content"]
        assert [a["type"] for a in answer["artifacts"]] == ["story", "story"]
        for artifact in answer["artifacts"]:
            assert {"id", "title", "epic", "priority"} <= set(artifact["data"])
        assert all(f["timestamp"] for f in frames)


def test_a_session_is_made_when_none_is_named(running: ServerProcess) -> None:
    with socket(running.url) as ws:
        session = json.loads(ws.recv(10))["data"]["session_id"]
        assert session.startswith("ws-")
        say(ws, "hello", session)
        assert turn(ws)[-1]["data"]["content"] == "You said: hello"


def test_ping_is_answered_with_data(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as ws:
        ws.recv(10)
        ws.send(json.dumps({"type": "ping", "data": None}))
        pong = json.loads(ws.recv(10))
        assert pong["type"] == "pong"
        assert pong["data"] == {}
        ws.send(json.dumps({"type": "pong"}))
        ws.send(json.dumps({"type": "ping", "data": {"nonce": 7}}))
        assert json.loads(ws.recv(10))["data"] == {"nonce": 7}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("{oh", "not_json"),
        ("[]", "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": "message"}', "bad_frame"),
        ('{"type": "message", "data": {"content": 7}}', "bad_frame"),
        ('{"type": "message", "data": {"content": "  "}}', "empty_message"),
        ('{"type": "message", "data": {"content": "x", "session_id": "other"}}', "wrong_session"),
        (json.dumps({"type": "message", "data": {"content": "x" * 65_537}}), "too_large"),
        (json.dumps({"type": "message", "data": {"content": "x" * 300_000}}), "too_large"),
        (json.dumps({"type": "message", "data": {"content": "\ud800"}}), "not_json"),
    ],
)
def test_bad_input_is_an_error_frame_and_the_connection_stays(
    running: ServerProcess, session: str, raw: str, code: str
) -> None:
    with socket(running.url, session) as ws:
        ws.recv(10)
        ws.send(raw)
        error = json.loads(ws.recv(10))
        assert error["type"] == "error"
        assert error["data"]["code"] == code
        assert error["data"]["error"]
        say(ws, "still there?", session)
        assert turn(ws)[-1]["data"]["content"] == "You said: still there?"


def test_the_conversation_goes_on_and_history_seeds_a_new_one(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as ws:
        ws.recv(10)
        history = [{"role": "user", "content": "earlier"}, {"role": "assistant", "content": "yes"}]
        say(ws, "history one", session, message_history=history)
        assert json.loads(turn(ws)[-1]["data"]["content"]) == ["earlier", "history one"]
        say(ws, "history two", session, message_history=history)
        assert json.loads(turn(ws)[-1]["data"]["content"]) == ["earlier", "history one", "history two"]


def test_an_answer_that_was_missed_is_pushed_on_reconnect(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as ws:
        ws.recv(10)
        say(ws, "make Login", session)
        ws.recv(10)
    with httpx.Client(base_url=running.url, trust_env=False) as http:
        while http.get("/api/status").json()["runs"]["unfinished"]:
            pass
    with socket(running.url, session) as ws:
        assert json.loads(ws.recv(10))["data"]["status"] == "connected"
        answer = turn(ws)[-1]
        assert answer["type"] == "message"
        assert [a["data"]["title"] for a in answer["data"]["artifacts"]] == ["Login"]
    with socket(running.url, session) as ws:
        assert json.loads(ws.recv(10))["data"]["status"] == "connected"
        with pytest.raises(TimeoutError):
            ws.recv(1.5)


def test_who_leaves_right_after_an_answer_does_not_get_it_again(running: ServerProcess, session: str) -> None:
    for n in range(20):
        with socket(running.url, session) as ws:
            ws.recv(10)
            say(ws, f"turn {n}", session)
            assert turn(ws)[-1]["data"]["content"] == f"You said: turn {n}"


def test_an_answer_that_came_by_post_does_not_come_again(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as ws:
        ws.recv(10)
        say(ws, "before", session)
        turn(ws)
    with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as http:
        for text in ("one", "two"):
            body = {"message": text, "session_id": session, "message_history": []}
            assert http.post("/api/agent/process", json=body).json()["response"] == f"You said: {text}"
    with socket(running.url, session) as ws:
        ws.recv(10)
        say(ws, "after", session)
        assert turn(ws)[-1]["data"]["content"] == "You said: after"


def test_two_tabs_of_one_session_get_every_answer_once(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as one, socket(running.url, session) as two:
        one.recv(10)
        two.recv(10)
        for n, (asking, other) in enumerate([(one, two), (two, one)]):
            say(asking, f"turn {n}", session)
            for tab in (asking, other):
                assert turn(tab)[-1]["data"]["content"] == f"You said: turn {n}"


def test_a_failing_model_is_an_error_in_its_own_words(running: ServerProcess, session: str) -> None:
    with socket(running.url, session) as ws:
        ws.recv(10)
        say(ws, "fail Incorrect API key provided: sk-abcdef123456", session)
        error = turn(ws)[-1]
        assert error["type"] == "error"
        assert "Incorrect API key provided" in error["data"]["error"]
        assert "sk-abcdef" not in json.dumps(error)
        assert "Traceback" not in json.dumps(error)
        say(ws, "and now?", session)
        assert turn(ws)[-1]["type"] == "message"


def test_the_routes(running: ServerProcess) -> None:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as http:
        assert http.get("/").status_code == 200
        assert http.get("/health").json()["status"] == "healthy"
        assert http.get("/api/status").status_code == 200
        body = {"message": "make Passkeys", "session_id": "post", "message_history": []}
        answer = http.post("/api/agent/process", json=body).json()
        assert set(answer) == {
            "success", "response", "artifacts", "requires_clarification", "clarification_prompt",
            "current_state", "session_id",
        }
        assert answer["success"] is True
        assert answer["session_id"] == "post"
        assert answer["artifacts"][0]["data"]["title"] == "Passkeys"
        web = http.post("/api/chat", json={"message": "hi", "sessionId": "web", "messageHistory": []}).json()
        assert web["response"] == "You said: hi"
        assert {"response", "artifacts", "currentState"} <= set(web)
        body = {"message": "hi", "session_id": "chat", "message_history": None}
        chat = http.post("/api/agent/chat", json=body).json()
        assert chat["response"] == "You said: hi"
        listed = http.get("/api/stories", params={"text": "passkeys"}).json()
        assert listed["total"] == 1
        assert listed["stories"][0]["acceptanceCriteria"]
        assert http.get("/api/stories", params={"priority": "P9"}).status_code == 400
        bad = http.post("/api/agent/process", content=b"{")
        assert bad.status_code == 400
        assert bad.json()["data"]["code"] == "not_json"
        empty = http.post("/api/agent/process", json={"message": " "})
        assert empty.json()["data"]["code"] == "empty_message"
        failed = http.post("/api/agent/process", json={"message": "fail no luck"})
        assert failed.status_code == 502
        assert "no luck" in failed.json()["detail"]


def test_a_repeated_post_with_a_key_runs_once(running: ServerProcess) -> None:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as http:
        body = {"message": "make Precisely once"}
        answers = [
            http.post("/api/agent/process", json=body, headers={"Idempotency-Key": "k1"}).json()
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert http.get("/api/stories", params={"text": "precisely"}).json()["total"] == 1


def test_without_an_agent_the_answer_is_503(tmp_path: Path, session: str) -> None:
    with server(tmp_path / "data", "--model", "missing", open_to_all=True) as running:
        with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as http:
            assert http.get("/health").status_code == 503
            answer = http.post("/api/agent/process", json={"message": "hi"})
            assert answer.status_code == 503
            assert answer.json()["detail"] == "Service temporarily unavailable"
            assert answer.json()["data"]["error"] == "Service temporarily unavailable"
            assert answer.json()["data"]["hint"] == "there is no model"
        with socket(running.url, session) as ws:
            ws.recv(10)
            say(ws, "hi", session)
            assert turn(ws)[-1]["data"]["error"] == "Service temporarily unavailable"
