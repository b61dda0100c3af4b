"""A database that somebody locks, and one that lost its end: what was acknowledged and is in the file, holds."""

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults import oracle
from tests.server_fixtures import ROOT, Client, environment, server
from websockets.exceptions import ConnectionClosed

from edchat_widget import Chat

WAL_HEADER, FRAME_HEADER = 32, 24


@pytest.mark.fault("F11", "another process holds the database's lock while an answer streams")
@pytest.mark.parametrize("seconds", [1.5, 7], ids=["shorter than the wait", "longer than the wait"])
def test_what_comes_while_the_database_is_locked_is_taken_once(tmp_path: Path, seconds: float) -> None:
    with (
        server(tmp_path / "data", "--pause", "0.05", EDCHAT_TOKEN="t") as running,
        Chat(running.url, token="t", session="s1", data_dir=tmp_path / "home") as chat,
    ):
        first = chat.send("make Login")
        while not any(message.role == "assistant" for message in chat.view.messages):
            time.sleep(0.01)
        other = sqlite3.connect(tmp_path / "data/edchat.db", isolation_level=None, timeout=20)
        other.execute("BEGIN EXCLUSIVE")
        second = chat.send("make Logout")
        time.sleep(seconds)
        assert not second.done
        other.execute("ROLLBACK")
        other.close()
        assert [pending.result(60).state for pending in (first, second)] == ["complete", "complete"]
        assert chat.connection.state == "connected"
        assert chat.metrics.connections == 1, "a locked database is no reason to reconnect"
        view = oracle.check_session(running, states=["completed", "completed"])
        assert oracle.stories(running) == ["Login", "Logout"]
        assert oracle.made(view) == ["STORY-1", "STORY-2"]


@pytest.mark.fault("F11", "a second server on the same database")
def test_a_second_server_is_refused_and_told_why(tmp_path: Path) -> None:
    with server(tmp_path / "data", EDCHAT_TOKEN="t") as running:
        second = subprocess.run(
            [sys.executable, "-m", "edchat_server", "--port", "0", "--data-dir", str(tmp_path / "data")],
            check=False, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60,
        )
        assert second.returncode == 1
        assert "another edchat server already uses" in second.stderr
        client = Client(running).open()
        client.say("make Login")
        assert client.until_over() == "completed"
        client.close()


def killed_with_acks(data: Path) -> dict[str, int]:
    """Take some messages, then die by kill -9; return each message with the journal's size at its acknowledgement."""
    acked: dict[str, int] = {}
    with server(data, EDCHAT_FAIL_POINT="effect_committed:3") as running:
        client = Client(running).open()
        with suppress(ConnectionClosed):
            for text in ("hello", "make Login", "make Logout", "make Search page"):
                message = client.say(text)
                client.until("ack")
                acked[message] = (data / "edchat.db-wal").stat().st_size
                client.until_over()
        running.wait()
        client.close()
    assert len(acked) == 4
    return acked


def torn(data: Path, to: Path, cut: int) -> Path:
    """Copy a database whose journal ends after so many bytes."""
    to.mkdir(exist_ok=True)
    shutil.copy(data / "edchat.db", to)
    (to / "edchat.db-wal").write_bytes((data / "edchat.db-wal").read_bytes()[:cut])
    (to / "edchat.db-shm").unlink(missing_ok=True)
    return to


def check_torn(file: Path, due: set[str]) -> None:
    """Check what is left of a torn database, and that whole transactions are left."""
    db = sqlite3.connect(file)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        if not {"inbox", "runs", "events", "sessions", "tool_calls", "stories"} <= tables:
            assert not due
            return
        taken = {message for (message,) in db.execute("SELECT id FROM inbox")}
        assert due <= taken, "an acknowledged message is lost"
        assert {message for (message,) in db.execute("SELECT input_id FROM runs")} == taken
        head = db.execute("SELECT coalesce(max(last_seq), 0) FROM sessions").fetchone()[0]
        assert [seq for (seq,) in db.execute("SELECT seq FROM events ORDER BY seq")] == list(range(1, head + 1))
        assert db.execute("SELECT (SELECT count(*) FROM stories) = (SELECT count(*) FROM tool_calls)").fetchone()[0]
    finally:
        db.close()


@pytest.mark.fault("F13", "the journal of a killed server is cut at each frame and at random bytes")
def test_a_torn_journal_loses_nothing_that_it_still_holds(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    acked = killed_with_acks(tmp_path / "data")
    journal = (tmp_path / "data/edchat.db-wal").stat().st_size
    page = FRAME_HEADER + 4096
    chance = random.Random(journal)
    cuts = [*range(WAL_HEADER, journal + 1, page), *(chance.randrange(journal) for _ in range(40)), 0, 1]
    for cut in cuts:
        copy = torn(tmp_path / "data", tmp_path / "torn", cut)
        check_torn(copy / "edchat.db", {message for message, size in acked.items() if size <= cut})
    record_property("cases", len(cuts))


@pytest.mark.fault("F13", "a server starts on a database whose end is lost")
@pytest.mark.parametrize("kept", [0.2, 0.4, 0.6])
def test_a_client_that_saw_more_than_is_left_gets_a_new_epoch_and_the_whole_view(tmp_path: Path, kept: float) -> None:
    with server(tmp_path / "data", EDCHAT_FAIL_POINT="effect_committed:3") as running:
        client = Client(running).open()
        with suppress(ConnectionClosed):
            for text in ("make Login", "make Logout", "make Search page"):
                client.say(text)
                client.until_over()
        running.wait()
        client.close()
    journal = (tmp_path / "data/edchat.db-wal").stat().st_size
    torn(tmp_path / "data", tmp_path / "torn", int(journal * kept))
    before, cursor = client.epoch, client.cursor
    with server(tmp_path / "torn") as after:
        client.server = after
        client.log.clear()
        client.open()
        assert client.welcome["head"] < cursor
        assert client.epoch != before
        assert client.welcome["resume"] == "snapshot"
        client.cursor = 0
        oracle.to_the_head(client)
        client.open()
        client.csn = client.welcome["accepted_csn"]
        client.say("make Archive")
        last = client.until("ack")["data"]["run"]
        while last not in oracle.endings(client.log):  # and the runs before it, for they have to wait for each other
            client.recv()
        view = oracle.check_session(after, states=["completed"] * len(oracle.endings(client.log)), stayed=client)
        assert len(oracle.made(view)) == len(oracle.stories(after)) == len(set(oracle.made(view)))
        client.close()
