"""A kernel that meets the server's limits: it waits as long as it is told, and loses and doubles nothing."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.faults.network import Network, all_answered, judge, network, say, until
from tests.server_fixtures import server

MESSAGES = 30
KERNELS = 12


@pytest.mark.parametrize("websocket", [True, False])
@pytest.mark.fault("F24", "thirty messages at once where the server takes five, then ten a second")
def test_a_burst_beyond_the_rate_is_taken_in_order_later(tmp_path: Path, websocket: bool) -> None:
    texts = [f"make Story {n}" for n in range(MESSAGES)]
    limits = {"EDCHAT_LIMIT_COMMANDS_PER_10S": "100", "EDCHAT_LIMIT_COMMAND_BURST": "5"}
    with server(tmp_path / "data", **limits) as process:

        async def main() -> Network:
            async with network(process, tmp_path) as net:
                async with net.kernel("s", enable_websocket=websocket) as driver:
                    await until(lambda: driver.view.connection.state in ("connected", "fallback"))
                    said = [say(driver, text) for text in texts]
                    await all_answered(driver, *said, seconds=90)
                    assert driver.metrics().reconnects == 0, "a refusal cost a connection"
                return net

        net = asyncio.run(main())
    judge(net, {"s": texts}, [text.removeprefix("make ") for text in texts])
    assert "rate_limited" in (tmp_path / "data" / "server.log").read_text(encoding="utf-8"), "no limit was met"


@pytest.mark.fault("F24", "twelve kernels greet at once a server that greets four a second")
def test_kernels_that_are_sent_away_come_back_in_their_turn(tmp_path: Path) -> None:
    limits = {"EDCHAT_LIMIT_HELLOS_PER_SECOND": "4", "EDCHAT_LIMIT_HELLO_BURST": "1"}
    sessions = [f"s{n}" for n in range(KERNELS)]
    with server(tmp_path / "data", **limits) as process:

        async def main() -> Network:
            async with network(process, tmp_path) as net, contextlib.AsyncExitStack() as stack:
                drivers = [await stack.enter_async_context(net.kernel(session)) for session in sessions]
                said = [say(driver, f"make Story {session}") for driver, session in zip(drivers, sessions, strict=True)]
                async with asyncio.timeout(60):
                    for driver, message in zip(drivers, said, strict=True):
                        await all_answered(driver, message, seconds=60)
                tries = [len(net.connects(session)) for session in sessions]
                assert max(tries) <= 5, f"kernels that are told when to come spin: {tries}"
                assert sum(tries) > KERNELS, "no limit was met"
                return net

        net = asyncio.run(main())
    asked = {session: [f"make Story {session}"] for session in sessions}
    judge(net, asked, [f"Story {session}" for session in sessions])
