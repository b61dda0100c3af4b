"""No WebSocket gets through: HTTP takes over soon, nothing spins, and the WebSocket is taken again once it can be."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.fault_proxy import FIN, RST, Script
from tests.faults.network import Network, all_answered, judge, kind_of, network, say, session_of, until
from tests.server_fixtures import server

# What a proxy does with an upgrade, and within how many seconds HTTP has to have taken over.
BLOCKED: dict[str, tuple[Callable[[], Script], float]] = {
    "404": (lambda: Script().mangle_http(status=404), 5),
    "400": (lambda: Script().mangle_http(status=400), 5),
    "403": (lambda: Script().mangle_http(status=403), 5),
    "200": (lambda: Script().mangle_http(status=200), 5),
    "502": (lambda: Script().mangle_http(status=502), 5),
    "strips-upgrade": (lambda: Script().mangle_http(strip="Upgrade"), 5),
    "resets-the-request": (lambda: Script().cut_after("up", nbytes=10, how=RST), 5),
    "ends-after-101": (lambda: Script().cut_after("down", nframes=0, how=FIN), 5),
    "resets-after-101": (lambda: Script().cut_after("down", nframes=0, how=RST), 5),
    "swallows-frames": (lambda: Script().mangle_http(swallow=True), 15),
}
# Little randomness: looking for a WebSocket again comes early in its span.
JITTER = 0.05


async def blocked(net: Network, way: str, closed: set[str]) -> tuple[str, list[str]]:
    """Chat while WebSockets are blocked in one way, then while they are not; return what was said."""
    session = f"b-{way}"
    within = BLOCKED[way][1]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with net.kernel(session, jitter=lambda: JITTER, reconnect_interval=1.0) as driver:
        first = say(driver, f"make {way} one")
        await until(lambda: driver.view.connection.state == "fallback", seconds=60, what=f"fallback: {way}")
        took = loop.time() - begun
        assert took <= within, f"{way}: HTTP took over after {took:.1f} s"
        await all_answered(driver, first)
        closed.discard(session)
        await until(lambda: driver.view.connection.carrier == "ws", seconds=60, what=f"a WebSocket again: {way}")
        await all_answered(driver, first, say(driver, f"make {way} two"))
        assert driver.view.connection.state == "connected"
    return session, [f"make {way} one", f"make {way} two"]


@pytest.mark.fault("F17", "a proxy refuses the upgrade, strips it, cuts it, or swallows what follows")
def test_http_takes_over_where_no_websocket_gets_through(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    closed = {f"b-{way}" for way in BLOCKED}

    def script(head: bytes) -> Script:
        session = session_of(head)
        if kind_of(head) == "ws" and session in closed:
            return BLOCKED[session[2:]][0]()
        return Script()

    with server(tmp_path / "data") as process:

        async def main() -> tuple[Network, list[tuple[str, list[str]]]]:
            async with network(process, tmp_path) as net:
                net.proxy.default = script
                return net, await asyncio.gather(*(blocked(net, way, closed) for way in BLOCKED))

        net, told = asyncio.run(main())
    judge(net, dict(told), [text[5:] for _, texts in told for text in texts])
    record_property("cases", len(told))
