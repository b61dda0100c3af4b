"""The carrier changes every 50 to 500 ms while answers stream: the log arrives whole, once, in order."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.fault_proxy import FIN, RST, Script
from tests.faults.network import Network, all_answered, judge, kind_of, network, say, session_of
from tests.server_fixtures import server

from edchat_protocol.frames import HelloData
from edchat_widget._core.carriers import Carrier
from edchat_widget._io.http import HeldStreams, connect_http
from edchat_widget._io.transport import Endpoint, Transport, connect

SEEDS = 20
SWITCHES = 14
WAYS = ("ws", "sse", "poll")


async def switching(net: Network, ways: dict[str, str], seed: int) -> tuple[str, list[str]]:
    """Chat while the way that is open changes all the time; return what was said."""
    session, rng = f"switch-{seed}", random.Random(seed)
    ways[session] = rng.choice(WAYS)

    async def opener(endpoint: Endpoint, carrier: Carrier, hello: HelloData) -> Transport:
        if carrier == "ws":
            return await connect(endpoint, carrier, hello)
        held = HeldStreams()
        if ways[session] == "poll":  # as if found out already: to find it out takes seconds
            held.found(endpoint.url, asyncio.get_running_loop().time())
        return await connect_http(endpoint, hello, held=held)

    texts = [f"slow {rng.randint(60, 120)}", f"make {session} one", "slow 50", f"make {session} two"]
    async with net.kernel(session, opener=opener) as driver:
        said = []
        for number in range(SWITCHES):
            if number % 4 == 0:
                said.append(say(driver, texts[number // 4]))
            await asyncio.sleep(rng.uniform(0.05, 0.5))
            ways[session] = rng.choice(WAYS)
            if rng.random() < 0.7:
                for line in net.lines(session).values():
                    line.cut(rng.choice((FIN, RST)))
            driver.reconnect()  # or, where it stands, look whether a WebSocket can be had
        await all_answered(driver, *said, seconds=60)
    return session, texts


@pytest.mark.fault("F19", "WebSocket, stream and polling in turn, every 50 to 500 ms, with and without a cut")
def test_carriers_that_change_all_the_time_lose_and_double_nothing(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    first = random.randrange(10**6)
    print(f"seeds {first} to {first + SEEDS - 1}")
    ways: dict[str, str] = {}

    def script(head: bytes) -> Script:
        blocked = kind_of(head) == "ws" and ways.get(session_of(head)) != "ws"
        return Script().mangle_http(status=404) if blocked else Script()

    with server(tmp_path / "data", "--pause", "0.01") as process:

        async def main() -> tuple[Network, list[tuple[str, list[str]]]]:
            async with network(process, tmp_path) as net:
                net.proxy.default = script
                return net, await asyncio.gather(*(switching(net, ways, first + n) for n in range(SEEDS)))

        net, told = asyncio.run(main())
    judge(net, dict(told), [text[5:] for _, texts in told for text in texts if text.startswith("make")])
    kinds = Counter(kind_of(head) for _, head in net.proxy.stats.heads)
    assert all(kinds[way] >= SEEDS for way in WAYS), f"too few connections of a kind: {kinds}"
    record_property("cases", SEEDS)
