"""The portal, the driver, the outbox file, the settings, the launcher: each shell does what it says."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sqlite3
import ssl
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.kernel.scripted import SESSION, ScriptedServer

from edchat_protocol.codec import decode_up
from edchat_protocol.frames import Hello, HelloData
from edchat_protocol.messages import ErrorPart
from edchat_widget import Chat, Settings, static_render
from edchat_widget._core.carriers import Way
from edchat_widget._core.failover import Fork
from edchat_widget._core.outbox import Row
from edchat_widget._io import aliases, forks, launcher, portal
from edchat_widget._io.driver import Driver
from edchat_widget._io.outbox_file import open_outbox
from edchat_widget._io.transport import Endpoint, closed, refusal, seconds, unreachable
from edchat_widget.errors import (
    AgentError,
    ConnectionLost,
    EdChatError,
    MessageError,
    OutboxFull,
    PortalClosed,
    Refused,
    ServerStartError,
    SettingsError,
    StorageError,
    Timeout,
    WrongThread,
)
from edchat_widget.sessions import implicit_session
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


def test_nobody_waits_for_work_that_the_end_of_the_thread_left_undone() -> None:
    own = portal.Portal()

    def late() -> None:
        # As if another thread had found the portal open and went on after its end had begun.
        own._closed = False
        begun.append(own.submit(lambda: asyncio.sleep(3600)))
        own._closed = True

    begun: list[Any] = []
    own.at_close(late)
    own.close()
    with pytest.raises(PortalClosed):
        begun[0].result(5)


def test_the_thread_ends_although_what_is_to_run_before_fails() -> None:
    own = portal.Portal()
    own.loop.set_exception_handler(lambda _loop, _context: None)
    own.at_close(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    own.close()
    assert not own._thread.is_alive()


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


def start_nothing(data_dir: Path) -> None:
    with pytest.raises(ServerStartError):
        launcher.ensure(data_dir, command=(sys.executable, "-c", ""))


@pytest.mark.parametrize("make", [
    lambda path: open_outbox(path, "s", counter())[0].close(),
    lambda path: aliases.point(path, "a", "b"),
    start_nothing,
], ids=["outbox", "aliases", "launcher"])
def test_no_folder_of_ours_can_be_read_by_others(tmp_path: Path, make: Callable[[Path], object]) -> None:
    before = os.umask(0o022)
    try:
        make(tmp_path / "share" / "edchat" / "data")
    finally:
        os.umask(before)
    folders = [p for p in tmp_path.rglob("*") if p.is_dir()]
    assert [stat.S_IMODE(p.stat().st_mode) for p in folders] == [0o700] * 3


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


def test_an_outbox_that_could_not_take_over_another_is_free_for_the_next_run(tmp_path: Path) -> None:
    first, _ = open_outbox(tmp_path, "s", lambda: "one")
    second, outbox = open_outbox(tmp_path, "s", lambda: "two")
    second.add(outbox.head, outbox.draft(Row(csn=0, id="m1", kind="message", text="x")))
    second.close()
    first._db.execute("CREATE TRIGGER full BEFORE INSERT ON row BEGIN SELECT RAISE(ABORT, 'no room'); END")
    first.close()
    with pytest.raises(StorageError) as caught:
        open_outbox(tmp_path, "s", lambda: "three")
    with contextlib.closing(sqlite3.connect(first.path)) as db:
        db.execute("DROP TRIGGER full")
    again, outbox = open_outbox(tmp_path, "s", lambda: "four")
    assert (again.path, [r.id for r in outbox.pending]) == (first.path, ["m1"])
    again.close()
    assert caught.value.__traceback__, "a notebook keeps it, and all that it holds"


@pytest.mark.parametrize("other", ["sprint-2", "sprint-12", "Sprint"])
def test_a_session_never_takes_the_messages_of_one_with_a_similar_name(tmp_path: Path, other: str) -> None:
    file, outbox = open_outbox(tmp_path, other, counter())
    file.add(outbox.head, draft(outbox, "for the other session"))
    file.close()
    for _ in range(2):
        mine, outbox = open_outbox(tmp_path, "sprint", counter())
        assert outbox.pending == ()
        assert mine.path.name.lower() != file.path.name.lower()
        mine.close()
    file, outbox = open_outbox(tmp_path, other, counter())
    assert [r.id for r in outbox.pending] == ["for the other session"]
    file.close()


def spoil_file(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


def spoil_head(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE head SET body = '{'")


def spoil_row(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO row VALUES (7, 'nonsense')")


@pytest.mark.parametrize(("spoil", "slot"), [
    (spoil_file, 1), (spoil_head, 1), (spoil_row, 1), (spoil_file, 2), (spoil_row, 2)])
def test_a_damaged_outbox_is_put_aside_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], slot: int
) -> None:
    files = [open_outbox(tmp_path, "s", counter())[0] for _ in range(slot)]
    for file in files:
        file.close()
    spoil(tmp_path / ("s.db" if slot == 1 else "s+2.db"))
    file, outbox = open_outbox(tmp_path, "s", counter())
    file.add(outbox.head, draft(outbox, "m1"))
    file.close()
    assert "was damaged" in caplog.text
    assert len(list(tmp_path.glob("*.damaged-????????"))) == 1
    again, outbox = open_outbox(tmp_path, "s", counter())
    assert [r.id for r in outbox.pending] == ["m1"]
    again.close()


def test_a_data_directory_that_cannot_be_used_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be used.*EDCHAT_DATA_DIR"):
        Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s")
    assert io_threads() == []


def test_a_full_disk_refuses_the_message_and_ends_nothing(tmp_path: Path) -> None:
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s") as chat:
        def fill() -> None:
            file = chat._driver.home._file
            size = file._db.execute("PRAGMA page_count").fetchone()[0]
            file._db.execute(f"PRAGMA max_page_count = {size}")

        chat._portal.do(fill, 5)
        with pytest.raises(StorageError, match="Is the disk full"):
            chat.send("x" * 60_000)
        assert chat.messages == ()
        chat.send("small")
        assert [m.text for m in chat.messages] == ["small"]


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


@pytest.mark.parametrize("url", [
    "http://me:hunter2@host", "htps://me:hunter2@host", "http:/me:hunter2@host", "http://me:hunter2#x@host",
    "localhost:8001/?token=hunter2", "http://[hunter2@host", "hunter2@host", "localhost#hunter2",
])
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="EDCHAT_URL takes an address") as caught:
        Settings.load({"EDCHAT_URL": url})
    assert "hunter2" not in str(caught.value)


def test_a_token_is_not_shown() -> None:
    assert "hunter2" not in repr(Settings.load({}, token="hunter2"))


# --------------------------------------------------------------------------------------------------- driver


class Wire:
    """A transport whose other end is the scripted server, in the same loop."""

    way: Way = "ws"
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


async def nowhere(*, renew: bool = False) -> Endpoint:
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


# -------------------------------------------------------------------------------------------------- aliases


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
    assert not file.path.stem.endswith("+2")
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


def test_the_newest_chats_settings_hold_and_a_token_that_it_does_not_name_stays(tmp_path: Path) -> None:
    with Chat("http://127.0.0.1:9", session="s", data_dir=tmp_path, token="sesame", max_reconnect_attempts=1), \
            Chat("http://127.0.0.1:9", session="s", data_dir=tmp_path, max_reconnect_attempts=7,
                 heartbeat_interval=3) as chat:
        assert (chat.settings.max_reconnect_attempts, chat.settings.heartbeat_interval) == (7, 3)
        assert chat.settings.token == "sesame"
        assert chat._driver.home.client.connection.policy.max_attempts == 7
        assert chat._portal.call(chat._driver.endpoint, 5).token == "sesame"


def test_a_session_that_cannot_be_begun_leaves_the_old_one_as_it_is(tmp_path: Path) -> None:
    with Chat("http://127.0.0.1:9", session="s", data_dir=tmp_path) as chat:
        (tmp_path / "outbox").rename(tmp_path / "elsewhere")
        (tmp_path / "outbox").write_text("in the way")
        with pytest.raises(StorageError):
            chat.clear()
        assert chat.session == "s"
        chat.send("still works")
        assert [m.text for m in chat.messages] == ["still works"]
        (tmp_path / "outbox").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "outbox")


def test_a_chat_that_could_not_begin_is_begun_anew_by_the_next_run(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9"
    fork = Fork(local="s~1", url=url, session="s", began="2026-01-01T00:00:00Z")
    forks.save(tmp_path, fork)
    (tmp_path / "outbox" / "s~1.db").mkdir(parents=True)
    with Chat(url, session="other", data_dir=tmp_path):
        with pytest.raises(StorageError):
            Chat(url, session="s", data_dir=tmp_path)
        forks.save(tmp_path, msgspec.structs.replace(fork, ended="2026-01-02T00:00:00Z"))
        with Chat(url, session="s", data_dir=tmp_path) as chat:
            assert [entry.ended for entry in chat.sessions] == [None, "2026-01-02T00:00:00Z"]
            assert not list((tmp_path / "outbox").glob("s@*+2.db")), "the first one gave its outbox free"


def wrapped(inner: OSError) -> Exception:
    outer = RuntimeError("of a library")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(("cause", "words"), [
    (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"), "nothing answers there"),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "nothing answers there"),
    (socket.gaierror(-2, "Name or service not known"), "its name is not known"),
    (OSError(113, "No route to host"), "No route to host"),
    (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]"), "certificate is not trusted"),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "speaks no HTTPS"),
])
def test_why_there_is_no_connection_is_said_in_plain_words_by_both_carriers(cause: OSError, words: str) -> None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        cause.verify_message = "self-signed certificate"
    for error in (cause, wrapped(cause)):
        assert words in str(unreachable(error))


def test_two_people_of_a_hub_are_not_put_into_one_session() -> None:
    def session(person: str) -> str:
        # In the containers of a hub everybody's home has the same path.
        settings = Settings.load({"JUPYTERHUB_USER": person, "JPY_SESSION_NAME": "/home/jovyan/stories.ipynb"})
        return implicit_session(settings.notebook, {}, settings.person)

    assert session("ada") != session("bob")
    assert session("ada") == session("ada")


def test_a_redirect_and_a_missing_page_are_explained() -> None:
    assert "login page" in str(refusal(302, None))
    assert "no such chat server" in str(refusal(404, None))


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_who_is_not_let_in_is_refused_on_every_way(status: int, code: str) -> None:
    error = refusal(status, None)
    assert isinstance(error, Refused)
    assert (error.code, error.retryable) == (code, False)


@pytest.mark.parametrize("error", [
    closed(4503, "this session belongs to somebody else"),
    refusal(403, None, b'{"type":"error","data":{"error":"this session belongs to somebody else","code":"forbidden"}}'),
])
def test_who_enters_anothers_session_is_told_so_and_not_to_set_a_token(error: EdChatError) -> None:
    assert "this session belongs to somebody else." in error.reason
    assert "Chat(session=…)" in (error.hint or "")
    assert "EDCHAT_TOKEN" not in str(error)


@pytest.mark.parametrize(("header", "wait"), [
    ("7", 7.0), (" 0 ", 0.0), ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0), ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
    ("Thu, 01 Jan 2026 00:00:30", 30.0), ("-1", None), ("soon", None), ("", None), (None, None), ("1e9", None),
])
def test_retry_after_is_read_as_seconds_and_as_a_date(header: str | None, wait: float | None) -> None:
    assert seconds(header, datetime(2026, 1, 1, tzinfo=UTC)) == wait


def test_our_servers_own_words_are_told_from_those_of_a_proxy() -> None:
    ours = b'{"detail":"x","type":"error","data":{"error":"x","code":"rate_limited","retry_after_ms":1500}}'
    for status in (401, 403):
        assert isinstance(refusal(status, None, ours, carrier="ws"), Refused)
        proxys = refusal(status, None, b'{"detail":"Forbidden"}', carrier="ws")
        assert (proxys.blocked, proxys.retryable) == ("surely", True)
        assert isinstance(refusal(status, None, b"<html>", carrier="http"), Refused)
    error = refusal(429, "9", ours, carrier="ws")
    assert (error.blocked, error.retry_after) == (None, 1.5)
    assert refusal(429, "9", b"<html>", carrier="ws").retry_after == 9.0
    assert refusal(503, None, ours, carrier="ws").blocked is None
    assert refusal(503, None, b"<html>", carrier="ws").blocked == "perhaps"


@pytest.mark.parametrize(("reason", "hint", "text"), [
    ("Unavailable", "The model is busy.", "Unavailable. The model is busy."),
    ("Gone.", "Try again.", "Gone. Try again."),
    ("Really?", "No", "Really? No"),
    ("Alone", None, "Alone"),
    ("Blank.", " ", "Blank."),
])
def test_a_reason_and_its_hint_are_two_sentences(reason: str, hint: str | None, text: str) -> None:
    assert str(AgentError(reason, hint=hint)) == text
    part = ErrorPart(id="e", code="x", message=reason, hint=hint)
    assert static_render.part_text(part) == f"Error: {text}"


def test_a_folder_that_cannot_be_used_is_one_plain_sentence(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    with pytest.raises(StorageError) as caught:
        Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s")
    assert "Errno" not in str(caught.value)
    assert "cannot be used: File exists. Is the disk" in str(caught.value)
