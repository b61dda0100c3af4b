"""The record of the faults says what happened, and only that."""

from pathlib import Path
from typing import Any

import pytest
from tests.record import Record, table


def report(outcome: Any, *, when: Any = "call", longrepr: Any = None, **properties: Any) -> pytest.TestReport:
    return pytest.TestReport(
        "t.py::test", ("t.py", 1, "test"), {}, outcome, longrepr, when, user_properties=list(properties.items())
    )


def rows(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[2:]


def test_a_failure_is_in_the_table(tmp_path: Path) -> None:
    record = Record(tmp_path / "table.md", today="2026-01-02")
    record.pytest_runtest_logreport(report("passed", fault=("F4", "kill -9"), cases=18))
    record.pytest_runtest_logreport(report("failed", fault=("F4", "kill -9")))
    record.pytest_sessionfinish()
    assert rows(tmp_path / "table.md") == [
        "| F4 The server is killed at any step of a run | kill -9 | 19 | **1 failed**, 18 as promised | 2026-01-02 |"
    ]


def test_what_was_not_run_says_why(tmp_path: Path) -> None:
    record = Record(tmp_path / "table.md", today="2026-01-02")
    skipped = ("t.py", 3, "Skipped: needs root")
    record.pytest_runtest_logreport(report("skipped", when="setup", longrepr=skipped, fault=("F12", "tmpfs")))
    record.pytest_sessionfinish()
    assert "| 1 not run: needs root |" in rows(tmp_path / "table.md")[0]


def test_a_broken_fixture_is_a_failure() -> None:
    record = Record(None)
    record.pytest_runtest_logreport(report("failed", when="setup", fault=("F4", "kill -9")))
    assert record.found["F4", "kill -9"].cases == {"failed": 1}


def test_rows_of_another_run_stay_until_they_are_run_again() -> None:
    record = Record(None)
    record.pytest_runtest_logreport(report("passed", fault=("F2", "every byte"), cases=8000))
    first = table(record.found, [], "2026-01-01")
    other = Record(None)
    other.pytest_runtest_logreport(report("passed", fault=("F2", "a stride"), cases=9))
    other.pytest_runtest_logreport(report("passed", fault=("F1", "between frames")))
    both = table(other.found, first.splitlines(), "2026-01-02").splitlines()[2:]
    assert [line.split(" | ")[1:3] for line in both] == [["between frames", "1"], ["a stride", "9"],
                                                       ["every byte", "8000"]]
    assert both[2].endswith("| 2026-01-01 |")
