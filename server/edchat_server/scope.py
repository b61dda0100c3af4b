"""What a run gives to its tools: the backlog, through the store's ledger."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from . import failpoints
from .agent.scope import RunStopped
from .backlog import Backlog
from .sql import Connection
from .store import Claim, Fenced, Store, utc_now

T = TypeVar("T")


class LedgerScope:
    """A `RunScope`: each tool call has its effect once, however often the run is taken up again.

    `acted` holds the tool calls whose effect was begun. After `shut` no further one begins.
    """

    def __init__(self, store: Store, claim: Claim, acted: frozenset[str] = frozenset()) -> None:
        self._store = store
        self._claim = claim
        self._shut = False
        self.acted = set(acted)

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
        if self._shut:
            raise RunStopped(self.run_id)
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
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.acted.discard(tool_call_id)
            raise
        failpoints.reach("effect_committed")
        return result

    async def read(self, work: Callable[[Backlog], T]) -> T:
        """Return what `work` finds; it must not write."""
        return await self._store.read(lambda conn: work(Backlog(conn, utc_now())))
