"""The clocks of the process, made virtual for the time of one case.

A simulated process has no other clock than the simulation's: what a library measures or stamps would differ
from run to run, and a seed would not play the same case again.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Any

from .loop import SimLoop

EPOCH = 1_800_000_000.0


class Clocks:
    """The hour of the world. `slept` and `set_forward`: seconds of sleep, and by which people moved the clock."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.slept = 0.0
        self.set_forward = 0.0

    def monotonic(self) -> float:
        """Return seconds that never go back, and stand still while the machine sleeps."""
        return self._loop.time()

    def monotonic_ns(self) -> int:
        """Return the same in nanoseconds."""
        return int(self._loop.time() * 1e9)

    def wall(self) -> float:
        """Return what a clock on the wall shows."""
        return EPOCH + self._loop.time() + self.slept + self.set_forward

    def wall_ns(self) -> int:
        """Return the same in nanoseconds."""
        return int(self.wall() * 1e9)

    def gettime(self, clock: int) -> float:
        """Return the time of one of the system's clocks."""
        if clock == time.CLOCK_REALTIME:
            return self.wall()
        return self._loop.time() + (self.slept if clock == getattr(time, "CLOCK_BOOTTIME", None) else 0.0)


class VirtualDatetime(datetime):
    """A `datetime` that asks `time` what time it is."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "VirtualDatetime":
        """Return the virtual time."""
        return cls.fromtimestamp(time.time(), tz)


def _users_of_datetime() -> list[dict[str, Any]]:
    ours = ("edchat_protocol", "edchat_server", "edchat_widget")
    return [
        vars(module) for name, module in list(sys.modules.items())
        if name.startswith(ours) and vars(module).get("datetime") is datetime
    ]


@contextmanager
def virtual(loop: SimLoop) -> Iterator[Clocks]:
    """Let the process live by the loop's time."""
    clocks = Clocks(loop)
    ours = {
        "monotonic": clocks.monotonic, "monotonic_ns": clocks.monotonic_ns, "perf_counter": clocks.monotonic,
        "perf_counter_ns": clocks.monotonic_ns, "time": clocks.wall, "time_ns": clocks.wall_ns,
        "clock_gettime": clocks.gettime,
    }
    before = {name: getattr(time, name) for name in ours}
    users = _users_of_datetime()
    vars(time).update(ours)
    for names in users:
        names["datetime"] = VirtualDatetime
    try:
        yield clocks
    finally:
        vars(time).update(before)
        for names in users:
            names["datetime"] = datetime
