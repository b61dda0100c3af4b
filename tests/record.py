"""What a run of the tests found out about each fault, and the table of it for docs/reliability.md.

A test says which fault it is about: ``@pytest.mark.fault("F4", "kill -9 inside the tool")``. One that tries many
cases says how many by pytest's own fixture, ``record_property("cases", 1150)``. With ``EDCHAT_RECORD=FILE`` the
run writes the table into that file; rows of tests that were not run this time stay as they are.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

FAULTS = {
    "F1": "The line is cut between two frames",
    "F2": "The line is cut inside a frame, at any byte",
    "F3": "The line is dead and does not say so",
    "F4": "The server is killed at any step of a run",
    "F5": "LangGraph is told to save late",
    "F6": "The kernel is killed",
    "F7": "The same command comes twice, or late",
    "F8": "A reader is slow",
    "F9": "The clock jumps",
    "F10": "The machine sleeps",
    "F11": "The database is locked",
    "F12": "The disk is full or fails",
    "F13": "The database is torn, or an old one",
    "F14": "The server dies again and again",
    "F15": "A load balancer switches, a replica is lost",
    "F16": "The database server is gone for a while",
    "F17": "No WebSocket gets through",
    "F18": "A proxy holds back the stream",
    "F19": "The carrier changes all the time",
    "F20": "The bundled server takes over",
    "F21": "The other side knows only version 1",
    "F22": "A stop races with everything else",
    "F23": "Many kernels, tabs and people at once",
    "F24": "Everybody comes back at once",
    "F25": "The kernel is busy",
    "F26": "Somebody attacks",
    "F27": "The model fails",
}
_HEAD = ("| Fault | How it is made | Cases | Outcome | Last run |", "|---|---|---|---|---|")
_ROW = re.compile(r"^\| (F\d+) [^|]*\| (?P<how>[^|]*) \|")

Key = tuple[str, str]


@dataclass
class Found:
    """What became of the tests of one way to make a fault."""

    cases: Counter[str] = field(default_factory=Counter)
    reasons: set[str] = field(default_factory=set)

    def outcome(self) -> str:
        """Return it in words: green, or what was not."""
        said = [f"**{self.cases['failed']} failed**"] if self.cases["failed"] else []
        if self.cases["passed"]:
            said.append(f"{self.cases['passed']} as promised" if said or self.cases["skipped"] else "as promised")
        if self.cases["skipped"]:
            said.append(f"{self.cases['skipped']} not run: {'; '.join(sorted(self.reasons))}")
        return ", ".join(said)


class Record:
    """A pytest plugin that keeps count per fault."""

    def __init__(self, table: Path | None, *, today: str | None = None) -> None:
        self._table = table
        self._today = today or datetime.now(UTC).date().isoformat()
        self.found: dict[Key, Found] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse a mark that the table could not show."""
        for item in items:
            for mark in item.iter_markers("fault"):
                if len(mark.args) != 2 or mark.args[0] not in FAULTS or "|" in mark.args[1]:
                    raise pytest.UsageError(f"{item.nodeid}: takes fault(F1…F27, how it is made), not {mark.args}")
                item.user_properties.append(("fault", mark.args))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one test: its call, or the setup that kept it from being called."""
        if report.when != "call" and not (report.when == "setup" and report.outcome == "skipped") and not report.failed:
            return
        cases = sum(int(n) for name, n in report.user_properties if name == "cases") or 1
        for name, key in report.user_properties:
            if name == "fault":
                found = self.found.setdefault(tuple(key), Found())
                found.cases[report.outcome] += cases
                if report.skipped and isinstance(report.longrepr, tuple):
                    found.reasons.add(report.longrepr[2].removeprefix("Skipped: "))

    def pytest_sessionfinish(self) -> None:
        """Write the table, where one is wanted."""
        if self._table is not None and self.found:
            old = self._table.read_text(encoding="utf-8").splitlines() if self._table.exists() else []
            self._table.write_text(table(self.found, old, self._today), encoding="utf-8")


def table(found: dict[Key, Found], old: Iterable[str], today: str) -> str:
    """Return the Markdown table: `old` lines, with what was found now in place of what was found before."""
    rows: dict[Key, str] = {}
    for line in old:
        if match := _ROW.match(line):
            rows[match[1], match["how"]] = line
    for (fault, how), what in found.items():
        cases = sum(what.cases.values())
        rows[fault, how] = f"| {fault} {FAULTS[fault]} | {how} | {cases} | {what.outcome()} | {today} |"
    ordered = sorted(rows, key=lambda key: (int(key[0][1:]), key[1]))
    return "\n".join((*_HEAD, *(rows[key] for key in ordered), ""))


def plugin(*, worker: bool) -> Record:
    """Return the record that is asked for. A `worker` of a run in parallel only tells; it writes nothing."""
    asked = os.environ.get("EDCHAT_RECORD")
    return Record(Path(asked) if asked and not worker else None)
