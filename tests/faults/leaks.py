"""What a thousand reconnects leave behind: nothing.

``python -m tests.faults.leaks [--reconnects 1000]`` prints tasks, threads, open files and memory of the kernel and of
the server before and after.
"""

import argparse
import asyncio
import contextlib
import gc
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.faults.fault_proxy import FIN, RST
from tests.faults.network import Network, all_answered, network, say, until
from tests.server_fixtures import server

from edchat_widget._io.driver import Driver

SESSIONS = 10
KIB = 1024


@dataclass(frozen=True)
class Standing:
    """What both sides hold at one time. Memory in KiB."""

    tasks: int
    threads: int
    files: int
    memory: int
    server_files: int
    server_threads: int
    server_memory: int


def standing(net: Network) -> Standing:
    gc.collect()
    kernel, other = psutil.Process(), psutil.Process(net.server.process.pid)
    return Standing(
        tasks=len(asyncio.all_tasks()), threads=threading.active_count(), files=kernel.num_fds(),
        memory=kernel.memory_info().rss // KIB, server_files=other.num_fds(), server_threads=other.num_threads(),
        server_memory=other.memory_info().rss // KIB,
    )


async def reconnect(net: Network, driver: Driver, session: str, times: int) -> None:
    """Cut the line so often; each time wait until it stands again."""
    for number in range(times):
        before = len(net.connects(session))

        def anew(before: int = before) -> bool:
            return len(net.connects(session)) > before

        for line in net.lines(session).values():
            line.cut((FIN, RST)[number % 2])
        # The first attempt may be over before the view shows that there was one.
        await until(lambda: anew() or not standing_line(driver), what="the cut is noticed")
        driver.reconnect()  # as a person would: else attempts that last no ten seconds are used up
        await until(lambda: anew() and standing_line(driver), seconds=30, what="the line stands again")


def standing_line(driver: Driver) -> bool:
    return driver.view.connection.state in ("connected", "fallback")


async def leaks(net: Network, reconnects: int, *, warm: int, websocket: bool) -> tuple[Standing, Standing]:
    """Return what both sides hold after `warm` reconnects, and after many more, of `SESSIONS` conversations."""
    async with contextlib.AsyncExitStack() as stack:
        drivers = {}
        for number in range(SESSIONS):
            session = f"leaks-{'ws' if websocket else 'http'}-{number}"
            drivers[session] = await stack.enter_async_context(net.kernel(session, enable_websocket=websocket))

        async def round_of(times: int) -> Standing:
            for session, driver in drivers.items():
                await all_answered(driver, say(driver, f"make Story {times} of {session}"))
            await asyncio.gather(*(reconnect(net, d, session, times) for session, d in drivers.items()))
            await asyncio.sleep(2.5)
            return standing(net)

        return await round_of(warm // SESSIONS), await round_of(reconnects // SESSIONS)


async def run(reconnects: int, folder: Path, *, warm: int = 250, websocket: bool) -> tuple[Standing, Standing]:
    """Start a server and measure. Until it is warm, memory grows for reasons of its own."""
    with server(folder / "data") as process:
        async with network(process, folder) as net:
            return await leaks(net, reconnects, warm=warm, websocket=websocket)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.faults.leaks")
    options.add_argument("--reconnects", type=int, default=1000)
    given = options.parse_args()
    for carrier in ("ws", "http"):
        with tempfile.TemporaryDirectory(prefix="edchat-leaks-") as name:
            before, after = asyncio.run(run(given.reconnects, Path(name), websocket=carrier == "ws"))
        print(f"{carrier}, {given.reconnects} reconnects\n  before {before}\n  after  {after}")


if __name__ == "__main__":
    main()
