"""Runs: claimed from the queue, carried out by the agent, written to the log.

One run per session at a time. A run survives the server: LangGraph's checkpoint says where it stood, the
ledger says which tools have acted, the log says what was shown.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from . import failpoints
from .attempt import Agent, Attempt
from .audit import AuditLog
from .hub import Hub
from .store import Claim, Store, StoreError

MAX_RUNS = 16

_log = logging.getLogger("edchat.server.runner")


class Runner:
    """Carries out queued runs. `agent` None: there is none, and `reason` says why.

    Raises:
        ValueError: `durability` is not ``sync``. With anything else LangGraph repeats a model call after
            a crash, which words its tool calls anew under other ids, and no ledger can tell them apart.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        audit: AuditLog,
        agent: Agent | None,
        *,
        reason: str | None = None,
        secrets: Sequence[str] = (),
        durability: str = "sync",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if durability != "sync":
            raise ValueError(f"durability={durability!r}: a run is exactly once only with 'sync'")
        self._store = store
        self._hub = hub
        self._audit = audit
        self._agent = agent
        self._reason = reason
        self._secrets = tuple(secrets)
        self._clock = clock
        self._bell = asyncio.Event()
        self._attempts: dict[asyncio.Task[None], Attempt] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what a dead server left, and serve the queue from now on."""
        found = await self._store.recover()
        if found:
            _log.info("taking up %d interrupted run(s)", found)
        self._bell.set()
        self._loop = asyncio.create_task(self._serve(), name="edchat-runner")

    def wake(self) -> None:
        """Say that the queue or a cancellation has changed."""
        self._bell.set()
        for attempt in self._attempts.values():
            attempt.look()

    def look(self, session: str) -> None:
        """Have the session's run, if it is carried out here, check whether it was cancelled."""
        for attempt in self._attempts.values():
            if attempt.claim.session == session:
                attempt.look()

    @property
    def sessions(self) -> set[str]:
        """The sessions whose runs are carried out here."""
        return {attempt.claim.session for attempt in self._attempts.values()}

    @property
    def active(self) -> int:
        """How many runs are being carried out."""
        return len(self._attempts)

    async def drain(self, timeout: float) -> None:
        """Claim nothing more; let the runs get to an end for `timeout` seconds, then queue them again."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
            self._loop = None
        failpoints.reach("draining")
        tasks = list(self._attempts)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for task, attempt in list(self._attempts.items()):
            attempt.park()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._store.poll_seconds):
                    await self._bell.wait()
            self._bell.clear()
            while len(self._attempts) < MAX_RUNS:
                if self._store.trouble is not None:
                    await asyncio.sleep(1)  # what is begun now could not be recorded
                    self._bell.set()
                    break
                try:
                    claim = await self._store.claim()
                except Exception as exc:  # noqa: BLE001 - nobody else would ever serve the queue
                    if not isinstance(exc, StoreError):  # which the store has logged
                        _log.exception("the queue cannot be read; trying again")
                    await asyncio.sleep(1)
                    self._bell.set()
                    break
                if claim is None:
                    break
                self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        failpoints.reach("claimed")
        attempt = Attempt(
            store=self._store, hub=self._hub, audit=self._audit, agent=self._agent, claim=claim,
            reason=self._reason, secrets=self._secrets, clock=self._clock,
        )
        task = asyncio.create_task(attempt.carry_out(), name=f"edchat-run-{claim.run}")
        self._attempts[task] = attempt
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        attempt = self._attempts.pop(task)
        self._store.drop(attempt.claim)
        self._hub.ring(attempt.claim.session)
        self._bell.set()
        if not task.cancelled() and task.exception() is not None:
            _log.error("run %s ended unrecorded", attempt.claim.run, exc_info=task.exception())
