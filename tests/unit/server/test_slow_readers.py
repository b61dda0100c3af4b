"""Readers that are slower than the log grows: they hold nobody up, fill no memory, and miss nothing."""

import json
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from tests.server_fixtures import Client, ServerProcess, fold, server
from websockets.exceptions import ConnectionClosed

SLOW = 8
ANSWERS = 6
SIZE = 1_000_000


def stalled(running: ServerProcess, session: str, client: str, epoch: str | None) -> Client:
    """A client that has said hello, and reads nothing that comes after its welcome."""
    slow = Client(running, session=session, client=client, epoch=epoch, receive_buffer=4096).open()
    assert slow.ws is not None
    slow.ws.recv_messages.high, slow.ws.recv_messages.low = 1, 0
    return slow


def converse(fast: list[Client]) -> None:
    for _ in range(3):
        fast[0].say("hello")
        for each in fast:
            assert each.until_over() == "completed", "a fast reader waits for a slow one"


def rss(running: ServerProcess) -> int:
    return int(psutil.Process(running.process.pid).memory_info().rss)


def test_slow_readers_among_fast_ones_slow_nobody_and_cost_no_memory(tmp_path: Path) -> None:
    with server(tmp_path / "data", EDCHAT_LIMIT_SEND_SECONDS="3") as running:
        session = uuid.uuid4().hex
        fast = [Client(running, session=session, client=f"c{n}").open() for n in range(3)]
        for _ in range(ANSWERS):
            fast[0].say(f"big {SIZE}")
            for each in fast:
                assert each.until_over() == "completed"
        converse(fast)
        before = rss(running)
        slow = [stalled(running, session, f"slow{n}", fast[0].epoch) for n in range(SLOW)]
        converse(fast)
        grown = (rss(running) - before) / SLOW
        assert grown < ANSWERS * SIZE / 2, f"{grown:.0f} bytes are kept for each slow reader"
        views = [fold(each.log) for each in fast]
        assert views[0] == views[1] == views[2]
        deadline = time.monotonic() + 20
        while (log := (running.data_dir / "server.log").read_text(encoding="utf-8")).count("code 4413") < SLOW:
            assert time.monotonic() < deadline, log
            time.sleep(0.1)
        again = slow[0]
        with suppress(ConnectionClosed, OSError):
            while True:
                again.recv(5)
        again.close()
        again.receive_buffer = None
        again.open()
        while again.cursor < fast[0].cursor:
            again.recv()
        assert fold(again.log) == views[0]
        for each in (*fast, *slow):
            each.close()


def test_a_stalled_reader_keeps_its_frames_in_order(tmp_path: Path) -> None:
    with server(tmp_path / "data", "--pause", "0.002") as running:
        session = uuid.uuid4().hex
        talker = Client(running, session=session, client="talker").open()
        slow = stalled(running, session, "slow", talker.epoch)
        talker.say("slow 300")
        talker.until_over()
        while slow.cursor < talker.cursor:
            slow.recv()
        assert slow.log == talker.log
        seen: list[Any] = [frame["seq"] for frame in slow.frames if "seq" in frame]
        assert seen == sorted(seen)
        assert json.dumps(slow.log) == json.dumps(talker.log)
        for each in (talker, slow):
            each.close()
