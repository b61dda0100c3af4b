"""The wall clock of a process, to be set from the test."""

import os
from pathlib import Path

from tests.server_fixtures import ROOT

FOLDERS = [str(Path(__file__).parent), str(ROOT / "server"), str(ROOT / "src")]


class Clock:
    """Set by `jump`, for the processes that are started with `env`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.env = {"CLOCK_FILE": str(file), "PYTHONPATH": os.pathsep.join(FOLDERS)}
        self.jump(0)

    def jump(self, seconds: float) -> None:
        self._file.write_text(str(seconds))
