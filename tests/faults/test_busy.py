"""A kernel whose main thread has no time: the connection is another thread's, and lives."""

from pathlib import Path

import pytest
from tests.faults import oracle
from tests.faults.kernel import Job
from tests.faults.kernel_process import kernel
from tests.server_fixtures import server

SLEEP = "time.sleep({seconds})"
LOOP = """
end = time.monotonic() + {seconds}
while time.monotonic() < end: pass
"""
# One call of C code that never gives the interpreter's lock away; each further letter doubles its time.
HOG = """
import re
letters, took = 20, 0.0
while took < {seconds}:
    letters += 1
    began = time.monotonic()
    re.match('(a+)+b', 'a' * letters)
    took = time.monotonic() - began
tell(hogged=took)
"""
BUSY = """
while chat.connection.state != 'connected': time.sleep(0.01)
heard = []
chat.on('message', lambda message: heard.append(time.monotonic()))
asked.append(chat.send('slow 20'))
{work}
ended = time.monotonic()
tell(answered_meanwhile=len(heard) == 2 and heard[1] < ended)
tell(connections=chat.metrics.connections, state=chat.connection.state)
asked.append(chat.send('make Login'))
"""


def busy(tmp_path: Path, work: str, seconds: float) -> tuple[bool, int]:
    """Be busy for so long; return whether the answer came meanwhile, and how many connections were made."""
    with server(tmp_path / "data", "--pause", "0.01", EDCHAT_TOKEN="t") as running:
        told = Job(
            url=running.url, home=str(tmp_path / "home"), then=BUSY.format(work=work.format(seconds=seconds)),
            options={"reconnect_interval": 0.2, "heartbeat_interval": 1, "failover": "never"},
        )
        with kernel(told, tmp_path / "kernel.log") as process:
            meanwhile = process.told("answered_meanwhile")
            connections = process.told("connections")
            process.told("shown")
            process.ended()
        view = oracle.check_session(running, states=["completed", "completed"])
        assert oracle.stories(running) == ["Login"]
        assert [part[1] for part in view if part[0] == "user"] == ["slow 20", "make Login"]
    return meanwhile, connections


@pytest.mark.fault("F25", "the main thread sleeps or loops for 3 s")
@pytest.mark.parametrize("work", [SLEEP, LOOP], ids=["sleep", "loop"])
def test_an_answer_arrives_while_a_cell_is_busy(tmp_path: Path, work: str) -> None:
    assert busy(tmp_path, work, 3) == (True, 1)


@pytest.mark.fault("F25", "a C call holds the interpreter's lock for 3 s")
def test_a_cell_that_holds_the_interpreters_lock_delays_the_answer_and_loses_nothing(tmp_path: Path) -> None:
    busy(tmp_path, HOG, 3)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.fault("F25", "the main thread sleeps or loops for 60 s")
@pytest.mark.parametrize("work", [SLEEP, LOOP], ids=["sleep", "loop"])
def test_a_minute_of_a_busy_cell_costs_no_connection(tmp_path: Path, work: str) -> None:
    assert busy(tmp_path, work, 60) == (True, 1)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.fault("F25", "a C call holds the interpreter's lock for 15 s and more")
def test_a_long_hold_of_the_interpreters_lock_is_survived(tmp_path: Path) -> None:
    busy(tmp_path, HOG, 15)
