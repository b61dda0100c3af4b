"""F17 to F19 with real sockets: what stands between lets no WebSocket through, or holds streams back."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.fault_proxy import FIN, RST, SILENT, HostedProxy, Script, hosted
from tests.server_fixtures import ServerProcess, server

from edchat_widget import Chat
from edchat_widget._io.http import HELD
from edchat_widget.events import ConnectionView


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("server"), "--pause", "0.01") as process:
        yield process


@pytest.fixture
def proxy(running: ServerProcess) -> Iterator[HostedProxy]:
    host, port = running.url.removeprefix("http://").split(":")
    with hosted(host, int(port)) as between:
        yield between


def chat(proxy: HostedProxy, running: ServerProcess, tmp_path: Path, **given: Any) -> Chat:
    session = f"{tmp_path.parent.name}-{tmp_path.name}"[-64:]
    return Chat(proxy.url, token=running.ready["token"], session=session, data_dir=tmp_path, **given)


def is_upgrade(head: bytes) -> bool:
    return b"upgrade: websocket" in head.lower()


def blocking(make: Callable[[], Script]) -> Callable[[bytes], Script]:
    return lambda head: make() if is_upgrade(head) else Script()


def wait(done: Callable[[], bool], seconds: float) -> float:
    """Return how long it took until `done`; fail when that is too long."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, "waited in vain"
        time.sleep(0.02)
    return time.monotonic() - began


BLOCKED = {
    **{f"status {n}": lambda n=n: Script().mangle_http(status=n) for n in (200, 302, 400, 403, 404, 405, 426, 502)},
    "upgrade stripped": lambda: Script().mangle_http(strip="Upgrade"),
    "cut before 101": lambda: Script().cut_after("down", nbytes=0, how=RST),
    "cut after 101": lambda: Script().cut_after("down", nframes=0, how=FIN),
    "frames swallowed": lambda: Script().mangle_http(swallow=True),
}


@pytest.mark.fault("F17", "no WebSocket gets through; then it does again")
@pytest.mark.parametrize("how", list(BLOCKED))
def test_a_blocked_websocket_costs_seconds_and_no_message_and_is_had_again_when_it_can_be(
    how: str, proxy: HostedProxy, running: ServerProcess, tmp_path: Path
) -> None:
    proxy.do(lambda p: setattr(p, "default", blocking(BLOCKED[how])))
    states: list[ConnectionView] = []
    with chat(proxy, running, tmp_path) as talk:
        talk.on("connection", states.append)
        assert talk.ask("one", timeout=30).text == "You said: one"
        assert (talk.connection.state, talk.connection.carrier) == ("fallback", "http")
        proxy.do(lambda p: setattr(p, "default", lambda head: Script()))
        states.clear()
        talk._do(talk._driver.reconnect)
        pending = talk.send("slow 50")
        wait(lambda: talk.connection.carrier == "ws", 10)
        assert len(pending.result(30).text.split()) == 50
        assert {s.state for s in states} <= {"fallback", "connected"}
        assert [m.state for m in talk.messages] == ["answered", "complete"] * 2
        assert talk.metrics.reconnects == 0
    assert proxy.stats.most_connects() <= 10


BUFFERING = {
    "until the end": lambda: Script().hold_until(),
    "until the end, head too": lambda: Script().hold_until(head=True),
    "4 kB": lambda: Script().hold_until(4096),
    "64 kB, head too": lambda: Script().hold_until(65536, head=True),
}


@pytest.mark.fault("F18", "a proxy holds event streams back")
@pytest.mark.parametrize("how", list(BUFFERING))
def test_a_proxy_that_holds_streams_back_is_found_out_and_polling_serves(
    how: str, proxy: HostedProxy, running: ServerProcess, tmp_path: Path
) -> None:
    def default(head: bytes) -> Script:
        return BUFFERING[how]() if b"/events?" in head and b"wait=" not in head else Script()

    proxy.do(lambda p: setattr(p, "default", default))
    began = time.monotonic()
    for n in range(3):
        with chat(proxy, running, tmp_path / f"kernel-{n}", enable_websocket=False) as talk:
            assert talk.ask("one", timeout=30).text == "You said: one"
            assert talk.connection.carrier == "poll"
            assert len(talk.ask("slow 30", timeout=30).text.split()) == 30
            proxy.do(lambda p: p.cut())
            assert talk.ask("two", timeout=30).text == "You said: two"
            assert talk.metrics.reconnects == 0, "a lost poll is asked for again"
    assert HELD.known(proxy.url, time.monotonic())
    streams = [h for _, h in proxy.stats.heads if b"/events?" in h and b"wait=" not in h]
    # Without headers it may be a slow moment: that counts when it comes twice.
    assert len(streams) == (2 if "head too" in how else 1), "once found out, it is not tried again"
    assert proxy.stats.most_connects() <= 10
    assert time.monotonic() - began < 90


@pytest.mark.fault("F3", "every line falls silent, on each carrier")
@pytest.mark.parametrize("carrier", ["ws", "http", "poll"])
def test_a_dead_line_is_noticed_and_left(
    carrier: str, proxy: HostedProxy, running: ServerProcess, tmp_path: Path
) -> None:
    if carrier == "poll":
        HELD.found(proxy.url, time.monotonic())
    with chat(proxy, running, tmp_path, enable_websocket=carrier == "ws", heartbeat_interval=0.5) as talk:
        talk.ask("one", timeout=30)
        assert talk.connection.carrier == carrier
        proxy.do(lambda p: p.cut(SILENT))
        pending = talk.send("two")
        assert wait(lambda: pending.done, 30) < 25
        assert pending.result(1).text == "You said: two"
        assert [m.text for m in talk.messages if m.role == "user"] == ["one", "two"]


@pytest.mark.fault("F19", "carriers change again and again during an answer")
def test_carriers_that_change_again_and_again_during_an_answer_lose_nothing(
    proxy: HostedProxy, running: ServerProcess, tmp_path: Path
) -> None:
    with chat(proxy, running, tmp_path, reconnect_interval=0.05) as talk:
        pending = [talk.send(f"slow {n}") for n in (120, 40)]
        for n in range(14):
            proxy.do(lambda p: p.cut(RST))
            blocked = blocking(BLOCKED["status 404"]) if n % 2 else (lambda head: Script())
            proxy.do(lambda p, blocked=blocked: setattr(p, "default", blocked))  # type: ignore[misc]
            talk._do(talk._driver.reconnect)
            time.sleep(0.3)
        texts = [p.result(60).text.split() for p in pending]
        assert texts == [[f"t{i}" for i in range(count)] for count in (120, 40)]
    assert proxy.stats.most_connects() <= 20  # streams and posts are connections of their own
