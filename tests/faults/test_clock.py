"""Somebody sets the clock while an answer streams: nothing but what people read as a time changes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.clock import Clock
from tests.faults.kernel import Job
from tests.faults.kernel_process import kernel
from tests.processes import AgentServer

HOUR = 3600
JUMPS = [(HOUR, 0), (0, 0), (-HOUR, 0), (0, HOUR), (0, -HOUR), (HOUR, -HOUR), (-HOUR, HOUR)]
"""What the server's clock and the kernel's are set to while an answer streams."""

STREAMING = """
while chat.connection.state != 'connected': time.sleep(0.01)
for n in range({jumps}):
    asked.append(chat.send(f'create a story for report {{n}}'))
    while not any(m.run == asked[n].run_id and m.role == 'assistant' for m in chat.view.messages): time.sleep(0.01)
    tell(streaming=True)
    asked[n].result(60)
    tell(connections=chat.metrics.connections, clock=time.time())
"""


@pytest.mark.fault("F9", "the wall clock of server or kernel jumps by an hour while an answer streams")
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("cases", len(JUMPS))
    its, ours = Clock(tmp_path / "its-clock"), Clock(tmp_path / "our-clock")
    with AgentServer(tmp_path / "data", pace=60, env=its.env) as server:
        told = Job(url=server.url, home=str(tmp_path / "home"), token=None, then=STREAMING.format(jumps=len(JUMPS)))
        with kernel(told, tmp_path / "kernel.log", **ours.env) as process:
            for server_by, kernel_by in JUMPS:
                process.told("streaming")
                its.jump(server_by)
                ours.jump(kernel_by)
                said = process.line("connections")
                assert said["connections"] == 1
                assert said["clock"] - time.time() == pytest.approx(kernel_by, abs=60), "the clock was not set"
            states = process.told("states")
            process.ended()
        assert [state for _, _, state in states] == ["answered", "complete"] * len(JUMPS)
        assert sorted(s["title"] for s in server.stories()) == [f"Report {n}" for n in range(len(JUMPS))]
