"""A server that dies every moment: each life takes the runs a step further, and in the end all are answered once."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults import oracle
from tests.faults.kernel import shown_by
from tests.processes import free_port
from tests.server_fixtures import Client, server
from websockets.exceptions import ConnectionClosed

from edchat_widget import Chat

PAUSE = "0.02"  # between two words of the model: a run takes longer than many of the lives


def lives(chance: random.Random) -> Iterator[float]:
    """Give the lengths of the lives, in seconds.

    Of three short ones in a row nobody could tell whether it is the run that kills the server, so there are no three.
    """
    short = 0
    while True:
        life = chance.uniform(1 if short == 2 else 0.2, 2)
        short = short + 1 if life < 0.8 else 0
        yield life


def titles(n: int) -> tuple[str, str]:
    return f"Import of format {n}", f"Export to place {n}"


def request(n: int) -> str:
    return "make " + " | ".join(titles(n))


def loop(tmp_path: Path, seconds: float, messages: int, seed: int) -> int:
    """Kill the server again and again while messages are sent; return how many lives it had."""
    life = lives(random.Random(seed))
    port = free_port()
    told = ("--port", str(port), "--pause", PAUSE)
    options = {"token": "t", "reconnect_interval": 0.05, "max_reconnect_attempts": 100, "failover": "never"}
    asked, had = [], 0
    with (
        Chat(f"http://127.0.0.1:{port}", session="s1", data_dir=tmp_path / "home", **options) as one,
        Chat(f"http://127.0.0.1:{port}", session="s2", data_dir=tmp_path / "home", **options) as two,
    ):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with server(tmp_path / "data", *told, EDCHAT_TOKEN="t") as running:
                had += 1
                if len(asked) < messages:
                    asked.append((one, two)[len(asked) % 2].send(request(len(asked))))
                time.sleep(next(life))
                running.kill()
        with server(tmp_path / "data", *told, EDCHAT_TOKEN="t") as running:
            for pending in asked:
                assert pending.result(timeout=90).state == "complete"
            assert oracle.stories(running) == sorted(title for n in range(len(asked)) for title in titles(n))
            for chat, session in ((one, "s1"), (two, "s2")):
                texts = [request(n) for n in range(len(asked)) if (one, two)[n % 2] is chat]
                view = oracle.check_session(running, session, states=["completed"] * len(texts))
                assert [part[1] for part in view if part[0] == "user"] == texts
                assert shown_by(chat.view) == oracle.shown_in(view)
    return had


@pytest.mark.fault("F14", "kill -9 every 0.2 to 2 s for 15 s")
def test_runs_get_on_from_life_to_life(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("cases", loop(tmp_path, seconds=15, messages=12, seed=random.randrange(1000)))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.fault("F14", "kill -9 every 0.2 to 2 s for 60 s")
@pytest.mark.parametrize("seed", range(3))
def test_runs_get_on_through_a_minute_of_crashes(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("cases", loop(tmp_path, seconds=60, messages=20, seed=seed))


def lives_until_it_ends(tmp_path: Path, point: str, most: int = 12) -> tuple[int, str]:
    """Have each life end at a place, until the run has ended; return how many there were, and the run's last state."""
    for life in range(1, most):
        with server(tmp_path / "data", EDCHAT_FAIL_POINT=point) as running:
            client = Client(running)
            with suppress(ConnectionClosed, OSError):
                client.open()
                client.send({"type": "message", "id": "m-1", "csn": 1, "data": {"content": "make Login | Logout"}})
                oracle.until_over(client)
                ((state,),) = oracle.endings(client.log).values()
                client.close()
                oracle.check_session(running, states=[state])
                return life, state
            client.close()
    raise AssertionError("it goes on for ever")


@pytest.mark.fault("F14", "each life saves a step or two, then kill -9")
def test_a_run_that_gets_on_in_each_life_is_not_given_up(tmp_path: Path) -> None:
    count, state = lives_until_it_ends(tmp_path, "checkpoint_committed:2")
    assert (count > 4, state) == (True, "completed")


@pytest.mark.fault("F14", "each life dies at the same step")
def test_a_run_that_kills_its_server_at_the_same_step_is_given_up(tmp_path: Path) -> None:
    count, state = lives_until_it_ends(tmp_path, "part_messages")
    assert (count, state) == (4, "failed")
