"""A database set back, cut or damaged: it is noticed, and nobody is shown two pasts as one."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.faults import oracle
from tests.faults.kernel import shown_by
from tests.processes import free_port
from tests.server_fixtures import Client, server

from edchat_cli import main
from edchat_protocol.codec import decode_down
from edchat_protocol.frames import ErrorFrame, StatusFrame
from edchat_server.store import Command, Say, SqliteStore, StoreError
from edchat_server.store.backup import RESTORED, backup, restore
from edchat_widget import Chat


def run_of(client: Client, message_id: str) -> str | None:
    return next((event["run"] for event in client.log.values() if event.get("mid") == message_id), None)


def edchat(verb: str, file: Path, data: Path) -> int:
    return main([verb, str(file), "--data-dir", str(data)])


@pytest.mark.fault("F13", "yesterday's backup restored under a chat")
def test_after_a_restore_the_chat_shows_what_the_backup_has_and_goes_on(tmp_path: Path) -> None:
    data, file, port = tmp_path / "data", tmp_path / "copy.db", free_port()
    told = ("--port", str(port))
    url = f"http://127.0.0.1:{port}"
    with Chat(url, token="t", session="s1", data_dir=tmp_path / "home", reconnect_interval=0.2) as chat:
        with server(data, *told, EDCHAT_TOKEN="t"):
            chat.ask("make Login", timeout=60)
            assert edchat("backup", file, data) == 0, "a running server can be copied"
            chat.ask("make Logout", timeout=60)
            assert edchat("restore", file, data) == 1, "a running server's database was replaced"
        assert edchat("restore", file, data) == 0
        with server(data, *told, EDCHAT_TOKEN="t") as second:
            assert chat.ask("make Search", timeout=60).state == "complete"
            assert oracle.stories(second) == ["Login", "Search"]
            view = oracle.check_session(second, states=["completed"] * 2)
            assert shown_by(chat.view) == oracle.shown_in(view)
    kept = next(data.glob("edchat.db.before-*"))
    assert b"Logout" in b"".join(f.read_bytes() for f in data.glob(f"{kept.name}*")), "the newer past was thrown away"


@pytest.mark.fault("F13", "a client whose cursor the restored log has passed again")
def test_a_cursor_of_the_other_past_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "copy.db"
    with server(data) as first:
        client = Client(first).open()
        client.say("hello")
        client.until_over()
        assert edchat("backup", file, data) == 0
        client.say("one past")
        client.until_over()
        client.close()
    assert edchat("restore", file, data) == 0
    with server(data) as second:
        other = Client(second, client="other").open()
        for _ in range(3):
            other.say("another past, and longer")
            other.until_over()
        other.close()
        client.server = second
        before = client.epoch
        client.open()
        assert client.welcome["head"] > client.cursor
        assert client.welcome["resume"] == "snapshot"
        assert client.epoch != before
        client.close()


@pytest.mark.fault("F13", "a backup taken in the midst of a run")
def test_a_run_that_was_not_over_in_the_backup_is_ended_and_not_done_again(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "copy.db"
    with server(data, "--pause", "0.02") as first:
        client = Client(first).open()
        client.say("slow 100", id="m-1")
        client.until("token")
        assert edchat("backup", file, data) == 0
        client.until_over()
        client.close()
    assert edchat("restore", file, data) == 0
    with server(data) as second:
        log = oracle.snapshot(second)
        error = next(event for event in log.values() if event["type"] == "error")["data"]
        assert (error["error"], error["retryable"]) == (RESTORED, True)
        assert list(oracle.endings(log).values()) == [["failed"]]


@pytest.mark.fault("F13", "backups while messages are taken and answered")
def test_a_backup_of_a_busy_server_is_whole(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with server(data) as running:
        client = Client(running).open()
        done = threading.Event()

        def talk() -> None:
            for n in range(8):
                client.say(f"make Story {n}")
                client.until_over()
            done.set()

        talking = threading.Thread(target=talk)
        talking.start()
        copies = 0
        while not done.is_set() or not copies:
            assert edchat("backup", tmp_path / f"{copies}.db", data) == 0
            copies += 1
        talking.join()
        client.close()
    for n in range(copies):
        with sqlite3.connect(tmp_path / f"{n}.db") as conn:
            assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            for session, last in conn.execute("SELECT id, last_seq FROM sessions").fetchall():
                seqs = conn.execute("SELECT seq FROM events WHERE session = ? ORDER BY seq", (session,)).fetchall()
                assert [seq for (seq,) in seqs] == list(range(1, last + 1))
            (stories,) = conn.execute("SELECT count(*) FROM stories").fetchone()
            assert stories == conn.execute("SELECT count(*) FROM tool_calls").fetchone()[0]
        conn.close()


def test_what_is_no_backup_is_refused_and_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert edchat("backup", tmp_path / "x.db", data) == 1
    assert "there is no database" in capsys.readouterr().err
    with server(data):
        pass
    before = (data / "edchat.db").read_bytes()
    (tmp_path / "text").write_text("hello")
    assert edchat("restore", tmp_path / "text", data) == 1
    assert "is no backup" in capsys.readouterr().err
    assert edchat("restore", tmp_path / "absent", data) == 1
    assert (data / "edchat.db").read_bytes() == before
    assert edchat("backup", tmp_path / "no" / "such" / "folder", data) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.fault("F13", "a write-ahead log cut off after kill -9")
@pytest.mark.parametrize("cut", range(0, 12))
def test_a_cut_write_ahead_log_leaves_a_log_without_a_gap(tmp_path: Path, cut: int) -> None:
    """What an honest disk keeps is whole; of a disk that lost its end, a beginning without a gap is left."""
    data = tmp_path / "data"
    with server(data) as first:
        client = Client(first).open()
        client.say("make Login", id="m-1")
        client.until_over()
        first.kill()
        client.close()
    wal = data / "edchat.db-wal"
    size = wal.stat().st_size
    if cut:
        with wal.open("rb+") as file:
            file.truncate(max(32, size - cut * 4120 * 3 + 17))
    shutil.copytree(data, tmp_path / "seen")
    with server(data) as second:
        epoch = client.epoch
        client.server = second
        client.open()
        if not cut:
            assert client.welcome["resume"] == "replay"
            assert client.epoch == epoch
        elif client.welcome["head"] < client.cursor:
            assert client.epoch != epoch, "a log that lost its end was taken for the same log"
        client.csn = client.welcome["accepted_csn"]
        client.close()
        late = Client(second, client="late").open()
        late.say("hello", id="m-2")
        while run_of(late, "m-2") not in oracle.endings(late.log):
            late.recv()
        late.close()
        states = ["completed"] * len(oracle.endings(oracle.whole_log(second)))
        oracle.check_session(second, states=states)
        if not cut:
            assert oracle.stories(second) == ["Login"]


def said(text: str) -> Command:
    return Command(session="s", client="c", csn=None, id=text, fingerprint=b"", work=Say(content=text))


def in_store(path: Path, work: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await SqliteStore.open(path)
        await work(store)
        await store.close()

    asyncio.run(main())


@pytest.mark.fault("F13", "a restore after the database was lost and its write-ahead log was not")
def test_a_restored_database_takes_nothing_from_a_log_that_was_left_there(tmp_path: Path) -> None:
    database, file, lost = tmp_path / "edchat.db", tmp_path / "copy.db", tmp_path / "lost" / "edchat.db"
    lost.parent.mkdir()

    async def live(store: SqliteStore) -> None:
        await store.accept(said("old"))
        backup(database, file)
        await store.accept(said("new"))
        shutil.copy(f"{database}-wal", f"{lost}-wal")

    async def look(store: SqliteStore) -> None:
        assert b"new" not in b"".join(row.body for row in await store.read_range("s", 0))

    in_store(database, live)
    assert restore(lost, file) is None
    in_store(lost, look)
    assert next(lost.parent.glob("edchat.db.before-*-wal")).stat().st_size, "what was left was thrown away"


def test_a_database_is_not_replaced_by_its_own_backup(tmp_path: Path) -> None:
    database, link = tmp_path / "edchat.db", tmp_path / "link"
    in_store(database, lambda store: store.probe())
    link.symlink_to(tmp_path)
    before = database.stat().st_ino
    with pytest.raises(StoreError, match="is the database itself"):
        backup(database, link / "edchat.db")
    assert database.stat().st_ino == before


@pytest.mark.fault("F13", "a backup taken while a tool acted elsewhere")
def test_a_restore_says_what_is_not_known_and_does_not_offer_to_retry_it(tmp_path: Path) -> None:
    database, file = tmp_path / "edchat.db", tmp_path / "copy.db"

    async def live(store: SqliteStore) -> None:
        await store.accept(said("send it"))
        claim = await store.claim()
        assert claim is not None
        await store.intend(claim, "a", "Whether it was sent is not known.")
        backup(database, file)

    async def look(store: SqliteStore) -> None:
        *_, error, end = [decode_down(row.body) for row in await store.read_range("s", 0)]
        assert isinstance(error, ErrorFrame)
        assert isinstance(end, StatusFrame)
        assert (error.data.error, error.data.code, error.data.retryable, end.data.status) == (
            "Whether it was sent is not known.", "uncertain", False, "uncertain"
        )

    in_store(database, live)
    restore(database, file)
    in_store(database, look)
