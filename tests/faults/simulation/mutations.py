"""The code broken on purpose. A rig that does not notice one of these proves nothing.

Each is the values of a `Plan` under which the part in question is another one; production code has no
switch for any of them.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from edchat_server.sql import Connection
from edchat_server.store import Accepted, Claim, Command, Refused, SqliteStore, Store, inbox, log
from edchat_server.store.base import Result
from edchat_widget._core.connection import Connection as Link
from edchat_widget._core.outbox import Outbox, Row
from edchat_widget._core.sender import Sender
from edchat_widget._io.driver import Driver

from .scenario import Plan
from .server import SimServer, scripted_agent

T = TypeVar("T")


class _ShiftBeforeAck(Sender):
    """Forgets a message as soon as it is written."""

    def _write(self, row: Row) -> None:
        super()._write(row)
        self._client.outbox.accept_id(row.id)
        self._client.persist()


def _shift_before_ack(driver: Driver) -> None:
    driver._client._sender = _ShiftBeforeAck(driver._client)


class _DropOldest(Outbox):
    """Makes room for a new message by forgetting the oldest."""

    def draft(self, row: Row) -> Row:
        waiting = [r for r in self.pending if r.kind == "message"]
        if len(waiting) >= self.limit:
            self._remove(waiting[0])
        return super().draft(row)


def _drop_oldest(driver: Driver) -> None:
    driver._client.outbox.__class__ = _DropOldest
    driver._client.outbox.limit = 2


class _ResetOnUpgrade(Link):
    """Takes a connection that stands for one that works."""

    def opened(self, *args: Any, **options: Any) -> None:
        super().opened(*args, **options)
        self.attempt = 0


def _reset_on_upgrade(driver: Driver) -> None:
    driver._client.connection.__class__ = _ResetOnUpgrade


class _NoToolKey(SqliteStore):
    """Carries a tool call out as often as it is asked."""

    async def effect(self, claim: Claim, call: str, work: Callable[[Connection], Result]) -> Result:
        return await self._as(claim, work)


class _NoFence(SqliteStore):
    """Lets an attempt write that has lost its run."""

    async def fenced(
        self, work: Callable[[Connection], T], *, session: str, run: str, fence: int, locks: Sequence[str] = ()
    ) -> T:
        return await self.submit(work, locks=locks)


class _NoDedupe(SqliteStore):
    """Takes every command for a new one."""

    async def accept(self, command: Command) -> Accepted | Refused:
        moment = inbox.Moment(now=self._clock(), run=f"r_{secrets.token_hex(8)}")

        def work(conn: Connection) -> Accepted | Refused:
            log.ensure_session(conn, command.session, epoch="e_1", now=moment.now)
            again = conn.execute(
                "SELECT count(*) FROM runs WHERE input_id LIKE ?", (f"{command.id}%",)).fetchone()[0]
            name = f"{command.id}~{again}" if again else command.id
            outcome = inbox.accept(conn, replace(command, csn=None, id=name), moment)
            row = conn.execute(
                """UPDATE clients SET last_csn = max(last_csn, ?) WHERE session = ? AND client = ?
                   RETURNING last_csn""", (command.csn, command.session, command.client)).fetchone()
            return replace(outcome, csn=row[0] if row else 0)

        return await self.submit(work)


class _Relaxed:
    """An agent whose checkpoints are written some time later."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    async def astream(self, source: Any, **options: Any) -> AsyncIterator[Any]:
        async for part in self._agent.astream(source, **{**options, "durability": "async"}):
            yield part


def _async_durability(sim: SimServer, store: Store) -> Any:
    return _Relaxed(scripted_agent(sim, store))


MUTATIONS: dict[str, dict[str, Any]] = {
    "shift_before_ack": {"alter": _shift_before_ack},
    "no_tool_key": {"store_class": _NoToolKey},
    "no_fence": {"store_class": _NoFence},
    "no_dedupe": {"store_class": _NoDedupe},
    "async_durability": {"make_agent": _async_durability},
    "reset_on_upgrade": {"alter": _reset_on_upgrade},
    "drop_oldest": {"alter": _drop_oldest},
}

SOUND: dict[str, Any] = {name: getattr(Plan, name) for name in ("alter", "store_class", "make_agent")}
"""The same parts, unbroken."""
