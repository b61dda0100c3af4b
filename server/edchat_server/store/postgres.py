"""The store in a PostgreSQL database, for several servers at once."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import psycopg

from edchat_protocol.frames import Logged, RunState
from edchat_server.sql import POSTGRES, Connection, Dialect

from . import leases, postgres_checkpoints, room, schema
from .base import Accepted, Claim, Command, Quota, Refused, StoreError
from .bell import Bell, Ring
from .postgres_checkpoints import PostgresCheckpoints
from .postgres_links import READ, Links, PostgresConnection, Raw
from .sql_store import SqlStore, identify, utc_now

T = TypeVar("T")
Prepare = Callable[[Connection, Dialect], None]

LOWEST_VERSION = 16
_PREPARING = 0x6564636861740001  # an advisory lock's number: "edchat", 1


class PostgresStore(SqlStore):
    """A `Store`. Any number of servers may open the same database; `replica` names this one."""

    ROW_LOCK = "FOR SHARE"
    poll_seconds = 0.5

    def __init__(
        self, links: Links, replica: str, store_id: str, *, clock: Callable[[], str], keep_events: int, quota: Quota,
        lease: float,
    ) -> None:
        super().__init__(store_id, PostgresCheckpoints(), clock=clock, keep_events=keep_events, quota=quota)
        self._links = links
        self._replica = replica
        self._bell = Bell(links, replica)
        self._lease = lease
        self._renewer = leases.Renewer(links.connect, lease)
        self._renewer.start()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        replica: str,
        prepare: Sequence[Prepare] = (),
        clock: Callable[[], str] | None = None,
        keep_events: int = 20_000,
        quota: Quota | None = None,
        lease: float = leases.SECONDS,
    ) -> "PostgresStore":
        """Open the database and make the tables that are missing.

        `lease`: after how many seconds without a word from this process its runs are taken over. The other
        parameters are `SqliteStore.open`'s.

        Raises:
            StoreError: the database cannot be reached, or is none that we can work with.
        """
        links = Links(url, lease / 3)
        try:
            await asyncio.to_thread(_make_tables, links.connect, prepare)
            store_id = await links.run(identify)
        except (psycopg.Error, StoreError) as exc:
            await links.close()
            if isinstance(exc, StoreError):
                raise
            raise StoreError(f"cannot open the PostgreSQL database of EDCHAT_DATABASE: {str(exc).strip()}") from None
        return cls(
            links, replica, store_id, clock=clock or utc_now, keep_events=keep_events, quota=quota or Quota(),
            lease=lease,
        )

    async def close(self) -> None:
        """Finish what was submitted, for the time of a lease at most, and hang up."""
        giving_up = asyncio.get_running_loop().call_later(self._lease, self._links.cut)
        try:
            await self._bell.stop()
            await asyncio.to_thread(self._renewer.stop)
            await self._links.close()
        finally:
            giving_up.cancel()

    @property
    def trouble(self) -> str | None:
        """Why no new work is to be taken: the database is away or takes no writes. None: it may."""
        return self._links.trouble

    def full(self, conn: Connection, head: int) -> str | None:
        """Say, for people, why a session whose last seq is `head` can take no message; None: it can."""
        limit = self._quota.bytes
        if limit is not None:
            (used,) = conn.execute("SELECT pg_database_size(current_database())").fetchone()
            if used >= limit:
                return room.over(used, limit)
        return super().full(conn, head)

    async def submit(self, work: Callable[[Connection], T], *, locks: Sequence[str] = ()) -> T:
        """Run `work` in a transaction, alone under each of the `locks` among all servers."""
        return await self._links.run(work, locks=locks)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which writes nothing, on one snapshot of the database."""
        return await self._links.run(work, begin=READ)

    def watch(self, sessions: Callable[[], Collection[str]], ring: Ring) -> None:
        """Call `ring` for each of `sessions` in which another server has written."""
        self._bell.start(sessions, ring)

    # ------------------------------------------------------------------------------- what others must hear of

    async def accept(self, command: Command) -> Accepted | Refused:
        """Take a command exactly once, however often it is offered, to whichever server."""
        outcome = await super().accept(command)
        self._bell.written(command.session)
        return outcome

    async def append(self, claim: Claim, frames: Sequence[Logged]) -> int:
        """Append to the run's session; return the log's last seq. Raises `Fenced`."""
        last = await super().append(claim, frames)
        self._bell.written(claim.session)
        return last

    async def finish(
        self, claim: Claim, state: RunState, frames: Sequence[Logged], error: str | None = None
    ) -> int:
        """Append the last frames and close the run, in one transaction. Raises `Fenced`."""
        last = await super().finish(claim, state, frames, error)
        self._bell.written(claim.session)
        return last

    # ------------------------------------------------------------------------------------------------ leases

    async def recover(self) -> int:
        """Leave the runs of others alone: a dead server's leases expire."""
        return 0

    async def claim(self) -> Claim | None:
        """Take the oldest run that nobody carries out, for the time of a lease that is renewed until `drop`."""
        claim = await self.submit(lambda conn: leases.claim(conn, self._replica, self._lease))
        if claim is not None:
            self._renewer.hold(claim)
        return claim

    def drop(self, claim: Claim) -> None:
        """Renew a claim's lease no longer."""
        self._renewer.drop(claim)


def _make_tables(connect: Callable[[], Raw], prepare: Sequence[Prepare]) -> None:
    with connect() as raw:
        _check(raw)
        # Asked for again and again: who waited inside a statement would hold up the making of indexes.
        while raw.execute("SELECT pg_try_advisory_lock(%s)", (_PREPARING,)).fetchone() != (True,):
            time.sleep(0.1)
        raw.execute(b"SET statement_timeout = 0")  # an index of a later version may take its time
        conn = PostgresConnection(raw)
        # Each statement by itself: a transaction that gathers tables' locks would block those who write, in a circle.
        for step in (schema.prepare, leases.prepare, *prepare):
            step(conn, POSTGRES)
        postgres_checkpoints.prepare(raw)


def _check(raw: Raw) -> None:
    version = raw.info.server_version // 10_000
    if version < LOWEST_VERSION:
        raise StoreError(f"EDCHAT_DATABASE: PostgreSQL {LOWEST_VERSION} or newer is needed; this is {version}")
    encoding = raw.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(f"EDCHAT_DATABASE: the database's encoding is {encoding}; it takes UTF8")
