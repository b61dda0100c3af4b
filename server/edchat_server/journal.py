"""Writes a run's events to the log, as fast as the store commits and no faster."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from edchat_protocol.frames import Logged, Token

from . import failpoints
from .hub import Hub
from .store import Claim, Store
from .translate import roll_up

TOKEN_INTERVAL = 1 / 60
"""Seconds between two appends of nothing but tokens; more than a screen shows helps nobody."""


class Journal:
    """Self-clocked: the first event is appended at once, then whatever has gathered meanwhile.

    After a failed append, `add` and `close` raise what the store raised.
    """

    def __init__(self, store: Store, hub: Hub, claim: Claim) -> None:
        self._store = store
        self._hub = hub
        self._claim = claim
        self._pending: list[Logged] = []
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._write(), name=f"edchat-journal-{claim.run}")

    def add(self, frames: Iterable[Logged]) -> None:
        """Have the frames appended soon, in order."""
        self._raise_failure()
        self._pending.extend(frames)
        if self._pending:
            self._wake.set()

    async def close(self) -> list[Logged]:
        """Stop writing; return the frames that are not in the log yet."""
        if not self._task.done():
            # An append that is under way is let through, or its frames could be written twice.
            self._stopping = True
            self._wake.set()
            await asyncio.shield(self._task)
        self._raise_failure()
        left, self._pending = roll_up(self._pending), []
        return left

    def abandon(self) -> None:
        """Stop without writing anything more."""
        self._task.cancel()
        self._task.add_done_callback(_seen)

    _stopping = False

    def _raise_failure(self) -> None:
        if self._task.done() and not self._task.cancelled():
            failure = self._task.exception()
            if failure is not None:
                raise failure

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            if loop.time() < due and all(isinstance(frame, Token) for frame in self._pending):
                await asyncio.sleep(due - loop.time())
            batch, self._pending = roll_up(self._pending), []
            if batch:
                await self._store.append(self._claim, batch)
                self._hub.ring(self._claim.session)
                failpoints.reach("appended")
            due = loop.time() + TOKEN_INTERVAL


def _seen(task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        task.exception()
