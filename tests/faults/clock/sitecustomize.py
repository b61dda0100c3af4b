"""A wall clock that a test can set: Python imports this by itself in a process that has the folder on its path.

The file that ``CLOCK_FILE`` names holds how many seconds the clock is off, and may change at any time. The clocks that
only run forward stay as they are, as they do where somebody sets a machine's clock.
"""

import datetime
import os
import time
from pathlib import Path

_file = Path(os.environ["CLOCK_FILE"])
_real = time.time


def _shifted() -> float:
    try:
        return _real() + float(_file.read_text())
    except (OSError, ValueError):  # between the file's truncation and its new content
        return _real()


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(_shifted(), tz)


_fromtimestamp = datetime.datetime.fromtimestamp
time.time = _shifted
datetime.datetime = _Datetime  # type: ignore[misc]
