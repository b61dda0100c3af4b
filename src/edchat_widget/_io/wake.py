"""Notices that this process stood still: the machine slept, or it was stopped."""

import asyncio
import sys
import time
from collections.abc import Callable

TICK = 1.0
JUMP = 5.0


def clock() -> float:
    """Return the seconds of a clock that nobody sets and that also runs while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":  # where `time.monotonic` stands still in a sleep, and this one does not
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


async def watch(woke: Callable[[], None], *, now: Callable[[], float] = clock, tick: float = TICK) -> None:
    """Call `woke` whenever more than `JUMP` seconds went by that this task did not see. It never returns."""
    while True:
        before = now()
        await asyncio.sleep(tick)
        if now() - before > tick + JUMP:
            woke()
