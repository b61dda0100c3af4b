"""A process that does not run for longer than the heartbeat allows, as when a laptop's lid is closed."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.faults import oracle
from tests.faults.clock import Clock
from tests.faults.kernel import Job
from tests.faults.kernel_process import kernel
from tests.server_fixtures import Client, server

MESSAGES = """
while chat.connection.state != 'connected': time.sleep(0.01)
seen = []
chat.on('connection', lambda c: seen.append([c.state, c.attempt]))
asked.append(chat.send('make Login'))
asked[0].result(60)
tell(pid=True)
while not any(m.text == 'said elsewhere' for m in chat.view.messages): time.sleep(0.05)
asked.append(chat.send('make Logout'))
asked[1].result(60)
tell(seen=seen, state=chat.connection.state, attempt=chat.connection.attempt, connections=chat.metrics.connections)
"""


def sleeps(tmp_path: Path, who: str, seconds: float) -> dict[str, Any]:
    """Stop the kernel, the server or both for so long; return what the kernel says of its connection.

    Its clock is set back meanwhile, which must not keep it from seeing that the server is silent.
    """
    clock = Clock(tmp_path / "clock")
    with server(tmp_path / "data", EDCHAT_TOKEN="t") as running:
        told = Job(
            url=running.url, home=str(tmp_path / "home"), then=MESSAGES,
            options={"reconnect_interval": 0.2, "heartbeat_interval": 1, "failover": "never"},
        )
        with kernel(told, tmp_path / "kernel.log", **clock.env) as process:
            process.told("pid")
            clock.jump(-3600)
            assert running.process.pid is not None
            pids = {"kernel": [process.pid], "server": [running.process.pid]}
            stopped = pids.get(who) or [*pids["kernel"], *pids["server"]]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            if who == "kernel":
                other = Client(running, client="other").open()
                other.say("said elsewhere")
                oracle.until_over(other, runs=2)
                other.close()
            time.sleep(seconds)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            if who != "kernel":
                other = Client(running, client="other").open()
                other.say("said elsewhere")
                oracle.until_over(other, runs=2)
                other.close()
            said = process.line("seen")
            process.told("shown")
            process.ended()
        view = oracle.check_session(running, states=["completed"] * 3)
        assert [part[1] for part in view if part[0] == "user"] == ["make Login", "said elsewhere", "make Logout"]
        assert oracle.stories(running) == ["Login", "Logout"]
        return said


def check_calm(said: dict[str, Any]) -> None:
    assert (said["state"], said["attempt"]) == ("connected", 0)
    assert ["disconnected", 10] not in said["seen"]
    assert said["connections"] <= 4, "it span"


@pytest.mark.fault("F10", "SIGSTOP for longer than the heartbeat allows")
@pytest.mark.parametrize(("who", "seconds"), [("kernel", 13), ("server", 13)])
def test_whoever_slept_goes_on_where_it_was(tmp_path: Path, who: str, seconds: float) -> None:
    said = sleeps(tmp_path, who, seconds)
    check_calm(said)
    if who == "server":
        assert "reconnecting" in [state for state, _ in said["seen"]], "the silence was not seen"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("F10", "SIGSTOP for 1 and 10 minutes")
@pytest.mark.parametrize(
    ("who", "seconds"), [("kernel", 60), ("server", 60), ("both", 60), ("kernel", 600)],
)
def test_whoever_slept_for_long_goes_on_where_it_was(tmp_path: Path, who: str, seconds: float) -> None:
    check_calm(sleeps(tmp_path, who, seconds))
