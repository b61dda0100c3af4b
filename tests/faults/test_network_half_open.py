"""A line that is dead and does not say so: noticed in time, replaced, and what it held is not doubled."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.fault_proxy import Direction
from tests.faults.network import Network, all_answered, judge, network, say, until
from tests.server_fixtures import ServerProcess, server

NOTICED_WITHIN = 25.0
DEAD: dict[str, tuple[Direction, ...]] = {"up": ("up",), "down": ("down",), "both": ("up", "down")}
PHASES = ("idle", "streaming", "unacknowledged")


async def falls_silent(net: Network, dead: str, phase: str, heartbeat: float, websocket: bool) -> tuple[str, list[str]]:
    """Silence a line in this phase; return the session and what was said in it once all is answered."""
    session = f"{dead}-{phase}-{'ws' if websocket else 'http'}"
    texts = [f"make {session} one", "slow 60", f"make {session} two"]
    loop = asyncio.get_running_loop()
    settings = {"heartbeat_interval": heartbeat, "enable_websocket": websocket}
    async with net.kernel(session, **settings) as driver:
        said = [say(driver, texts[0])]
        await all_answered(driver, *said)
        if phase == "streaming":
            said.append(say(driver, texts[1]))
            await until(lambda: "t2 " in driver.view.messages[-1].text, what="a stream")
        for line in net.lines(session).values():
            for direction in DEAD[dead]:
                line.silence(direction)
        silent_since = loop.time()
        if phase == "unacknowledged":
            said.append(say(driver, texts[2]))
        known = {conn_of(net, session)}
        await until(lambda: conn_of(net, session) not in known, seconds=60, what=f"a new line for {session}")
        noticed = loop.time() - silent_since
        if phase != "unacknowledged":
            said.append(say(driver, texts[2]))
        await all_answered(driver, *said)
        assert noticed <= NOTICED_WITHIN + 1.2, f"{session}: noticed after {noticed:.1f} s"  # 60 words take 1.2 s
    return session, [texts[0], *([texts[1]] if phase == "streaming" else []), texts[2]]


def conn_of(net: Network, session: str) -> int:
    """Count the connections that this session has tried to open."""
    return len(net.connects(session))


def half_open(folder: Path, heartbeat: float) -> int:
    """Run all cases at once, for they mostly wait; return how many."""
    cases = list(itertools.product(DEAD, PHASES, (True, False)))
    with server(folder / "data", "--pause", "0.02") as process:

        async def main() -> tuple[Network, list[tuple[str, list[str]]]]:
            async with network(process, folder) as net:
                told = await asyncio.gather(
                    *(falls_silent(net, dead, phase, heartbeat, websocket) for dead, phase, websocket in cases))
                # A poll's place is kept for a while, in case that another poll follows.
                await until(
                    lambda: connections(process) == 0, seconds=30, what="the server lets the dead connections go")
                return net, told

        net, told = asyncio.run(main())
    judge(net, dict(told), [text[5:] for _, texts in told for text in texts if text.startswith("make")])
    return len(cases)


def connections(process: ServerProcess) -> int:
    with process.http(headers={"Authorization": f"Bearer {process.ready['token']}"}) as http:
        return int(http.get("/api/status").json()["connections"])


@pytest.mark.fault("F3", "a proxy forwards nothing any more: up, down, both; idle, streaming, unacknowledged")
def test_a_dead_line_is_noticed_and_replaced(tmp_path: Path, record_property: Callable[..., None]) -> None:
    record_property("cases", half_open(tmp_path, 0.3))


@pytest.mark.slow
@pytest.mark.fault("F3", "the same with the heartbeat that people have, 15 s")
def test_a_dead_line_is_noticed_within_25_seconds(tmp_path: Path, record_property: Callable[..., None]) -> None:
    record_property("cases", half_open(tmp_path, 15.0))
