"""The line is cut at any point of an exchange: nothing lost, nothing doubled, nothing out of order.

One server serves all cases, each in a session of its own. A point is where the first connection of its kind is
cut; the ones after it are left alone.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from tests.faults.fault_proxy import FIN, RST, Direction, How, Script
from tests.faults.network import Network, all_answered, judge, network, say
from tests.server_fixtures import server

TEXT = "make Story {0} with Größe | Second {0}"
TITLES = ("Story {0} with Größe", "Second {0}")
WIDTH = 8
ENDLESS = 10**9

Unit = Literal["nbytes", "nframes"]


@dataclass(frozen=True)
class Point:
    """Where the line is cut: behind so many bytes or frames of the first connection of a kind."""

    kind: str
    direction: Direction
    unit: Unit
    count: int
    how: How = RST

    @property
    def session(self) -> str:
        return f"{self.kind}-{self.direction}-{self.unit}-{self.count}-{self.how}"

    @property
    def script(self) -> Script:
        if self.unit == "nbytes":
            return Script().cut_after(self.direction, nbytes=self.count, how=self.how)
        return Script().cut_after(self.direction, nframes=self.count, how=self.how)


async def exchange(net: Network, session: str, *, websocket: bool, watch: Callable[[], None] = lambda: None) -> None:
    """The golden exchange: connect, ask for two stories, be answered."""
    async with net.kernel(session, enable_websocket=websocket) as driver:
        await all_answered(driver, say(driver, TEXT.format(session)))
        watch()


async def golden(net: Network, unit: Unit) -> tuple[list[str], list[Point]]:
    """Return where exchanges that nothing disturbs end, by kind and direction, and their sessions."""
    ends: list[Point] = []
    sessions = []
    for websocket in (True, False):
        session = f"golden-{unit}-{'ws' if websocket else 'http'}"
        for kind in ("ws", "sse", "post"):
            script = Script().cut_after("up", nframes=ENDLESS).cut_after("down", nframes=ENDLESS)
            net.plans.plan(session, kind, script)

        def measure(session: str = session) -> None:
            for kind, line in net.lines(session).items():
                for way in ("up", "down"):
                    frames = line.scanners[way].frames
                    ends.append(Point(kind, way, unit, line.sent[way] if unit == "nbytes" else frames))

        await exchange(net, session, websocket=websocket, watch=measure)
        sessions.append(session)
    framed = [end for end in ends if unit == "nbytes" or end.kind != "post"]
    return sessions, [end for end in framed if end.count]


async def cut_at(net: Network, points: Iterable[Point]) -> list[str]:
    """Run an exchange for each point, several at a time; return their sessions."""
    sessions: list[str] = []
    failures: list[str] = []
    left = iter(points)

    async def worker() -> None:
        for point in left:
            sessions.append(point.session)
            net.plans.plan(point.session, point.kind, point.script)
            try:
                await exchange(net, point.session, websocket=point.kind == "ws")
            except AssertionError as exc:
                failures.append(f"{point}: {exc}")

    await asyncio.gather(*(worker() for _ in range(WIDTH)))
    assert not failures, "\n".join(failures[:20])
    return sessions


def run(folder: Path, unit: Unit, choose: Callable[[list[Point]], list[Point]], *, pause: float = 0) -> int:
    """Cut at the chosen points of the golden exchanges and judge; return how many cuts there were.

    `pause`: between the model's words, so that each comes in a frame of its own.
    """
    with server(folder / "data", "--pause", str(pause)) as process:

        async def main() -> tuple[Network, list[str], int]:
            async with network(process, folder) as net:
                sessions, ends = await golden(net, unit)
                print("golden:", *(f"{end.kind} {end.direction} {end.count}" for end in ends), sep="\n  ")
                points = choose(ends)
                sessions += await cut_at(net, points)
                cuts = net.proxy.stats.cuts
                # The last bytes of a stream vary from run to run: not each point near its end is reached.
                assert cuts >= 0.9 * len(points), f"only {cuts} of {len(points)} cuts took place"
                return net, sessions, cuts

        net, sessions, cuts = asyncio.run(main())
    judge(net, {s: [TEXT.format(s)] for s in sessions}, [t.format(s) for s in sessions for t in TITLES])
    return cuts


def every(stride: int, offset: int, ends: list[Point]) -> list[Point]:
    """Return each `stride`-th point up to the ends, with both ways to cut in turn."""
    hows = itertools.cycle((FIN, RST))
    return [
        Point(end.kind, end.direction, end.unit, count, next(hows))
        for end in ends for count in range(offset, end.count + 1, stride)
    ]


@pytest.mark.fault("F1", "cut at every frame boundary, both ways, FIN and RST, WebSocket and HTTP")
def test_a_cut_between_two_frames_loses_and_doubles_nothing(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    def choose(ends: list[Point]) -> list[Point]:
        return [
            Point(end.kind, end.direction, end.unit, count, how)
            for end in ends for count in range(end.count + 1) for how in (FIN, RST)
        ]

    record_property("cases", run(tmp_path, "nframes", choose, pause=0.01))


STRIDE = 61


@pytest.mark.fault("F2", "cut at each 61st byte from a random one on, WebSocket and HTTP")
def test_a_cut_at_any_byte_loses_and_doubles_nothing(tmp_path: Path, record_property: Callable[..., None]) -> None:
    offset = random.randrange(STRIDE)
    print(f"offset {offset}")
    record_property("cases", run(tmp_path, "nbytes", lambda ends: every(STRIDE, offset, ends)))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("carrier", [
    pytest.param("ws", marks=pytest.mark.fault("F2", "cut at every byte of an exchange over WebSocket")),
    pytest.param("http", marks=pytest.mark.fault("F2", "cut at every byte of an exchange over HTTP")),
])
def test_a_cut_at_every_byte_loses_and_doubles_nothing(
    tmp_path: Path, record_property: Callable[..., None], carrier: str
) -> None:
    def choose(ends: list[Point]) -> list[Point]:
        return every(1, 0, [end for end in ends if (end.kind == "ws") == (carrier == "ws")])

    record_property("cases", run(tmp_path, "nbytes", choose))
