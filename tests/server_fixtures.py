"""A real server process with a scripted model, and a bare client of protocol version 2."""

import json
import os
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).resolve().parent / "scripted_server.py"


@dataclass
class ServerProcess:
    """A running server. `url` is its HTTP address."""

    process: subprocess.Popen[str]
    url: str
    data_dir: Path
    ready: dict[str, Any]

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws/chat"

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def wait(self, timeout: float = 30) -> int:
        return self.process.wait(timeout)


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EDCHAT_")}
    paths = [str(ROOT / "server"), str(ROOT / "src")]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "EDCHAT_TOKEN": ""} | extra


@contextmanager
def server(
    data_dir: Path, *options: str, script: bool = True, open_to_all: bool = False, **env: str
) -> Iterator[ServerProcess]:
    """Run a server until the block ends. Its log goes to ``server.log`` in the data folder.

    `open_to_all`: without a token, which the ready line would otherwise bring along.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *([str(SCRIPT)] if script else ["-m", "edchat_server"])]
    if open_to_all:
        command.append("--open")
    with (data_dir / "server.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", "--ready-fd", "1", "--data-dir", str(data_dir), *options],
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment(**env),
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (data_dir / "server.log").read_text(encoding="utf-8")
        ready = json.loads(line)
        yield ServerProcess(process, ready["url"], data_dir, ready)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@dataclass
class Client:
    """Speaks version 2 by hand: keeps what it was sent, remembers its cursor."""

    server: ServerProcess
    session: str = "s1"
    client: str = "c1"
    conn: int = 0
    csn: int = 0
    cursor: int = 0
    epoch: str | None = None
    frames: list[dict[str, Any]] = field(default_factory=list)
    log: dict[int, dict[str, Any]] = field(default_factory=dict)
    welcome: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ws: ClientConnection | None = None
        self._stack = ExitStack()
        self._unread: deque[dict[str, Any]] = deque()

    def open(self, **headers: str) -> "Client":
        self.conn += 1
        token = self.server.ready["token"]
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        self.ws = self._stack.enter_context(
            connect(
                self.server.ws, subprotocols=[Subprotocol("edchat.v2")], additional_headers=headers,
                proxy=None, compression=None,
            )
        )
        hello = {
            "proto": 2, "session": self.session, "client": self.client, "conn": self.conn,
            "cursor": self.cursor, "epoch": self.epoch, "csn": self.csn,
        }
        self.send({"type": "hello", "data": hello})
        self.welcome = self.until("welcome")["data"]
        self.epoch = self.welcome["epoch"]
        return self

    def send(self, frame: dict[str, Any] | str) -> None:
        assert self.ws is not None
        self.ws.send(frame if isinstance(frame, str) else json.dumps(frame))

    def say(self, content: str, **extra: Any) -> str:
        self.csn += 1
        message_id = extra.pop("id", None) or uuid.uuid4().hex
        frame = {"type": "message", "id": message_id, "csn": self.csn, "data": {"content": content}}
        self.send(frame | extra)
        return message_id

    def recv(self, timeout: float = 20) -> dict[str, Any]:
        """Read one frame from the socket and apply it."""
        assert self.ws is not None
        frame: dict[str, Any] = json.loads(self.ws.recv(timeout))
        self.frames.append(frame)
        if frame["type"] == "events":
            for event in frame["data"]["frames"]:
                self._apply(event)
        elif frame["type"] == "snapshot":
            for event in frame["data"]["frames"]:
                self.log[event["seq"]] = event
            if frame["data"]["last_page"]:
                self.cursor = frame["data"]["head"]
        elif "seq" in frame:
            self._apply(frame)
        else:
            self._unread.append(frame)
        return frame

    def _apply(self, event: dict[str, Any]) -> None:
        assert event["seq"] == self.cursor + 1, (event, self.cursor)
        self.cursor = event["seq"]
        self.log[event["seq"]] = event
        self._unread.append(event)

    def until(self, kind: str, **data: Any) -> dict[str, Any]:
        """Read to the next frame or event of a type whose data has these values."""
        while True:
            while self._unread:
                frame = self._unread.popleft()
                if frame["type"] == kind and data.items() <= (frame.get("data") or {}).items():
                    return frame
            self.recv()

    def until_over(self) -> str:
        """Read to the end of a run; return its last state."""
        final = {"completed", "failed", "cancelled", "uncertain"}
        while True:
            event = self.until("status")
            if event["data"]["status"] in final:
                return str(event["data"]["status"])

    def close(self) -> None:
        self._stack.close()
        self.ws = None


def fold(log: dict[int, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return what a person sees of a log: texts, tool calls and states, in order of their first event."""
    seen: dict[tuple[str, str], tuple[str, ...]] = {}
    for seq in sorted(log):
        event, data = log[seq], log[seq].get("data", {})
        match event["type"]:
            case "token":
                key = ("text", event["mid"])
                old = seen.get(key, ("text", ""))[1]
                assert event["off"] <= len(old), "a hole in a text"
                seen[key] = ("text", old[: event["off"]] + data["token"])
            case "message":
                seen[("text", event["mid"])] = (data.get("role", "text"), data["content"])
            case "tool_execution":
                story = [a["data"]["id"] for a in data.get("artifacts", ()) if a["type"] == "story"]
                seen[("tool", event["step"])] = ("tool", data["tool"], data["status"], *story)
            case "status":
                for mid in data.get("supersedes", ()):
                    seen.pop(("text", mid), None)
                seen[("run", event["run"])] = ("run", data["status"])
    return list(seen.values())
