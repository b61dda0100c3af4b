"""A server of a language model's provider, with the faults that providers have: OpenAI's frames, on loopback.

What it does follows from the first word of the last user message, see `do_POST`. `asked` counts the requests of a text.
"""

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk-test-0123456789abcdefghij"


class ModelServer(ThreadingHTTPServer):
    """Counts what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = request["messages"][-1]
        text = next(str(m["content"]) for m in reversed(request["messages"]) if m["role"] == "user")
        self.server.asked[text] += 1
        verb = text.split()[0]
        if last["role"] == "tool":
            self._stream([delta(content="Made."), delta(finish="stop")])
        elif verb == "good" or (verb == "recovers" and self.server.asked[text] > 2):
            self._stream([delta(content="All "), delta(content="is well."), delta(finish="stop")])
        elif verb in ("busy", "recovers"):
            self._fail(429, "Rate limit reached for requests", {"Retry-After": "0"})
        elif verb == "broke":
            self._fail(429, "You exceeded your current quota", {"Retry-After": "0"}, code="insufficient_quota")
        elif verb == "down":
            self._fail(503, "The engine is overloaded", {"Retry-After": "0"})
        elif verb == "key":
            self._fail(401, f"Incorrect API key provided: {SECRET}")
        elif verb == "cut":
            self._stream([delta(content="Half of the ans")], end="reset")
        elif verb == "short":
            self._stream([delta(content="Half of the ans")], end="missing")
        elif verb == "unfinished":
            self._stream([delta(content="Half of the ans")], end="polite")
        elif verb == "empty":
            self._stream([delta(finish="stop")])
        elif verb == "nonsense":
            self._stream(["this is no JSON"])
        elif verb == "halfcall":
            self._stream([call('{"title": "Log'), delta(finish="tool_calls")])
        elif verb == "lostcall":
            self._stream([call('{"title": "Login"')], end="polite")
        elif verb == "wrongcall":
            self._stream([call('{"colour": 7}'), delta(finish="tool_calls")])
        elif verb == "nocall":
            self._stream([call('{"title": "Login"}', name="drop_everything"), delta(finish="tool_calls")])
        elif verb == "make":
            self._stream([call('{"title": "Login"}'), delta(finish="tool_calls")])
        elif verb == "hang":
            self.server.over.wait(60)
        elif verb == "stall":
            self._stream([delta(content="Half of the ans")], end="stall")

    def _fail(self, status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None) -> None:
        body = json.dumps({"error": {"message": message, "type": "x", "code": code}}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, parts: list[dict[str, Any] | str], end: str = "done") -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self._chunk(f"data: {part if isinstance(part, str) else json.dumps(part)}\n\n".encode())
            time.sleep(0.02)
        if end == "done":
            self._chunk(b"data: [DONE]\n\n")
        if end in ("done", "polite"):
            self._chunk(b"")
        elif end == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == "stall":
            self.server.over.wait(60)
        self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return one part of a streamed answer."""
    said = {"role": "assistant", **({} if content is None else {"content": content}), **more}
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test",
        "choices": [{"index": 0, "delta": said, "finish_reason": finish}],
    }


def call(arguments: str, name: str = "create_story") -> dict[str, Any]:
    """Return the part of an answer that calls a tool."""
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": function}])


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Run one until the block ends."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
