"""On the wire and in the server: acknowledgement, bytes, memory."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from tests.bench import resume
from tests.processes import free_port, wait_until
from websockets.asyncio.client import ClientConnection, connect


@contextlib.contextmanager
def server(module: str, argument: Path, stamps: Path) -> Iterator[tuple[str, int]]:
    """Run `python -m module PORT argument`; yields its ws:// address and its pid."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(port), str(argument)], env={**os.environ, "BENCH_STAMPS": str(stamps)},
        stdin=subprocess.DEVNULL,
    )

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    try:
        wait_until(healthy, what=module)
        yield f"ws://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(15)


class Client:
    """A version 2 client that counts bytes."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self.socket = socket
        self.session = session
        self.sent = self.received = 0
        self.csn = 0

    async def send(self, frame: dict[str, Any]) -> None:
        raw = json.dumps(frame, separators=(",", ":"))
        self.sent += len(raw)
        await self.socket.send(raw)

    async def until(self, wanted: str) -> dict[str, Any]:
        """Return the next frame of a type, or the next status of that name."""
        while True:
            raw = await self.socket.recv()
            self.received += len(raw)
            frame: dict[str, Any] = json.loads(raw)
            frames = frame["data"]["frames"] if frame["type"] == "events" else [frame]
            for each in frames:
                if each["type"] == wanted or (each["type"] == "status" and each["data"]["status"] == wanted):
                    return each

    async def hello(self) -> None:
        await self.send({"type": "hello", "data": {
            "proto": 2, "session": self.session, "client": f"c-{self.session}", "conn": 1}})
        await self.until("welcome")

    async def message(self, text: str) -> None:
        self.csn += 1
        await self.send({"type": "message", "id": f"m-{self.session}-{self.csn}", "csn": self.csn,
                         "data": {"content": text}})


@contextlib.asynccontextmanager
async def joined(url: str, session: str) -> Any:
    async with connect(f"{url}/ws/chat?session_id={session}", subprotocols=["edchat.v2"], compression=None,  # type: ignore[list-item]
                       proxy=None) as socket:
        client = Client(socket, session)
        await client.hello()
        yield client


async def acknowledgement(url: str, floor: str, count: int) -> dict[str, float]:
    """Time message → ack beside the floor's echo, one after the other; each message's run ends before the next."""
    ours, bare = [], []
    async with joined(url, "ack") as client, connect(f"{floor}/ws/chat", compression=None, proxy=None) as echo:
        text = "Create a P1 story for user authentication in the Security epic"
        for number in range(count + 20):
            start = time.perf_counter()
            await client.message(text)
            await client.until("ack")
            middle = time.perf_counter()
            await client.until("completed")
            again = time.perf_counter()
            await echo.send(text)
            await echo.recv()
            if number >= 20:
                ours.append((middle - start) * 1000)
                bare.append((time.perf_counter() - again) * 1000)
    return {
        "ack p50 ms": median(ours), "ack p99 ms": quantiles(ours, n=100)[98],
        "floor p50 ms": median(bare), "floor p99 ms": quantiles(bare, n=100)[98],
        "ack / floor p50": median(ours) / median(bare),
    }


async def volume(url: str) -> dict[str, float]:
    """Count the payload bytes of 100 messages: 50 sentences and their 50 answers."""
    async with joined(url, "volume") as client:
        client.sent = client.received = 0
        for _ in range(50):
            await client.message("Create a P1 story for user authentication in the Security epic")
            await client.until("completed")
        return {"up KB": client.sent / 1000, "down KB": client.received / 1000,
                "both KB": (client.sent + client.received) / 1000}


async def idle(url: str, pid: int, count: int) -> dict[str, float]:
    """Measure the server's resident memory for each connection that does nothing."""
    process = psutil.Process(pid)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(20):
            await stack.enter_async_context(joined(url, f"warm-{number}"))
        before = process.memory_info().rss
        for number in range(count):
            await stack.enter_async_context(joined(url, f"idle-{number}"))
        await asyncio.sleep(0.5)
        return {"KiB per idle connection": (process.memory_info().rss - before) / 1024 / count}


def measure(folder: Path, *, quick: bool) -> dict[str, dict[str, float]]:
    stamps = folder / "stamps.json"
    with server("tests.bench.scripted_server", folder / "wire", stamps) as (url, pid), \
            server("tests.bench.floor_server", folder / "floor.db", stamps) as (floor, _):
        return {
            "send → ack": asyncio.run(acknowledgement(url, floor, 100 if quick else 500)),
            "100 messages": asyncio.run(volume(url)),
            "memory": asyncio.run(idle(url, pid, 200 if quick else 1000)),
            **({} if quick else resume.measure(url.replace("ws", "http", 1), folder)),
        }
