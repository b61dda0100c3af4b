"""Everybody comes back at once: the server dies under many clients and starts again.

``python -m tests.faults.storm [--clients 500] [--down 2] [--polite]`` prints the figures. The clients are the
kernel's real drivers, all in one process; one in ten has a message on its way. Each stores the number of each
connection before it opens it: with ``TMPDIR=/dev/shm`` five hundred kernels do not wait for one disk.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.faults.network import Truth, all_answered, say, until
from tests.processes import free_port
from tests.server_fixtures import ServerProcess, server

from edchat_widget._io.driver import Driver
from edchat_widget._io.transport import Endpoint
from edchat_widget.events import ChatEvent
from edchat_widget.settings import Settings

DOWN = 2.0
TOKEN = "of-the-crowd-and-of-nobody-else"
SAMPLE = 0.25
BUSY = 0.95
_SENDERS = 10


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What became of it. Seconds."""

    clients: int
    down: float
    """How long no server listened: what the clients' waits have grown with."""
    back_after_start: list[float]
    """For each client: from the moment when the server listens again. Sorted."""
    longest_busy: float
    """For how long, at most, the server kept one core busy without a pause."""
    stories: int
    wanted: int

    @property
    def spread(self) -> float:
        """From the first that was back to the last."""
        return self.back_after_start[-1] - self.back_after_start[0]

    def quantile(self, share: float) -> float:
        """Return when this share of the clients was back."""
        return self.back_after_start[min(len(self.back_after_start) - 1, int(len(self.back_after_start) * share))]


@contextlib.asynccontextmanager
async def crowd(url: str, folder: Path, count: int) -> AsyncIterator[list[Driver]]:
    """So many conversations, each of its own session, all connected."""
    endpoint = Endpoint(url, TOKEN)

    async def resolve(*, renew: bool = False) -> Endpoint:
        return endpoint

    settings = Settings(url=url, token=TOKEN, data_dir=folder)
    drivers = [Driver(settings, f"storm-{n}", resolve) for n in range(count)]
    try:
        for driver in drivers:
            driver.start()
            await asyncio.sleep(0.005)  # coming in one after the other is not what is tried here
        await until(lambda: all(connected(d) for d in drivers), seconds=60, what="the crowd is connected")
        yield drivers
    finally:
        for driver in drivers:
            driver.shut()
        await asyncio.gather(*(driver.close() for driver in drivers))


def connected(driver: Driver) -> bool:
    return driver.view.connection.state == "connected"


async def storm(folder: Path, clients: int, *, polite: bool = False, down: float = DOWN) -> Storm:
    """Kill the server under so many clients, or stop it politely; start it again after `down` seconds."""
    options = ("--port", str(free_port()))
    async with contextlib.AsyncExitStack() as stack:
        with server(folder / "data", *options, EDCHAT_TOKEN=TOKEN) as first:
            drivers = await stack.enter_async_context(crowd(first.url, folder / "kernel", clients))
            await asyncio.to_thread(_end, first, polite)
            ended = time.monotonic()
        back: dict[int, float] = {}

        def watch(number: int, event: ChatEvent) -> None:
            if event.connection is not None and event.connection.state == "connected":
                back.setdefault(number, time.monotonic())

        for number, driver in enumerate(drivers):
            driver.listen(lambda event, number=number: watch(number, event))  # type: ignore[misc]
        senders = drivers[::_SENDERS]
        said = [say(driver, f"make Import {n}") for n, driver in enumerate(senders)]
        await asyncio.sleep(max(0.0, ended + down - time.monotonic()))
        with server(folder / "data", *options, EDCHAT_TOKEN=TOKEN) as second:
            listening = time.monotonic()
            busy = asyncio.create_task(_longest_busy(second))
            await until(lambda: len(back) == clients, seconds=120, what="all are back")
            for driver, message in zip(senders, said, strict=True):
                await all_answered(driver, message, seconds=60)
            busy.cancel()
            longest = await busy
            await stack.aclose()
    titles = Truth(folder / "data" / "edchat.db").titles
    return Storm(
        clients=clients, down=listening - ended, longest_busy=longest, stories=titles.total(), wanted=len(senders),
        back_after_start=sorted(at - listening for at in back.values()),
    )


def _end(running: ServerProcess, polite: bool) -> None:
    if polite:
        running.process.terminate()
        running.wait()
    else:
        running.kill()


async def _longest_busy(running: ServerProcess) -> float:
    """Return, when cancelled, the longest time for which the server used all of a core."""
    process = psutil.Process(running.process.pid)
    longest = since = 0.0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            before, at = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(SAMPLE)
            took = time.monotonic() - at
            full = sum(process.cpu_times()[:2]) - before >= BUSY * took
            since = since + took if full else 0.0
            longest = max(longest, since)
    return longest


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.faults.storm")
    options.add_argument("--clients", type=int, default=500)
    options.add_argument("--polite", action="store_true", help="SIGTERM instead of kill -9")
    options.add_argument("--down", type=float, default=DOWN, help="seconds until it is started again")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="edchat-storm-") as folder:
        seen = asyncio.run(storm(Path(folder), given.clients, polite=given.polite, down=given.down))
    print(f"{seen.clients} clients, the server {'stopped' if given.polite else 'killed'}, down for {seen.down:.2f} s")
    print(f"back after s: first {seen.back_after_start[0]:.2f}, p50 {seen.quantile(0.5):.2f}, "
          f"p95 {seen.quantile(0.95):.2f}, last {seen.back_after_start[-1]:.2f}; spread {seen.spread:.2f}")
    print(f"the server's longest time at one whole core: {seen.longest_busy:.2f} s")
    print(f"stories wanted {seen.wanted}, made {seen.stories}")


if __name__ == "__main__":
    main()
