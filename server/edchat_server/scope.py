"""What a run gives to its tools: the backlog, through the store's ledger."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from . import failpoints
from .agent.external import EffectUncertain, External, NotDone, Unknown, carry_out
from .agent.scope import RunStopped
from .backlog import Backlog
from .sql import Connection
from .store import Claim, Fenced, Store, StoreError, StoreUnavailable, utc_now
from .store.intents import ADVICE

T = TypeVar("T")


class LedgerFailed(RunStopped):
    """The database failed under a tool: the attempt ends, and the next one finds out what was stored."""


class LedgerScope:
    """A `RunScope`: each tool call has its effect once, however often the run is taken up again.

    `acted` holds the tool calls whose effect was begun; `open` those outside the database of which the
    outcome is not known yet, with what to tell people if it never is; `doubt` what to tell them because one of
    these never will be. After `shut`, or in doubt, no further effect begins.
    """

    def __init__(self, store: Store, claim: Claim) -> None:
        self._store = store
        self._claim = claim
        self._shut = False
        self.acted: set[str] = set()
        self.open: dict[str, str] = {}
        self.doubt: str | None = None

    async def recall(self) -> None:
        """Learn what earlier attempts did."""
        self.acted |= await self._store.effects_of(self._claim.run)
        for call, (unknown, final) in (await self._store.intents_of(self._claim.run)).items():
            self.acted.add(call)
            self.open[call] = unknown
            if final:
                self.doubt = unknown

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._claim.run

    @property
    def session(self) -> str:
        """The session's id."""
        return self._claim.session

    def shut(self) -> None:
        """Let no further effect begin."""
        self._shut = True

    async def effect(self, tool_call_id: str, work: Callable[[Backlog], dict[str, Any]]) -> dict[str, Any]:
        """Do `work` in one transaction, exactly once, and return its result."""
        self._check(tool_call_id)
        failpoints.reach("effect_before")
        self.acted.add(tool_call_id)

        def once(conn: Connection) -> dict[str, Any]:
            done = work(Backlog(conn, utc_now()))
            failpoints.reach("effect_written")
            return done

        try:
            # Shielded: a run that is stopped while this commits must still know what it did.
            result = await asyncio.shield(self._store.effect(self._claim, tool_call_id, once))
        except Fenced as exc:
            raise RunStopped(self.run_id) from exc
        except StoreUnavailable as exc:
            raise LedgerFailed(self.run_id) from exc
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.acted.discard(tool_call_id)
            raise
        failpoints.reach("effect_committed")
        return result

    async def external(self, tool_call_id: str, call: External) -> dict[str, Any]:
        """Have an effect outside the database, at most once, and return its result."""
        self._check(tool_call_id)
        failpoints.reach("intent_before")
        self.acted.add(tool_call_id)
        try:
            return await self._external(tool_call_id, call)
        except Fenced as exc:
            raise RunStopped(self.run_id) from exc
        except StoreError as exc:
            raise LedgerFailed(self.run_id) from exc

    async def _external(self, step: str, call: External) -> dict[str, Any]:
        intent = await self._store.intend(self._claim, step, call.unknown)
        if intent.result is not None:
            return intent.result
        self.open[step] = call.unknown
        failpoints.reach("intent_committed")
        try:
            if intent.doubt:
                raise Unknown
            result = await carry_out(call, f"{self.run_id}:{step}", again=intent.again)
        except NotDone:
            await self._store.withdraw(self._claim, step)
            self.acted.discard(step)
            self.open.pop(step, None)
            raise
        except Unknown:
            await self._store.doubt(self._claim, step)
            self.doubt = call.unknown
            failpoints.reach("doubt_committed")
            raise EffectUncertain(f"{call.unknown} {ADVICE}") from None
        failpoints.reach("external_done")
        # Shielded: a run that is stopped while this commits must still know what it did.
        await asyncio.shield(self._store.settle(self._claim, step, result))
        self.open.pop(step, None)
        failpoints.reach("external_recorded")
        return result

    def _check(self, step: str) -> None:
        if self._shut:
            raise RunStopped(self.run_id)
        if self.doubt is not None and step not in self.acted:
            raise NotDone(f"This was not begun. {self.doubt}")

    async def read(self, work: Callable[[Backlog], T]) -> T:
        """Return what `work` finds; it must not write."""
        try:
            return await self._store.read(lambda conn: work(Backlog(conn, utc_now())))
        except StoreUnavailable as exc:
            raise LedgerFailed(self.run_id) from exc
