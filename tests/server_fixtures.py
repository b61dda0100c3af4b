"""A real server process with a scripted model, and a bare client of protocol version 2."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import httpx
from tests import server_main
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).resolve().parent / "scripted_server.py"


# Importing the server takes longer than all that most tests do with it, so a process that has done it is forked.
FORKS = get_context("forkserver") if "forkserver" in get_all_start_methods() else None
if FORKS is not None:
    FORKS.set_forkserver_preload(["tests.server_main"])


class Forked:
    """A forked server, with what tests use of `subprocess.Popen`."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str]) -> None:
        assert FORKS is not None
        self._ready, ready = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=server_main.run, args=(command, ready, str(log), env), daemon=True)
        self._process.start()
        ready.close()
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def first_line(self) -> str:
        with open(self._ready.fileno(), encoding="utf-8", closefd=False) as lines:
            return lines.readline()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("server", timeout)
        return code

    def close(self) -> None:
        self._ready.close()
        self._process.close()


class Spawned(subprocess.Popen[str]):
    """A server in a fresh interpreter, as people start it."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str]) -> None:
        with log.open("a", encoding="utf-8") as stderr:
            super().__init__(
                [sys.executable, *command, "--ready-fd", "1"],
                stdout=subprocess.PIPE, stderr=stderr, text=True, env=env,
            )

    def first_line(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline()

    def close(self) -> None:
        assert self.stdout is not None
        self.stdout.close()


@dataclass
class ServerProcess:
    """A running server. `url` is its HTTP address."""

    process: Forked | Spawned
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
    paths = [str(ROOT / "server"), str(ROOT / "src"), str(ROOT)]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "EDCHAT_TOKEN": ""} | extra


@contextmanager
def server(
    data_dir: Path, *options: str, script: bool = True, open_to_all: bool = False, **env: str
) -> Iterator[ServerProcess]:
    """Run a server until the block ends. Its log goes to ``server.log`` in the data folder.

    `open_to_all`: without a token, which the ready line would otherwise bring along.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log, told = data_dir / "server.log", ["--port", "0", "--data-dir", str(data_dir), *options]
    if open_to_all:
        told.append("--open")
    process: Forked | Spawned
    if script and FORKS is not None:
        process = Forked(told, log, environment(**env))
    else:
        command = [str(SCRIPT)] if script else ["-m", "edchat_server"]
        process = Spawned([*command, *told], log, environment(**env))
    try:
        line = process.first_line()
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
        process.close()


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
    receive_buffer: int | None = None
    want: tuple[str, ...] = ()
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
                proxy=None, compression=None, sock=self._socket(),
            )
        )
        hello = {
            "proto": 2, "session": self.session, "client": self.client, "conn": self.conn,
            "cursor": self.cursor, "epoch": self.epoch, "csn": self.csn, "want": self.want,
        }
        self.send({"type": "hello", "data": hello})
        self.welcome = self.until("welcome")["data"]
        self.epoch = self.welcome["epoch"]
        return self

    def _socket(self) -> socket.socket | None:
        if self.receive_buffer is None:
            return None
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        host, port = self.server.url.removeprefix("http://").split(":")
        made.connect((host, int(port)))
        return made

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
        return self.take(json.loads(self.ws.recv(timeout)))

    def take(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Apply one frame, whatever brought it."""
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

    def closed_code(self) -> int:
        """Read to the end; return the close code that the server sent."""
        assert self.ws is not None
        with suppress(ConnectionClosed):
            while True:
                self.recv()
        code = self.ws.protocol.close_code
        assert code is not None
        return code

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
