"""A kernel as a process of its own, seen from the test that breaks it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults import kernel as program
from tests.faults.kernel import Job
from tests.server_fixtures import ROOT, environment


class Kernel:
    """The process, seen from the test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def line(self, kind: str) -> dict[str, Any]:
        """Read to the next line that has this in it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            if kind in said:
                return said
        raise AssertionError(f"the kernel ended (code {self._process.wait(10)}) before it said {kind!r}")

    def told(self, kind: str) -> Any:
        """Read to the next line that has this in it, and return what it says of it."""
        return self.line(kind)[kind]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def died(self) -> None:
        """Wait until it has killed itself."""
        assert self._process.wait(30) == -signal.SIGKILL, "it never came to that place"

    def ended(self) -> None:
        assert self._process.wait(30) == 0


@contextmanager
def kernel(job: Job, log: Path, **env: str) -> Iterator[Kernel]:
    """Run a kernel until the block ends."""
    with log.open("a", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", program.__name__, json.dumps(asdict(job))],
            cwd=ROOT, env=environment(**env), stdout=subprocess.PIPE, stderr=stderr, text=True,
        )
    try:
        yield Kernel(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
