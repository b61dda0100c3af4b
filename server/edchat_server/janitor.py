"""What is done without being asked: trimming the log, and looking whether a failed database has recovered."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from .store import Store, StoreError, iso

ROUND_SECONDS = 60.0
PROBE_SECONDS = 1.0
PAUSE_SECONDS = 0.02


class Janitor:
    """Trims the runs that ended longer ago than `retain`, in small transactions with pauses for others.

    While the store takes no writes, it tries one every second.
    """

    def __init__(
        self, store: Store, retain: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._retain = retain
        self._clock = clock

    async def serve(self) -> None:
        """Sweep once a minute, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            with suppress(StoreError):  # which the store has logged
                if self._store.trouble is not None:
                    await self._store.probe()
                elif loop.time() >= due:
                    due = loop.time() + ROUND_SECONDS
                    await self.sweep()
            await asyncio.sleep(PROBE_SECONDS)

    async def sweep(self) -> None:
        """Trim all that is old enough. Raises `StoreError`."""
        before = iso(self._clock() - self._retain)
        more = True
        while more:
            more = await self._store.trim(before)
            await asyncio.sleep(PAUSE_SECONDS)
