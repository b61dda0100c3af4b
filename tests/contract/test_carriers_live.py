"""Our Chat and our server over each carrier: what stops, expires and comes back."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.fault_proxy import HostedProxy, Script, hosted
from tests.server_fixtures import ServerProcess, server

from edchat_server.identity import add_token
from edchat_widget import Chat
from edchat_widget._io.http import HELD

CARRIERS = ["ws", "http", "poll"]


@contextmanager
def before(running: ServerProcess, carrier: str) -> Iterator[HostedProxy]:
    """A proxy that lets through no more than this carrier needs."""
    host, port = running.url.removeprefix("http://").split(":")

    def script(head: bytes) -> Script:
        upgrade = b"upgrade: websocket" in head.lower()
        return Script().mangle_http(status=404) if upgrade and carrier != "ws" else Script()

    with hosted(host, int(port), script) as proxy:
        if carrier == "poll":
            HELD.found(proxy.url, time.monotonic())
        yield proxy


def wait(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_restart_in_the_middle_of_an_answer_is_survived(carrier: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data, "--pause", "0.02", EDCHAT_TOKEN="t") as first, before(first, carrier) as proxy, \
            Chat(proxy.url, token="t", session="s", data_dir=tmp_path, reconnect_interval=0.2) as chat:
        assert chat.ask("one", timeout=30).text == "You said: one"
        assert chat.connection.carrier == carrier
        pending = [chat.send("make Login"), chat.send("two")]
        first.process.terminate()
        first.wait()
        with server(data, EDCHAT_TOKEN="t") as second:
            port = int(second.url.rsplit(":", 1)[1])
            proxy.do(lambda p: setattr(p, "target", ("127.0.0.1", port)))
            answers = [p.result(60) for p in pending]
            assert [s.title for s in answers[0].stories] == ["Login"]
            assert answers[1].text == "You said: two"
            asked = [m.text for m in chat.messages if m.role == "user"]
            assert asked == ["one", "make Login", "two"]
            assert proxy.stats.most_connects() <= 10


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_token_that_expires_is_replaced_from_the_environment_unseen(
    carrier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens.toml"
    old = add_token(file, "ann", expires=datetime.now(UTC) + timedelta(seconds=30))
    fresh = add_token(file, "ann")
    # Read when the chat begins, and again when the server warns.
    monkeypatch.setenv("EDCHAT_TOKEN", old)
    states: list[str] = []
    with server(tmp_path / "data", EDCHAT_TOKENS_FILE=str(file)) as running, before(running, carrier) as proxy:
        def tokens() -> set[bytes]:
            return {line for _, head in proxy.stats.heads for line in head.split(b"\r\n") if b"Bearer" in line}

        with Chat(proxy.url, session="s", data_dir=tmp_path) as chat:
            monkeypatch.setenv("EDCHAT_TOKEN", fresh)
            wait(lambda: chat.connection.state in ("connected", "fallback"), 20)
            chat.on("connection", lambda view: states.append(view.state))
            wait(lambda: any(line.endswith(fresh.encode()) for line in tokens()), 20)
            assert chat.ask("one", timeout=30).text == "You said: one"
            assert set(states) <= {"connected", "fallback"}
            assert chat.metrics.reconnects == 0


@pytest.mark.parametrize("carrier", CARRIERS)
def test_neither_token_nor_text_is_in_a_log_line_not_even_of_a_library(
    carrier: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "edchat.client.websocket")
    with server(tmp_path / "data", EDCHAT_TOKEN="a-very-secret-token") as running, before(running, carrier) as proxy, \
            Chat(proxy.url, token="a-very-secret-token", session="s", data_dir=tmp_path) as chat:
        assert chat.ask("confidential", timeout=30).text == "You said: confidential"
    assert "connected" in caplog.text
    assert "a-very-secret-token" not in caplog.text
    assert "confidential" not in caplog.text
