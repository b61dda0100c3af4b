"""Keeps the log from growing with what nobody needs any more."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .store import Store, StoreError, iso

ROUND_SECONDS = 60.0
PAUSE_SECONDS = 0.02

_log = logging.getLogger("edchat.server.janitor")


class Janitor:
    """Trims the runs that ended longer ago than `retain`, in small transactions with pauses for others."""

    def __init__(
        self, store: Store, retain: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._retain = retain
        self._clock = clock

    async def serve(self) -> None:
        """Sweep once a minute, until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreError as exc:
                _log.warning("the log was not trimmed: %s", exc)
            await asyncio.sleep(ROUND_SECONDS)

    async def sweep(self) -> None:
        """Trim all that is old enough. Raises `StoreError`."""
        before = iso(self._clock() - self._retain)
        more = True
        while more:
            more = await self._store.trim(before)
            await asyncio.sleep(PAUSE_SECONDS)
