"""One reader is slow: it holds up nobody, costs the server no memory, and has everything in the end."""

import asyncio
import contextlib
from pathlib import Path

import psutil
import pytest
from tests.faults.fault_proxy import Script
from tests.faults.network import Network, Truth, all_answered, network, say, shape_of_log, shape_of_view, until
from tests.server_fixtures import ServerProcess, server

from edchat_widget._io.driver import Driver
from edchat_widget.view import View

FAST = 9
ANSWERS = 12
SIZE = 200_000
MIB = 1024 * 1024


def resident(process: ServerProcess) -> int:
    return int(psutil.Process(process.process.pid).memory_info().rss)


async def one_is_slow(net: Network) -> list[View]:
    """Stream megabytes to nine fast readers and one that takes 1 kB a second; return what each of them has."""
    net.plans.plan("s", "ws", Script().throttle("down", 1000))
    async with contextlib.AsyncExitStack() as stack:
        slow = await stack.enter_async_context(net.kernel("s"))
        await until(lambda: slow.view.connection.state == "connected")
        fast: list[Driver] = [await stack.enter_async_context(net.kernel("s")) for _ in range(FAST)]
        first = say(fast[0], "make Story one")
        await all_answered(fast[0], first)
        before = resident(net.server)
        said = [say(fast[0], f"big {SIZE + n}") for n in range(ANSWERS)]
        for reader in fast:
            await all_answered(reader, first, *said)
        grown = resident(net.server) - before
        assert len(slow.view.messages) < len(fast[0].view.messages), "the slow one was not slow"
        assert grown < 40 * MIB, f"the server grew by {grown / MIB:.0f} MiB"
        # Its pong waits behind a frame that takes minutes: it leaves, and comes back over a line that is not slow.
        await all_answered(slow, first, *said, seconds=60)
        assert len(net.connects("s")) > 1 + FAST, "the slow line was kept"
        return [reader.view for reader in (slow, *fast)]


@pytest.mark.fault("F8", "one of ten readers takes 1 kB a second of a stream of megabytes")
def test_a_slow_reader_holds_up_nobody_and_has_it_all_in_the_end(tmp_path: Path) -> None:
    with server(tmp_path / "data") as process:

        async def main() -> list[View]:
            async with network(process, tmp_path) as net:
                return await one_is_slow(net)

        views = asyncio.run(main())
    truth = Truth(tmp_path / "data" / "edchat.db")
    assert sorted(truth.logs["s"]) == list(range(1, truth.heads["s"] + 1))
    for view in views:
        assert shape_of_view(view) == shape_of_log(truth.logs["s"])
    assert truth.titles == {"Story one": 1}
