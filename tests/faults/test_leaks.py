"""Reconnects leave nothing behind, on either side."""

import asyncio
from pathlib import Path

import pytest
from tests.faults.leaks import Standing, run

MOST_KIB = 5 * 1024


def same_handles(before: Standing, after: Standing) -> None:
    for name in ("tasks", "threads", "files", "server_files"):
        assert getattr(after, name) <= getattr(before, name) + 2, (name, before, after)


@pytest.mark.parametrize("websocket", [True, False], ids=["ws", "http"])
def test_reconnects_leave_no_task_thread_or_file(tmp_path: Path, websocket: bool) -> None:
    same_handles(*asyncio.run(run(100, tmp_path, warm=50, websocket=websocket)))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("websocket", [True, False], ids=["ws", "http"])
def test_a_thousand_reconnects_leave_no_memory(tmp_path: Path, websocket: bool) -> None:
    before, after = asyncio.run(run(1000, tmp_path, websocket=websocket))
    same_handles(before, after)
    assert after.memory - before.memory < MOST_KIB
    assert after.server_memory - before.server_memory < MOST_KIB
