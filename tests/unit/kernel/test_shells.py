"""The portal, the driver, the outbox file, the settings, the launcher: each shell does what it says."""

import asyncio
import gc
import json
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.kernel.scripted import SESSION, ScriptedServer

from edchat_protocol.codec import decode_up
from edchat_protocol.frames import Hello, HelloData
from edchat_widget import Chat, Settings
from edchat_widget._io import aliases, launcher, portal
from edchat_widget._io.driver import Driver
from edchat_widget._io.outbox_file import open_outbox
from edchat_widget._io.transport import Endpoint
from edchat_widget.errors import (
    ConnectionLost,
    MessageError,
    OutboxFull,
    PortalClosed,
    ServerStartError,
    SettingsError,
    Timeout,
    WrongThread,
)
from edchat_widget.view import Patch, SnapshotMessage, View, apply

# -------------------------------------------------------------------------------------------------- portal


@pytest.fixture
def lease() -> Iterator[portal.Lease]:
    claim = portal.lease()
    yield claim
    claim.release()


def io_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == portal.THREAD_NAME]


def test_a_blocking_call_from_the_io_thread_raises_instead_of_waiting_for_itself(lease: portal.Lease) -> None:
    async def inner() -> str:
        with pytest.raises(WrongThread):
            lease.portal.call(lambda: asyncio.sleep(0, "never"))
        return "raised"

    assert lease.portal.call(inner, 5) == "raised"


def test_the_last_release_ends_the_thread_and_a_later_lease_starts_another() -> None:
    first, second = portal.lease(), portal.lease()
    assert first.portal is second.portal
    first.release()
    first.release()
    assert second.portal.call(lambda: asyncio.sleep(0, 1), 5) == 1
    second.release()
    assert io_threads() == []
    with pytest.raises(PortalClosed):
        second.portal.post(print)
    third = portal.lease()
    assert third.portal.call(lambda: asyncio.sleep(0, 2), 5) == 2
    third.release()


def test_a_lease_that_is_forgotten_gives_itself_back() -> None:
    thread = portal.lease().portal._thread
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_waiting_too_long_is_a_timeout_and_the_work_goes_on(lease: portal.Lease) -> None:
    async def begin() -> asyncio.Event:
        return asyncio.Event()

    event = lease.portal.call(begin, 5)
    with pytest.raises(Timeout):
        lease.portal.call(event.wait, 0.01)
    lease.portal.post(event.set)
    assert lease.portal.call(event.wait, 5)


# --------------------------------------------------------------------------------------------- outbox file


def counter() -> Callable[[], str]:
    names = iter(range(100))
    return lambda: f"client-{next(names)}"


def draft(outbox: Any, name: str) -> Any:
    from edchat_widget._core.outbox import Row

    return outbox.draft(Row(csn=0, id=name, kind="message", text=name))


def test_what_was_stored_is_there_after_the_kernel_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    file, outbox = open_outbox(tmp_path / "o", "s", counter())
    row = draft(outbox, "m1")
    file.add(outbox.head, row)
    outbox.add(row)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.close()
    again, outbox2 = open_outbox(tmp_path / "o", "s", lambda: "other")
    assert (outbox2.head, outbox2.rows) == (outbox.head, outbox.rows)
    again.close()


def test_a_second_kernel_gets_its_own_file_and_the_next_takes_over_what_it_left(tmp_path: Path) -> None:
    names = counter()
    first, outbox1 = open_outbox(tmp_path, "s", names)
    second, outbox2 = open_outbox(tmp_path, "s", names)
    assert outbox1.head.client != outbox2.head.client
    second.add(outbox2.head, draft(outbox2, "left behind"))
    second.close()
    first.close()
    third, outbox3 = open_outbox(tmp_path, "s", names)
    assert outbox3.head.client == outbox1.head.client
    assert [(r.id, r.csn) for r in outbox3.pending] == [("left behind", 1)]
    third.close()
    fourth, outbox4 = open_outbox(tmp_path, "s", names)
    assert [r.id for r in outbox4.pending] == ["left behind"]
    fourth.close()


# ------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(("variable", "value", "takes"), [
    ("EDCHAT_URL", "localhost:8001", "an address like"),
    ("WS_URL", "ftp://x", "an address like"),
    ("EDCHAT_HEARTBEAT_INTERVAL", "soon", "a number of seconds"),
    ("NEXT_PUBLIC_WS_HEARTBEAT_INTERVAL", "0", "a number of milliseconds"),
    ("EDCHAT_MAX_RECONNECT_ATTEMPTS", "-1", "a whole number"),
    ("ENABLE_WEBSOCKET", "perhaps", "true or false"),
    ("EDCHAT_SESSION", "a b", "1 to 64 letters"),
])
def test_a_bad_value_names_the_variable_and_what_it_takes(variable: str, value: str, takes: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({variable: value})
    assert variable in str(caught.value)
    assert takes in str(caught.value)


def test_arguments_win_over_ours_and_ours_over_the_origins() -> None:
    env = {"WS_RECONNECT_INTERVAL": "2000", "WS_URL": "ws://a:1/ws/chat", "EDCHAT_URL": "https://b/x/",
           "EDCHAT_SESSION": "env"}
    found = Settings.load(env, session="arg", heartbeat_interval=None)
    assert (found.reconnect_interval, found.url, found.session) == (2.0, "https://b/x", "arg")
    assert Settings.load({"WS_URL": "ws://a:1/ws/chat"}).url == "http://a:1"


def test_a_secret_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"EDCHAT_URL": "http://me:hunter2@host"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Settings.load({}, token="hunter2"))


# --------------------------------------------------------------------------------------------------- driver


class Wire:
    """A transport whose other end is the scripted server, in the same loop."""

    subprotocol = "edchat.v2"

    def __init__(self, server: ScriptedServer, client: str) -> None:
        self.server, self.client = server, client
        self.incoming: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.sent = len(server.log)

    async def send(self, raw: bytes) -> None:
        if b'"type":"hello"' in raw:
            hello = decode_up(raw)
            assert isinstance(hello, Hello)
            frames = self.server.welcome(hello.data)
            self.sent = len(self.server.log)
        else:
            frames = self.server.take(self.client, raw)
        while self.server.step():
            pass
        for frame in [*frames, *self.server.log[self.sent:]]:
            self.incoming.put_nowait(frame)
        self.sent = len(self.server.log)

    async def receive(self) -> bytes:
        item = await self.incoming.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        pass

    def abort(self) -> None:
        pass


class Network:
    """Opens wires; `up` False refuses."""

    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.wires: list[Wire] = []
        self.up = True

    async def __call__(self, endpoint: Endpoint, carrier: str, hello: HelloData) -> Wire:
        if not self.up:
            raise ConnectionLost("refused")
        self.wires.append(Wire(self.server, hello.client))
        return self.wires[-1]


async def nowhere() -> Endpoint:
    return Endpoint("http://127.0.0.1:1")


def drive(tmp_path: Path, work: Callable[[Driver, Network], Any], **given: Any) -> Any:
    async def main() -> Any:
        network = Network()
        settings = Settings.load({}, data_dir=tmp_path, reconnect_interval=0.01, **given)
        driver = Driver(settings, SESSION, nowhere, opener=network, jitter=lambda: 0.5)
        try:
            return await asyncio.wait_for(work(driver, network), 20)
        finally:
            await driver.close()

    return asyncio.run(main())


def complete(view: View) -> bool:
    return bool(view.messages) and all(m.state in ("answered", "complete") for m in view.messages)


def test_patches_are_numbered_and_lead_to_the_view(tmp_path: Path) -> None:
    async def work(driver: Driver, _network: Network) -> None:
        views = [driver.view]

        def on_patch(message: Patch | SnapshotMessage) -> None:
            assert isinstance(message, Patch)
            views.append(apply(views[-1], message))

        driver.subscribe(on_patch)
        driver.start()
        for n in range(5):
            driver.submit(f"m{n}", f"text {n}")
            await driver.until(complete)
        assert views[-1] == driver.view
        assert len(driver.view.messages) == 10

    drive(tmp_path, work)


def test_a_cut_is_rejoined_and_a_message_typed_meanwhile_goes_out_once(tmp_path: Path) -> None:
    async def work(driver: Driver, network: Network) -> None:
        driver.start()
        await driver.until(lambda v: v.connection.state == "connected")
        network.up = False
        network.wires[-1].incoming.put_nowait(ConnectionLost("restart", close_code=1012))
        await driver.until(lambda v: v.connection.state == "reconnecting")
        driver.submit("m1", "meanwhile")
        network.up = True
        await driver.until(complete)
        assert network.server.contents == ["meanwhile"]

    drive(tmp_path, work, max_reconnect_attempts=100)


def test_a_callback_that_fails_is_logged_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(driver: Driver, _network: Network) -> None:
        def fail(_: object) -> None:
            raise ValueError("callback")

        driver.listen(fail)
        driver.subscribe(fail)
        driver.start()
        driver.submit("m1", "x")
        await driver.until(complete)

    drive(tmp_path, work)
    assert "a callback failed" in caplog.text
    assert "a panel could not be updated" in caplog.text


def test_a_full_queue_refuses_and_a_new_kernel_still_has_all_of_it(tmp_path: Path) -> None:
    async def fill(driver: Driver, network: Network) -> None:
        network.up = False
        driver.start()
        for n in range(100):
            driver.submit(f"m{n}", f"text {n}")
        with pytest.raises(OutboxFull):
            driver.submit("m100", "one too many")

    async def deliver(driver: Driver, network: Network) -> None:
        assert [m.state for m in driver.view.messages] == ["queued"] * 100
        driver.start()
        await driver.until(complete)
        assert network.server.contents == [f"text {n}" for n in range(100)]

    drive(tmp_path, fill)
    drive(tmp_path, deliver)


def test_no_log_line_has_the_text_or_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def work(driver: Driver, _network: Network) -> None:
        driver.start()
        driver.submit("m1", "confidential")
        await driver.until(complete)

    drive(tmp_path, work, token="sesame")
    assert "connected" in caplog.text
    assert "confidential" not in caplog.text
    assert "sesame" not in caplog.text


# --------------------------------------------------------------------------------------- launcher, aliases


def test_a_server_that_dies_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    script = "import sys; [print('line', n, file=sys.stderr) for n in range(50)]; sys.exit(3)"
    with pytest.raises(ServerStartError, match="status 3") as caught:
        launcher.ensure(tmp_path, command=(sys.executable, "-c", script), timeout=20)
    assert caught.value.log == tuple(f"line {n}" for n in range(10, 50))


def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ServerStartError, match=r"not ready within 1\.5 s"):
        launcher.ensure(tmp_path, command=(sys.executable, "-c", script), timeout=1.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_record_of_a_dead_server_is_not_believed(tmp_path: Path) -> None:
    record = {"url": "http://127.0.0.1:9", "token": "t", "pid": 1}
    (tmp_path / "server.json").write_text(json.dumps(record))
    assert launcher.find(tmp_path) is None


def test_after_clearing_the_next_run_finds_the_new_session(tmp_path: Path) -> None:
    assert aliases.current(tmp_path, "nb") == "nb"
    fresh = aliases.successor("nb")
    aliases.point(tmp_path, "nb", fresh)
    assert aliases.current(tmp_path, "nb") == fresh
    assert aliases.successor(fresh).startswith("nb~")


# ------------------------------------------------------------------------------------- what a chat refuses


def test_an_empty_or_too_large_message_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s", max_reconnect_attempts=1) as chat:
        for text in ("", "  \n", "x" * 65_537):
            for ask in (chat.ask, chat.send, chat.stream):
                with pytest.raises(MessageError):
                    ask(text)
        assert chat.messages == ()
    assert io_threads() == []
    with pytest.raises(PortalClosed):
        chat.send("x")


def test_a_chat_that_is_forgotten_closes_itself(tmp_path: Path) -> None:
    thread = Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s")._portal._thread
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
    file, _ = open_outbox(tmp_path / "outbox", next((tmp_path / "outbox").glob("*.db")).stem, counter())
    assert not file.path.stem.endswith("-2")
    file.close()


def test_chats_of_one_session_are_one_conversation(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path, "max_reconnect_attempts": 1}
    with Chat("http://127.0.0.1:9", session="s", **settings) as one, \
            Chat("http://127.0.0.1:9", session="s", **settings) as two, \
            Chat("http://127.0.0.1:9", session="t", **settings) as other:
        assert one._driver is two._driver
        assert other._driver is not one._driver
        one.send("hello")
        assert [m.text for m in two.messages] == ["hello"]
        one.clear()
        assert two.messages == ()
        assert two.session == one.session != "s"
