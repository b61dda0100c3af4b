"""Every frame of the wire, in one place.

A frame is one JSON object ``{"type", "data", "timestamp", ...}`` in one WebSocket text message. `type`,
`data` and `timestamp` are the origin's envelope; all other keys are siblings that a version 1 peer may
leave out and ignores. Commands go up and carry `csn` (client sequence number) where they must happen
once; events come down and carry `seq` (position in the session's log, 1, 2, 3 ... without gaps). A frame
down without `seq` is ephemeral. `timestamp` is for people: nothing is ordered by it.
"""

from typing import Annotated, Any, Literal

import msgspec

from .artifacts import Artifact
from .messages import Progress, Role

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.~:-]{1,64}\Z")]
SessionId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.~-]{1,64}\Z")]
MAX_COUNT = 2**53 - 1
"""What JSON's numbers hold in every language, and a database's integers too."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Csn = Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]

RunState = Literal[
    "queued", "running", "cancelling", "completed", "failed", "cancelled", "waiting_input", "uncertain"
]
FINAL_RUN_STATES: frozenset[str] = frozenset({"completed", "failed", "cancelled", "uncertain"})


class Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """The envelope. `timestamp` is ISO 8601 in UTC."""

    timestamp: str | None = None


# ---------------------------------------------------------------------------------------------- both ways


class Ping(Frame, frozen=True, kw_only=True, tag="ping", omit_defaults=True):
    """Asks for a pong. `data` comes back unchanged."""

    data: dict[str, Any] | None = None


class Pong(Frame, frozen=True, kw_only=True, tag="pong", omit_defaults=True):
    """Answers a ping. The origin's pong has no `data`."""

    data: dict[str, Any] | None = None


# ------------------------------------------------------------------------------------------- up (commands)


class HelloData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who I am and what I have.

    `client` is the outbox's lasting name, `conn` grows with each of its connections, `cursor` is the last
    seq applied (0: nothing), `epoch` the log incarnation that the cursor belongs to, `csn` the last csn used.
    `ticket` stands for the token where a browser cannot send one. `want`: ``presence``, to be told of others.
    """

    proto: int
    session: SessionId
    client: Id
    conn: Csn
    cursor: Count = 0
    epoch: str | None = None
    csn: Count = 0
    agent: str = ""
    ticket: str | None = None
    want: tuple[str, ...] = ()


class Hello(Frame, frozen=True, kw_only=True, tag="hello", omit_defaults=True):
    """The first frame of a version 2 connection; answered by `welcome`."""

    data: HelloData


class HistoryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One earlier message, as version 1 clients send it."""

    role: str = "user"
    content: str = ""


class UserMessageData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the user said. `session_id` and `message_history` come from version 1 clients."""

    content: str
    session_id: str | None = None
    message_history: list[HistoryItem] | None = None


class UserMessage(Frame, frozen=True, kw_only=True, tag="message", omit_defaults=True):
    """A user's message: becomes exactly one run, however often it is sent. `id` is the sender's."""

    data: UserMessageData
    id: Id | None = None
    csn: Csn | None = None
    ack: Count | None = None
    session_id: str | None = msgspec.field(default=None, name="sessionId")


class CancelData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which run to stop; None: whatever runs or waits in this session."""

    run: str | None = None


class Cancel(Frame, frozen=True, kw_only=True, tag="cancel", omit_defaults=True):
    """Stops a run. Durable like a message; of a finished run it has no effect."""

    id: Id
    csn: Csn
    data: CancelData = CancelData()
    ack: Count | None = None


class Seen(Frame, frozen=True, kw_only=True, tag="ack", omit_defaults=True):
    """Says how far the client has applied the log. It pins nothing on the server."""

    ack: Count


class TicketData(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket of ``POST /v2/ticket``."""

    ticket: str


class Ticket(Frame, frozen=True, kw_only=True, tag="ticket", omit_defaults=True):
    """The first frame of a version 1 connection from a browser, where the server wants a token."""

    data: TicketData


Up = Ticket | Hello | UserMessage | Cancel | Seen | Ping | Pong

# ------------------------------------------------------------------------------------------- down (events)


class Event(Frame, frozen=True, kw_only=True, omit_defaults=True):
    """What may stand beside a frame down. `id` is ``epoch:seq``. `ref` is the id of the command answered."""

    seq: int | None = None
    id: str | None = None
    run: str | None = None
    attempt: int | None = None
    ref: str | None = None


class RunBrief(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is not over."""

    run: str
    state: RunState
    attempt: int = 1


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server takes: bytes per frame, bytes per message, unacknowledged commands.

    Of each client, `commands_per_10s`, and a `burst` of them after some silence; `clients` in one session.
    """

    frame: int
    message: int
    outbox: int = 100
    commands_per_10s: int = 60
    burst: int = 100
    clients: int = 20


class AgentBrief(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which agent answers. `offline`: the rule-based planner, no language model."""

    name: str
    offline: bool = False


class WelcomeData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the server has.

    `head` is the log's last seq, `accepted_csn` the last csn taken from this client (the client resends
    all above it), `resume` what follows: ``replay`` (`events`) or ``snapshot``. `hb` is the heartbeat in
    seconds; `store` names the database, so that a client knows when it talks to another one; `replica` the
    server process, of which several may share a database.
    """

    proto: int
    session: str
    epoch: str
    store: str
    head: int
    accepted_csn: int
    resume: Literal["replay", "snapshot"]
    hb: float
    limits: Limits
    agent: AgentBrief
    runs: tuple[RunBrief, ...] = ()
    retry_after_ms: int = 0
    replica: str | None = None


class Welcome(Event, frozen=True, kw_only=True, tag="welcome", omit_defaults=True):
    """Answers `hello`."""

    data: WelcomeData


class StatusData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of a connection or a run.

    `connected` (version 1 greeting, with `session_id`) · `queued` · `processing` · `retrying` (with
    `supersedes`: the mids whose text is void) · `cancelling` · a final run state.
    """

    status: str
    message: str | None = None
    session_id: str | None = None
    supersedes: tuple[str, ...] = ()
    by: str | None = None


class StatusFrame(Event, frozen=True, kw_only=True, tag="status", omit_defaults=True):
    """Carries `StatusData`."""

    data: StatusData


class TokenData(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer's text."""

    token: str
    done: bool = False


class Token(Event, frozen=True, kw_only=True, tag="token", omit_defaults=True):
    """Extends message `mid` at character offset `off` (code points): applying it twice changes nothing."""

    data: TokenData
    mid: str | None = None
    off: int | None = None


class ToolDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a tool call so far; each frame repeats all of it."""

    title: str | None = None
    input: dict[str, Any] | None = None
    output: str | None = None
    error: str | None = None
    started_at: str | None = None
    duration_ms: float | None = None
    progress: Progress | None = None


class ToolExecutionData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`details` may be a plain text or any JSON object from a version 1 server."""

    tool: str
    status: Literal["pending", "running", "completed", "success", "error"]
    details: ToolDetails | str | None = None
    artifacts: tuple[Artifact, ...] = ()


class ToolExecution(Event, frozen=True, kw_only=True, tag="tool_execution", omit_defaults=True):
    """The state of one tool call. `step` is the tool_call_id: two calls of one tool stay apart."""

    data: ToolExecutionData
    step: str | None = None


class MessageData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole message. For version 1, the run's last message repeats all artifacts of the run."""

    content: str
    artifacts: tuple[Artifact, ...] = ()
    role: Role = "assistant"
    author: str | None = None


class MessageFrame(Event, frozen=True, kw_only=True, tag="message", omit_defaults=True):
    """A message is complete. `mid`: the user's message id, or the id of the text that the tokens built."""

    data: MessageData
    mid: str | None = None


class ErrorData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`error` is the origin's text for people; `code` is an `ErrorCode`; `message` repeats `error`.

    `retry_after_ms`: it makes no sense to try again sooner.
    """

    error: str
    code: str = "internal"
    message: str = ""
    retryable: bool = False
    hint: str | None = None
    retry_after_ms: int | None = None


class ErrorFrame(Event, frozen=True, kw_only=True, tag="error", omit_defaults=True):
    """With `seq`: a run failed. Without: the peer could not take a frame; `ref` is its id, if it had one."""

    data: ErrorData


class AckData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command became."""

    run: str | None = None
    duplicate: bool = False


class Ack(Event, frozen=True, kw_only=True, tag="ack", omit_defaults=True):
    """`ack` is the highest contiguous csn accepted; `ref` the command's id."""

    ack: int
    data: AckData | None = None


class NackData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a command was not taken. `final`: its csn is used up, do not resend. `expect`: the csn due.

    `retry_after_ms`: it makes no sense to send it again sooner.
    """

    code: str
    message: str
    final: bool
    expect: int | None = None
    retry_after_ms: int | None = None


class Nack(Event, frozen=True, kw_only=True, tag="nack", omit_defaults=True):
    """A command was refused."""

    data: NackData
    csn: int | None = None


class EventsData(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the log, complete from seq `first` to `last`."""

    first: int
    last: int
    frames: list[msgspec.Raw]


class Events(Event, frozen=True, kw_only=True, tag="events", omit_defaults=True):
    """Several events at once, in order."""

    data: EventsData


class SnapshotData(msgspec.Struct, frozen=True, kw_only=True):
    """The session at `head`, as a log without what later events made void (tokens of closed messages).

    Folding `frames` of all pages gives the same view as folding the whole log. It comes in pages; the
    client swaps its view when `last_page` arrives, and its cursor becomes `head`.
    """

    epoch: str
    head: int
    page: int
    last_page: bool
    frames: list[msgspec.Raw]


class Snapshot(Event, frozen=True, kw_only=True, tag="snapshot", omit_defaults=True):
    """A page of the session's state."""

    data: SnapshotData


class GoawayData(msgspec.Struct, frozen=True, kw_only=True):
    """When to come back, in milliseconds. `code` is the close code that follows, which HTTP does not have."""

    retry_after_ms: int = 0
    reason: str = ""
    code: int = 1012


class Goaway(Event, frozen=True, kw_only=True, tag="goaway", omit_defaults=True):
    """The server is about to close this connection on purpose."""

    data: GoawayData


class PresenceData(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody is `here` already, came (`join`) or went (`leave`).

    `user` is a name, or None where nobody has one; `clients` is how many of theirs are in the session now.
    """

    event: Literal["here", "join", "leave"]
    user: str | None
    clients: int


class PresenceFrame(Event, frozen=True, kw_only=True, tag="presence", omit_defaults=True):
    """Who is in the session, for a client that wants to know. It is not part of the log."""

    data: PresenceData


Logged = StatusFrame | Token | ToolExecution | MessageFrame | ErrorFrame
"""The frames that live in the log."""

Down = Logged | Welcome | Ack | Nack | Events | Snapshot | Goaway | PresenceFrame | Ping | Pong
