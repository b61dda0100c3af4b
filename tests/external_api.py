"""An API outside our system, over real HTTP, that counts what it makes; and tools that use it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from langchain.tools import BaseTool, ToolRuntime, tool

from edchat_server.agent import Blind, External, Keyed, Marked, NotDone, RunScope


@dataclass
class ExternalApi:
    """What the API has made, in order. `lose`: answers that it makes and does not give."""

    url: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    lose: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def make(self, title: str, mark: str | None, key: str | None) -> dict[str, Any]:
        with self.lock:
            self.asked += 1
            known = next((thing for thing in self.made if key and thing["key"] == key), None)
            if known is None:
                known = {"number": len(self.made) + 1, "title": title, "mark": mark, "key": key}
                self.made.append(known)
            return known

    def titles(self) -> list[str]:
        return [thing["title"] for thing in self.made]


@contextmanager
def external_api() -> Iterator[ExternalApi]:
    """Serve the API until the block ends."""
    api = ExternalApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not body["title"]:
                return self.reply(400, {"error": "a title is needed"})
            thing = api.make(body["title"], body.get("mark"), self.headers.get("Idempotency-Key"))
            if api.lose:
                api.lose -= 1
                self.close_connection = True
                self.connection.close()
                return None
            return self.reply(200, thing)

        def do_GET(self) -> None:
            mark = parse_qs(urlsplit(self.path).query)["mark"][0]
            self.reply(200, [thing for thing in api.made if thing["mark"] == mark])

        def reply(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *given: Any) -> None:
            pass  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tools(url: str, lag: float = 0.3) -> list[BaseTool]:
    """Return `push_keyed`, `push_marked` and `push_blind`."""

    async def post(title: str, key: str | None = None, mark: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{url}/things", json={"title": title, "mark": mark}, headers=headers)
        if answer.status_code == 400:
            raise NotDone(f"It was refused: {answer.json()['error']}.")
        return {"number": answer.raise_for_status().json()["number"]}

    async def find(mark: str) -> dict[str, Any] | None:
        async with httpx.AsyncClient(trust_env=False) as http:
            found = (await http.get(f"{url}/things", params={"mark": mark})).raise_for_status().json()
        return {"number": found[0]["number"]} if found else None

    def push(name: str, call: Any) -> BaseTool:
        @tool(name)
        async def pushing(*, title: str, runtime: ToolRuntime[RunScope, Any]) -> str:
            """Put a thing into the other system."""
            assert runtime.tool_call_id is not None
            done = await runtime.context.external(runtime.tool_call_id, call(title))
            return f"Made number {done['number']}"

        return pushing

    unknown = "Whether the thing was made in the other system is not known."

    def keyed(title: str) -> External:
        return Keyed(perform=lambda key: post(title, key=key), unknown=unknown, pauses=(0.1, 0.1))

    def marked(title: str) -> External:
        return Marked(perform=lambda key: post(title, mark=key), find=find, unknown=unknown, lag=lag)

    def blind(title: str) -> External:
        return Blind(perform=lambda: post(title), unknown=unknown)

    return [push("push_keyed", keyed), push("push_marked", marked), push("push_blind", blind)]
