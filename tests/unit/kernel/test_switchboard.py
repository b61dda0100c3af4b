"""The switchboard with drivers that reach nobody: what it keeps when the disk will not have it, and what it says."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.kernel.scripted import SESSION, ScriptedServer
from tests.unit.kernel.test_shells import Wire

from edchat_protocol.frames import HelloData
from edchat_widget import Settings, StorageError
from edchat_widget._core.carriers import Carrier
from edchat_widget._core.failover import Fork
from edchat_widget._core.outbox import Row
from edchat_widget._io import forks
from edchat_widget._io.driver import Driver
from edchat_widget._io.outbox_file import open_outbox
from edchat_widget._io.switchboard import Switchboard
from edchat_widget._io.transport import Endpoint, Transport
from edchat_widget.errors import ConnectError, EdChatError
from edchat_widget.events import ChatEvent
from edchat_widget.view import Patch, SnapshotMessage, View, apply

URL = "http://stories.example.org"


async def nowhere(endpoint: Endpoint, carrier: Carrier, hello: HelloData) -> Transport:
    raise ConnectError("nothing answers there")


async def resolve(*, renew: bool = False) -> Endpoint:
    return Endpoint(URL)


def settings_of(data_dir: Path, **more: Any) -> Settings:
    return Settings(url=URL, data_dir=data_dir, reconnect_interval=0.01, **({"max_reconnect_attempts": 1} | more))


def board(settings: Settings, spoil: Callable[[Driver], object] = lambda _driver: None) -> Switchboard:
    def make_local(settings: Settings, fork: Fork) -> Driver:
        local = Driver(settings, fork.local, resolve, opener=nowhere, server="here", history=fork.history)
        spoil(local)
        return local

    home = Driver(settings, "s", resolve, opener=nowhere, server=URL, outbox_suffix="home")
    return Switchboard(settings, URL, home, make_local)


def texts(view: View) -> list[tuple[str, str]]:
    return [(m.text, m.state) for m in view.messages if m.role == "user"]


def full(driver: Driver) -> None:
    db = driver._file._db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")


@pytest.mark.parametrize("where", ["fork", "outbox"])
def test_a_disk_that_takes_nothing_leaves_every_message_where_it_was(tmp_path: Path, where: str) -> None:
    async def main() -> None:
        if where == "fork":
            (tmp_path / "forks.json").mkdir(parents=True)
        one = board(settings_of(tmp_path, failover="never"), full if where == "outbox" else lambda _driver: None)
        one.submit("m1", "x" * 60_000)
        with pytest.raises(StorageError):
            one.failover()
        assert [s for _, s in texts(one.view)] == ["queued"]
        assert one.view.queued == 1
        assert all(m.role == "user" for m in one.view.messages)
        await one.close()
        assert forks.of(tmp_path, URL, "s") == []
        file, outbox = open_outbox(tmp_path / "outbox", "s@home", lambda: "c")
        assert [r.id for r in outbox.pending] == ["m1"]
        file.close()

    asyncio.run(main())


def test_what_the_disk_would_not_take_is_stored_with_the_next_change(tmp_path: Path) -> None:
    file, outbox = open_outbox(tmp_path, "s", lambda: "c")
    for n in range(1, 4):
        row = outbox.draft(Row(csn=0, id=f"m{n}", kind="message", text="x"))
        file.add(outbox.head, row)
        outbox.add(row)
    file._db.execute("PRAGMA query_only = ON")
    grown = msgspec.structs.replace(outbox.rows[1], text="y")
    with pytest.raises(StorageError):
        file.update(outbox.head, [grown], [1])
    file._db.execute("PRAGMA query_only = OFF")
    file.update(outbox.head, [], [3])
    assert [(r.id, r.text) for r in file.rows()] == [("m2", "y")]
    file.close()


def test_a_panel_that_follows_the_patches_sees_the_change_of_servers(tmp_path: Path) -> None:
    async def main() -> None:
        one = board(settings_of(tmp_path, failover="never"))
        shown = one.view
        heard: list[ChatEvent] = []

        def follow(message: Patch | SnapshotMessage) -> None:
            nonlocal shown
            shown = message.view if isinstance(message, SnapshotMessage) else apply(shown, message)

        one.subscribe(follow)
        one.listen(heard.append)
        one.start()
        one.submit("m1", "first")
        one.submit("m1", "first")
        one.failover()
        one.submit("m2", "second")
        one.submit("m1", "first")
        assert shown == one.view
        assert [m.role for m in shown.messages] == ["note", "user", "user"]
        assert shown.connection.notice
        assert [e.connection.notice is not None for e in heard if e.connection][-1]
        assert shown.queued == 2
        with pytest.raises(EdChatError, match="does not answer yet"):
            one.failback()
        one.switch("t")
        assert shown == one.view
        assert (shown.session, [m.role for m in shown.messages]) == ("t", ["note"])
        assert [f.ended is None for f in forks.of(tmp_path, URL, "s")] == [False]
        assert [f.ended is None for f in forks.of(tmp_path, URL, "t")] == [True]
        await one.close()

    asyncio.run(main())


def test_a_kernel_whose_mode_is_never_still_shows_what_an_earlier_one_moved(tmp_path: Path) -> None:
    async def main() -> None:
        one = board(settings_of(tmp_path, failover="auto"))
        one.submit("m1", "first")
        one.failover()
        await one.close()
        two = board(settings_of(tmp_path, failover="never"))
        two.start()
        assert [(m.role, m.state) for m in two.snapshot().view.messages] == [("note", "complete"), ("user", "queued")]
        await two.close()

    asyncio.run(main())


def test_a_server_that_was_never_met_is_left_by_itself_and_another_mode_holds_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        one = board(settings_of(tmp_path, failover="never"))
        one.start()
        one.submit("m1", "first", asked=True)
        view = await asyncio.wait_for(one.until(lambda v: v.connection.state == "disconnected"), 10)
        assert view.connection.notice is None
        one.configure(settings_of(tmp_path, failover="ask"))
        view = await asyncio.wait_for(one.until(lambda v: v.connection.notice is not None), 10)
        assert texts(view) == [("first", "queued")]
        assert one.take_back("m1", "Not sent."), "whoever asked can still take it back"
        assert texts(one.view) == [("first", "failed")]
        await one.close()

    asyncio.run(main())


def test_a_stop_takes_back_what_waits_for_the_server_on_this_machine(tmp_path: Path) -> None:
    async def main() -> None:
        one = board(settings_of(tmp_path, failover="never"))
        one.submit("m1", "first")
        one.failover()
        one.cancel()
        assert texts(one.snapshot().view) == [("first", "failed")]
        await one.close()

    asyncio.run(main())


def test_nothing_is_sent_from_one_outbox_while_the_other_still_holds_it(tmp_path: Path) -> None:
    async def main() -> None:
        here = Driver(settings_of(tmp_path), "here", resolve, opener=nowhere)
        held: list[list[str]] = []

        class Watching(Wire):
            async def send(self, raw: bytes) -> None:
                if raw.startswith(b'{"type":"message"'):
                    with closing(sqlite3.connect(here._file.path)) as db:
                        held.append([body for (body,) in db.execute("SELECT body FROM row")])
                await super().send(raw)

        server = ScriptedServer()

        async def network(endpoint: Endpoint, carrier: Carrier, hello: HelloData) -> Transport:
            return Watching(server, hello.client)

        there = Driver(settings_of(tmp_path), SESSION, resolve, opener=network)
        there.start()
        await asyncio.wait_for(there.until(lambda v: v.connection.state == "connected"), 10)
        for n in range(3):
            here.submit(f"m{n}", f"text {n}", asked=True)
        here.hand_over(there)
        await asyncio.wait_for(there.until(lambda v: texts(v) == [(f"text {n}", "answered") for n in range(3)]), 10)
        assert held == [[], [], []]
        assert here.snapshot().view.messages == ()
        assert server.contents == ["text 0", "text 1", "text 2"]
        await here.close()
        await there.close()

    asyncio.run(main())


def test_a_message_that_a_callback_sends_when_a_change_is_offered_stays_in_the_panel(tmp_path: Path) -> None:
    async def main() -> None:
        one = board(settings_of(tmp_path))
        shown = one.view

        def follow(message: Patch | SnapshotMessage) -> None:
            nonlocal shown
            shown = message.view if isinstance(message, SnapshotMessage) else apply(shown, message)

        def answer(event: ChatEvent) -> None:
            if event.connection is not None and event.connection.notice:
                one.submit("m2", "sent by a callback")

        one.subscribe(follow)
        one.listen(answer)
        one.submit("m1", "first")
        one.failover()
        assert shown == one.view
        assert [t for t, _ in texts(shown)] == ["first", "sent by a callback"]
        await one.close()

    asyncio.run(main())


def test_what_goes_back_unsent_does_not_count_as_said_to_the_other_server(tmp_path: Path) -> None:
    async def main() -> None:
        server = ScriptedServer()
        reachable = False

        async def opener(endpoint: Endpoint, carrier: Carrier, hello: HelloData) -> Transport:
            if not reachable:
                raise ConnectError("nothing answers there")
            return Wire(server, hello.client)

        settings = settings_of(tmp_path, failover="never", max_reconnect_attempts=1000)
        home = Driver(settings, SESSION, resolve, opener=opener, server=URL)

        def make_local(settings: Settings, fork: Fork) -> Driver:
            local = Driver(settings, fork.local, resolve, opener=nowhere)
            local._meter.up(1_000_000)
            return local

        one = Switchboard(settings, URL, home, make_local)
        one.start()
        one.submit("m1", "said to nobody")
        one.failover()
        reachable = True
        one.reconnect()
        await one.until(lambda _view: home.client.connection.live)
        one.failback()
        assert [f.count for f in one.forks] == [0]
        assert (one.metrics().bytes_sent >= 1_000_000, one.metrics().queued) == (True, 1), "counts only grow"
        assert [m.role for m in one.view.messages] == ["user"]
        await one.close()

    asyncio.run(main())


def test_a_new_conversation_begins_although_no_second_one_can_be_stored_beside_it(tmp_path: Path) -> None:
    async def main() -> None:
        begun = 0

        def make_local(settings: Settings, fork: Fork) -> Driver:
            nonlocal begun
            begun += 1
            if begun == 2:
                raise StorageError("no room")
            return Driver(settings, fork.local, resolve, opener=nowhere)

        settings = settings_of(tmp_path, failover="never")
        home = Driver(settings, "s", resolve, opener=nowhere, server=URL)
        one = Switchboard(settings, URL, home, make_local)
        one.failover()
        one.switch("s2")
        assert (one.view.session, one.view.messages, one.view.connection.notice) == ("s2", (), None)
        await one.close()

    asyncio.run(main())


def test_a_chat_that_is_closed_offers_and_advises_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        one = board(settings_of(tmp_path, failover="ask"))
        one.home.client.move_to("store-1")
        one.start()
        view = await asyncio.wait_for(one.until(lambda v: v.connection.offer is not None), 10)
        assert "Retry" in str(view.connection)
        await one.close()
        assert str(one.view.connection) == "Disconnected. This chat is closed. Run its cell again."

    asyncio.run(main())
