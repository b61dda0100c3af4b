"""A healthy line, and coming back: reconnects for each 1,000 messages, and how long a client takes to catch up."""

import asyncio
import json
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

from websockets.asyncio.client import connect

from edchat_widget._io.driver import Driver
from edchat_widget._io.transport import Endpoint
from edchat_widget.settings import Settings

SESSION = "long"
MISSED = 5000
WINDOW = 20


async def healthy(url: str, folder: Path, count: int) -> float:
    """Send so many messages with the kernel's own driver; return how often it reconnected per 1,000."""
    endpoint = Endpoint(url)

    async def resolve(*, renew: bool = False) -> Endpoint:
        return endpoint

    driver = Driver(Settings(url=url, data_dir=folder), SESSION, resolve)
    driver.start()
    sent = 0
    while sent < count:
        ids = [uuid.uuid4().hex for _ in range(min(WINDOW, count - sent))]
        for message_id in ids:
            driver.submit(message_id, "Create a P1 story for user authentication")
        wanted = ids[-1]
        await driver.until(lambda view, wanted=wanted: any(  # type: ignore[misc]
            m.id == wanted and m.state == "answered" for m in view.messages[-2 * WINDOW:]))
        sent += len(ids)
    reconnects = driver.metrics().reconnects
    await driver.close()
    return reconnects * 1000 / count


async def welcome(socket: Any, hello: dict[str, Any]) -> dict[str, Any]:
    await socket.send(json.dumps({"type": "hello", "data": {"proto": 2, "session": SESSION, **hello}}))
    while True:
        frame = json.loads(await socket.recv())
        if frame["type"] == "welcome":
            data: dict[str, Any] = frame["data"]
            return data


async def catch_up(url: str, missed: int, times: int) -> float:
    """Return the median time, in milliseconds, from dialling until this many missed events are there."""
    address = url.replace("http", "ws", 1) + "/ws/chat"
    took = []
    epoch, cursor, head = None, 0, 0
    for number in range(times + 1):
        began = time.perf_counter()
        async with connect(address, subprotocols=["edchat.v2"], compression=None, proxy=None) as socket:  # type: ignore[list-item]
            told = await welcome(socket, {"client": f"r{number}", "conn": 1, "cursor": cursor, "epoch": epoch})
            if epoch is None:  # the first one only asks where the log stands
                epoch, head = told["epoch"], told["head"]
                cursor = head - missed
                assert cursor >= 0, f"the log has {head} events only"
                continue
            assert told["resume"] == "replay"
            last = cursor
            while last < head:
                frame = json.loads(await socket.recv())
                last = frame["data"]["last"] if frame["type"] == "events" else frame.get("seq", last)
            took.append((time.perf_counter() - began) * 1000)
    return median(took)


def measure(url: str, folder: Path) -> dict[str, dict[str, float]]:
    """`url` is the server's HTTP address. The healthy line's messages are what is caught up with."""
    reconnects = asyncio.run(healthy(url, folder / "driver", 1000))
    return {
        "a healthy line": {"reconnects per 1,000 messages": reconnects},
        "resume": {"ms for 5,000 events": asyncio.run(catch_up(url, MISSED, 5))},
    }
