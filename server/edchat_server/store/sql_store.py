"""What a store does, in SQL that both databases understand. Where it runs is the subclass's part."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from edchat_protocol.frames import Logged, RunState
from edchat_server import failpoints
from edchat_server.sql import Connection

from . import inbox, intents, log, room, runs
from . import trim as trimming
from .base import (
    EFFECTS,
    PAGE_BYTES,
    Accepted,
    Claim,
    Command,
    Greeting,
    Intent,
    Page,
    Quota,
    Refused,
    Result,
    Row,
    session_lock,
)

if TYPE_CHECKING:
    from .saver import Checkpoints

T = TypeVar("T")

REPLAY_LIMIT = 5000
"""A client that is further behind gets a snapshot."""

_TRIMMING = "trimming"


class SqlStore(ABC):
    """A `Store` but for `submit` and `read`. `clock` gives ISO times in UTC."""

    poll_seconds: float | None = None
    ROW_LOCK = ""
    """What keeps a row that was read as it is until the transaction ends; empty: nobody else can write."""

    def __init__(
        self, store_id: str, checkpoints: "Checkpoints", *, clock: Callable[[], str], keep_events: int,
        quota: Quota | None = None,
    ) -> None:
        self.id = store_id
        self.checkpoints = checkpoints
        self._clock = clock
        self._keep = keep_events
        self._quota = quota or Quota()

    @abstractmethod
    async def submit(self, work: Callable[[Connection], T], *, locks: Sequence[str] = ()) -> T:
        """Run `work` in a transaction of its own; an exception rolls it back and is raised here."""

    @abstractmethod
    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which writes nothing, on one state of the database."""

    def full(self, conn: Connection, head: int) -> str | None:  # noqa: ARG002 - for subclasses that measure more
        """Say, for people, why a session whose last seq is `head` can take no message; None: it can."""
        return room.session_full(head, self._quota)

    async def probe(self) -> None:
        """Write something without meaning: after a failure it shows whether writes are taken again."""
        now = self._clock()
        await self.submit(
            lambda conn: conn.execute(
                "INSERT INTO meta(key, value) VALUES('probe', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                (now,),
            )
        )

    async def fenced(
        self, work: Callable[[Connection], T], *, session: str, run: str, fence: int, locks: Sequence[str] = ()
    ) -> T:
        """Run `work` in a transaction, under the session's lock, if this attempt still owns the run."""

        def owned(conn: Connection) -> T:
            runs.check_fence(conn, run, fence, self.ROW_LOCK)
            return work(conn)

        return await self.submit(owned, locks=(session_lock(session), *locks))

    async def _as(self, claim: Claim, work: Callable[[Connection], T], *, locks: Sequence[str] = ()) -> T:
        return await self.fenced(work, session=claim.session, run=claim.run, fence=claim.fence, locks=locks)

    # ------------------------------------------------------------------------------- clients and the log

    async def greet(
        self, session: str, client: str, conn: int, *, cursor: int, epoch: str | None
    ) -> Greeting:
        """Register connection `conn` of a client and find out how it can resume."""

        def work(db: Connection) -> Greeting:
            found, head = log.ensure_session(db, session, epoch=new_id("e"), now=self._clock())
            if cursor > head and epoch == found:
                # The client saw events that this log does not have: it is not the same log any more.
                found = new_id("e")
                db.execute("UPDATE sessions SET epoch = ? WHERE id = ?", (found, session))
            last_csn, newest = inbox.register(db, session, client, conn)
            whole = log.trimmed_upto(db, session) <= cursor <= head <= cursor + REPLAY_LIMIT
            replay = head == cursor == 0 or (epoch == found and whole)
            return Greeting(
                epoch=found, head=head, accepted_csn=last_csn, stale=conn < newest, replay=replay,
                runs=log.briefs(db, session),
            )

        return await self.submit(work, locks=(session_lock(session),))

    async def accept(self, command: Command) -> Accepted | Refused:
        """Take a command exactly once, however often it is offered."""
        now, run = self._clock(), new_id("r")

        def work(conn: Connection) -> Accepted | Refused:
            _, head = log.ensure_session(conn, command.session, epoch=new_id("e"), now=now)
            moment = inbox.Moment(now=now, run=run, full=self.full(conn, head))
            outcome = inbox.accept(conn, command, moment)
            failpoints.reach("accept_written")
            return outcome

        return await self.submit(work, locks=(session_lock(command.session),))

    async def head(self, session: str) -> tuple[str, int]:
        """Return the session's epoch and last seq, and begin the session if it is new."""
        return await self.submit(
            lambda conn: log.ensure_session(conn, session, epoch=new_id("e"), now=self._clock())
        )

    async def read_range(self, session: str, after: int, limit: int = 200) -> list[Row]:
        """Return at most `limit` events behind seq `after`, in order."""
        return await self.read(lambda conn: log.read_range(conn, session, after, limit))

    async def snapshot(self, session: str, head: int, after: int = 0, size: int = PAGE_BYTES) -> Page:
        """Return what the session showed at seq `head`, from behind seq `after`. Raises `Trimmed`."""
        return await self.read(lambda conn: log.snapshot(conn, session, head, after, size))

    async def trim(self, before: str, rows: int = 500) -> bool:
        """Delete at most `rows` tokens that no snapshot has; return whether there may be more."""
        return await self.submit(lambda conn: trimming.trim(conn, before, rows), locks=(_TRIMMING,))

    async def run_frames(self, run: str) -> list[Logged]:
        """Return the events of one run, in order."""
        return await self.read(lambda conn: log.run_frames(conn, run))

    async def v1_cursor(self, session: str) -> int | None:
        """Return the last seq that a version 1 connection wrote; None: there was none yet."""

        def work(conn: Connection) -> int | None:
            row = conn.execute("SELECT v1_seq FROM sessions WHERE id = ?", (session,)).fetchone()
            return row[0] if row else None

        return await self.read(work)

    async def set_v1_cursor(self, session: str, seq: int) -> None:
        """Remember what a version 1 connection has written. It never goes back."""

        def work(conn: Connection) -> None:
            conn.execute(
                "UPDATE sessions SET v1_seq = ?2 WHERE id = ?1 AND coalesce(v1_seq, -1) < ?2", (session, seq)
            )

        await self.submit(work)

    async def answered_by_post(self, session: str, run: str) -> None:
        """Count a run's events as written for version 1, unless something before them is still to be written."""

        def work(conn: Connection) -> None:
            conn.execute(
                """UPDATE sessions SET v1_seq = last.seq FROM (SELECT max(seq) AS seq FROM events WHERE run = ?2) last
                   WHERE id = ?1 AND v1_seq < last.seq AND NOT EXISTS(
                     SELECT 1 FROM events e WHERE e.session = ?1 AND e.run <> ?2
                       AND e.seq > sessions.v1_seq AND e.seq < last.seq)""",
                (session, run),
            )

        await self.submit(work)

    # ------------------------------------------------------------------------------------------------ runs

    async def run_state(self, run: str) -> RunState | None:
        """Return a run's state; None: no such run."""

        def work(conn: Connection) -> RunState | None:
            row = conn.execute("SELECT state FROM runs WHERE id = ?", (run,)).fetchone()
            return row[0] if row else None

        return await self.read(work)

    async def unfinished(self) -> int:
        """Return how many runs are queued or running."""
        query = f"SELECT count(*) FROM runs WHERE state IN {runs.UNFINISHED}"  # noqa: S608 - a constant
        return await self.read(lambda conn: int(conn.execute(query).fetchone()[0]))

    async def recover(self) -> int:
        """Put the runs of a dead server back into the queue. Only before the first claim."""
        return await self.submit(runs.recover)

    async def claim(self) -> Claim | None:
        """Take the oldest queued run of a session in which none is running."""
        return await self.submit(runs.claim)

    async def append(self, claim: Claim, frames: Sequence[Logged]) -> int:
        """Append to the run's session; return the log's last seq. Raises `Fenced`."""

        return await self._as(claim, lambda conn: log.append(conn, claim.session, frames))

    async def finish(
        self, claim: Claim, state: RunState, frames: Sequence[Logged], error: str | None = None
    ) -> int:
        """Append the last frames and close the run, in one transaction. Raises `Fenced`."""
        now = self._clock()

        def work(conn: Connection) -> int:
            last = log.append(conn, claim.session, frames)
            runs.close(conn, claim.run, state, error, now=now, last_seq=last)
            trimming.hasten(conn, claim.session, last - self._keep)
            failpoints.reach("finish_written")
            return last

        return await self._as(claim, work)

    async def park(self, claim: Claim) -> None:
        """Give a run back to the queue unharmed. Raises `Fenced`."""

        await self._as(claim, lambda conn: runs.park(conn, claim.run))

    async def effect(self, claim: Claim, call: str, work: Callable[[Connection], Result]) -> Result:
        """Carry out tool call `call` exactly once: its result and what it did commit together."""

        return await self._as(
            claim, lambda conn: runs.effect(conn, claim.run, call, work), locks=(EFFECTS,)
        )

    async def effects_of(self, run: str) -> frozenset[str]:
        """Return the tool calls of a run whose effect is in the database."""
        return await self.read(
            lambda conn: frozenset(
                call for (call,) in conn.execute("SELECT call FROM tool_calls WHERE run = ?", (run,))
            )
        )

    async def intend(self, claim: Claim, call: str, unknown: str) -> Intent:
        """Note that tool call `call` is about to act outside the database. Raises `Fenced`."""
        return await self._as(claim, lambda conn: intents.intend(conn, claim.run, call, unknown))

    async def settle(self, claim: Claim, call: str, result: Result) -> None:
        """Record what an intended call gave. Raises `Fenced`."""
        await self._as(claim, lambda conn: intents.settle(conn, claim.run, call, result))

    async def withdraw(self, claim: Claim, call: str) -> None:
        """Forget an intended call, which certainly did nothing. Raises `Fenced`."""
        await self._as(claim, lambda conn: intents.withdraw(conn, claim.run, call))

    async def doubt(self, claim: Claim, call: str) -> None:
        """Note that nobody will know whether an intended call did anything. Raises `Fenced`."""
        await self._as(claim, lambda conn: intents.doubt(conn, claim.run, call))

    async def intents_of(self, run: str) -> dict[str, tuple[str, bool]]:
        """Return the run's unsettled calls: `unknown` of each, and whether that was noted as final."""
        return await self.read(lambda conn: intents.intents_of(conn, run))


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, in milliseconds."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    """Return a time in UTC as ISO 8601, in milliseconds. Two of them compare as the times do."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """Return an id that nobody can guess."""
    return f"{prefix}_{secrets.token_hex(8)}"


def identify(conn: Connection) -> str:
    """Return the database's name, which it gets when it is first asked."""
    conn.execute("INSERT INTO meta(key, value) VALUES('store', ?) ON CONFLICT DO NOTHING", (new_id("st"),))
    return str(conn.execute("SELECT value FROM meta WHERE key = 'store'").fetchone()[0])
