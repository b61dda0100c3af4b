"""What the server needs of its database: the contract, and the values that cross it.

Three transactions carry the promises. *Accept*: the deduplication row, the run and the user's event.
*Append*: events with their gapless `seq`, under the run's fence. *Effect*: a tool's result together with
what the tool did. Everything between them may be repeated.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import HistoryItem, Logged, RunBrief, RunState
from edchat_server.sql import Connection

if TYPE_CHECKING:
    from .saver import Checkpoints

PAGE_BYTES = 131_072
"""How much of a log is read and sent at once."""

T = TypeVar("T")
Result = dict[str, Any]


class StoreError(Exception):
    """The database refused a write; nothing of it was stored."""


class StoreUnavailable(StoreError):
    """The database is away or takes no writes, whatever they are. Whether the last write is in it is not known."""


class StoreLocked(StoreError):
    """Another server owns the database file."""


class Fenced(Exception):
    """This attempt of the run is over; whoever holds it must stop without a word."""


class Trimmed(Exception):
    """The log has holes where a reader stands; the reader must begin anew, with a snapshot."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How much a store takes.

    `events` of one session; `bytes` of the whole database (None: no limit); `reserve`: bytes on the disk that
    new messages leave free, so that the runs that were begun can still be recorded.
    """

    events: int = 1_000_000
    bytes: int | None = None
    reserve: int = 16 * 2**20


EFFECTS = "effects"
"""The lock under which tools act: stories belong to all sessions."""


def session_lock(session: str) -> str:
    """Return the name of the lock under which a session is written."""
    return f"session {session}"


# ------------------------------------------------------------------------------------------------ commands


@dataclass(frozen=True, kw_only=True)
class Say:
    """A user's message. `history` seeds a session that is still empty (version 1 clients)."""

    content: str
    history: tuple[HistoryItem, ...] = ()
    author: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A wish to stop a run; None: all that run or wait in the session. `by`: whose wish, by name."""

    run: str | None = None
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A command that no resending makes acceptable. It uses up its csn, so that it blocks nothing."""

    code: ErrorCode
    message: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a client. `csn` None: the peer counts nothing (version 1), only `id` deduplicates."""

    session: str
    client: str
    csn: int | None
    id: str
    fingerprint: bytes
    work: Say | Stop | Reject


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The command is in the database. `csn` is the highest contiguous one of its client."""

    run: str | None
    csn: int
    duplicate: bool = False


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The command was not taken. `final`: its csn is used up. `expect`: the csn that is due.

    `retry_after_ms`: when it may be offered again.
    """

    code: ErrorCode
    message: str
    csn: int
    final: bool
    expect: int | None = None
    retry_after_ms: int | None = None


# -------------------------------------------------------------------------------------------- reading back


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """What `greet` found. `stale`: a newer connection of this client was seen already."""

    epoch: str
    head: int
    accepted_csn: int
    stale: bool
    replay: bool
    runs: tuple[RunBrief, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One event of the log; `body` is its frame as JSON."""

    seq: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a snapshot. `after`: where the next one begins; None: this is the last."""

    frames: list[msgspec.Raw]
    after: int | None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to carry out one attempt of a run.

    `attempt` counts all claims; `tries` those since the last step that was done, this one too: a run that
    ends the server again and again at one step is poison, one that gets on is not. `cancel`: its
    cancellation was accepted before this claim.
    """

    run: str
    session: str
    input_id: str
    content: str
    history: tuple[HistoryItem, ...]
    attempt: int
    tries: int
    fence: int
    cancel: bool


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What is known of a tool call that acts outside the database.

    `result`: it is done. `again`: it was begun before, and how that ended is not known. `doubt`: nor will it be.
    """

    result: Result | None = None
    again: bool = False
    doubt: bool = False


class Store(Protocol):
    """The database, seen from the server. Every method is one transaction; all raise `StoreError`."""

    @property
    def id(self) -> str:
        """The name of the database, for life."""

    @property
    def trouble(self) -> str | None:
        """Why no new work is to be taken, in words for people: a write failed, or room is short. None: it may."""

    async def close(self) -> None:
        """Finish what was submitted and let others in."""

    @property
    def checkpoints(self) -> "Checkpoints":
        """LangGraph's tables in this database."""

    async def probe(self) -> None:
        """Write something without meaning: after a failure it shows whether writes are taken again."""

    @property
    def poll_seconds(self) -> float | None:
        """After how long the queue may have changed without a word from this process; None: never."""

    def watch(self, sessions: Callable[[], Collection[str]], ring: Callable[[str], None]) -> None:
        """Call `ring` for those of `sessions` in which another process has written, until the store is closed."""

    async def submit(self, work: Callable[[Connection], T], *, locks: Sequence[str] = ()) -> T:
        """Run `work` in a transaction of its own; an exception rolls it back and is raised here.

        No two transactions with a lock of the same name run at the same time. A session's lock
        (`session_lock`) comes before `EFFECTS`, so that nobody waits in a circle.
        """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which writes nothing, on one state of the database."""

    async def fenced(
        self, work: Callable[[Connection], T], *, session: str, run: str, fence: int, locks: Sequence[str] = ()
    ) -> T:
        """Run `work` in a transaction, under the session's lock, if this attempt still owns the run.

        Every write of a run goes through here. Raises `Fenced`.
        """

    async def greet(
        self, session: str, client: str, conn: int, *, cursor: int, epoch: str | None
    ) -> Greeting:
        """Register connection `conn` of a client and find out how it can resume."""

    async def accept(self, command: Command) -> Accepted | Refused:
        """Take a command exactly once, however often it is offered."""

    async def head(self, session: str) -> tuple[str, int]:
        """Return the session's epoch and last seq, and begin the session if it is new."""

    async def read_range(self, session: str, after: int, limit: int = 200) -> list[Row]:
        """Return at most `limit` events behind seq `after`, in order, and of large ones fewer."""

    async def snapshot(self, session: str, head: int, after: int = 0, size: int = PAGE_BYTES) -> Page:
        """Return what the session showed at seq `head`, from behind seq `after`, as about `size` bytes.

        The events that later ones, up to `head`, made void are left out. Pages with one `head` fit together
        whatever is appended between them. Raises `Trimmed` when `head` has become too old for that.
        """

    async def trim(self, before: str, rows: int = 500) -> bool:
        """Delete at most `rows` tokens that no snapshot has any more, of a run that ended before `before`.

        Also of younger runs, where their session has enough events behind them (the store's own setting).
        Return whether there may be more. A cursor behind which something was deleted gets a snapshot.
        """

    async def run_frames(self, run: str) -> list[Logged]:
        """Return the events of one run, in order."""

    async def run_state(self, run: str) -> RunState | None:
        """Return a run's state; None: no such run."""

    async def unfinished(self) -> int:
        """Return how many runs are queued or running."""

    async def recover(self) -> int:
        """Put the runs of a dead server back into the queue. Only before the first claim."""

    async def claim(self) -> Claim | None:
        """Take the oldest queued run of a session in which none is running."""

    def drop(self, claim: Claim) -> None:
        """Say that nobody in this process carries the run out any more."""

    async def append(self, claim: Claim, frames: Sequence[Logged]) -> int:
        """Append to the run's session; return the log's last seq. Raises `Fenced`."""

    async def finish(self, claim: Claim, state: RunState, frames: Sequence[Logged], error: str | None) -> int:
        """Append the last frames and close the run, in one transaction. Raises `Fenced`."""

    async def park(self, claim: Claim) -> None:
        """Give a run back to the queue unharmed. Raises `Fenced`."""

    async def effect(self, claim: Claim, call: str, work: Callable[[Connection], Result]) -> Result:
        """Carry out tool call `call` exactly once: its result and what it did commit together.

        A second call returns the first one's result and does nothing. Raises `Fenced`.
        """

    async def effects_of(self, run: str) -> frozenset[str]:
        """Return the tool calls of a run whose effect is in the database."""

    async def intend(self, claim: Claim, call: str, unknown: str) -> Intent:
        """Note that tool call `call` is about to act outside the database. Raises `Fenced`.

        `unknown` says to people what will not be known if the run dies there.
        """

    async def settle(self, claim: Claim, call: str, result: Result) -> None:
        """Record what an intended call gave. Raises `Fenced`."""

    async def withdraw(self, claim: Claim, call: str) -> None:
        """Forget an intended call, which certainly did nothing. Raises `Fenced`."""

    async def doubt(self, claim: Claim, call: str) -> None:
        """Note that nobody will know whether an intended call did anything. Raises `Fenced`."""

    async def intents_of(self, run: str) -> dict[str, tuple[str, bool]]:
        """Return the run's unsettled calls: `unknown` of each, and whether that was noted as final."""

    async def v1_cursor(self, session: str) -> int | None:
        """Return the last seq that a version 1 connection wrote; None: there was none yet."""

    async def set_v1_cursor(self, session: str, seq: int) -> None:
        """Remember what a version 1 connection has written. It never goes back."""

    async def answered_by_post(self, session: str, run: str) -> None:
        """Count a run's events as written for version 1, unless something before them is still to be written."""
