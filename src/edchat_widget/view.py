"""What the panel shows, and every way in which that changes: the contract with the browser.

The kernel sends ``{"type": "snapshot", "view": View}`` to whoever asks and ``{"type": "patch", "rev": n,
"ops": [...]}`` to everybody; the browser sends an `Intent`. A patch applies only to the view of revision
``rev - 1``; whoever sees a gap asks for the snapshot. `apply` is the oracle: the browser's own code must
reach the same view from the same patches (tests/contract).
"""

from typing import Literal

import msgspec

from edchat_protocol.messages import AnswerState, AnyPart, DeliveryState, Message, TextPart

from .errors import sentences

ConnectionState = Literal["connecting", "connected", "reconnecting", "fallback", "disconnected"]


class OfferView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person may choose: to go on with the server on this machine (`failover`), or to return from it
    (`failback`). `text` is the question."""

    kind: Literal["failover", "failback"]
    text: str


class ConnectionView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The badge. `latency_ms`: last measured round trip. `attempt` of `max_attempts` while reconnecting.

    `carrier`: ``ws``, ``http`` (a stream of events), or ``poll`` (where a proxy holds streams up).
    `guaranteed` is False with a peer that confirms nothing (the origin's server). `retry_in_ms` is the wait
    before the next attempt, as of the moment of the patch. `reason` and `hint` are words for people.
    `notice` says what is true for now and worth knowing: that another server answers, and why. `offer` is
    what a person may choose. ``str()`` is a sentence.
    """

    state: ConnectionState
    carrier: Literal["ws", "http", "poll"] | None = None
    latency_ms: float | None = None
    attempt: int = 0
    max_attempts: int = 10
    retry_in_ms: float | None = None
    reason: str | None = None
    hint: str | None = None
    server: str | None = None
    guaranteed: bool = True
    notice: str | None = None
    offer: OfferView | None = None

    def __str__(self) -> str:
        offered = self.offer.text if self.offer else None
        return sentences(_badge(self), self.notice, self.reason, self.hint, offered)


_CARRIED = {"http": " over HTTP", "poll": " over HTTP, polling"}


def _badge(connection: ConnectionView) -> str:
    match connection.state:
        case "connected" | "fallback":
            ms = f" ({connection.latency_ms:.0f} ms)" if connection.latency_ms is not None else ""
            return f"Connected{ms}{_CARRIED.get(connection.carrier or '', '')}."
        case "reconnecting":
            wait = connection.retry_in_ms
            soon = f", next try in {wait / 1000:.0f} s" if wait else ""
            return f"Reconnecting (attempt {connection.attempt}{soon})."
        case state:
            return f"{state.capitalize()}."


class AgentView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which agent answers; `offline`: the rule-based planner."""

    name: str
    offline: bool = False


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the panel shows.

    `messages` in reading order: each answer directly behind the message it answers, unconfirmed messages
    last. `queued` counts the commands that the server has not confirmed, of at most `queue_limit`.
    """

    rev: int
    session: str
    connection: ConnectionView
    messages: tuple[Message, ...] = ()
    queued: int = 0
    queue_limit: int = 100
    agent: AgentView | None = None


# ------------------------------------------------------------------------------------------------ patches


class Op(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    """One change."""


class ConnectionOp(Op, frozen=True, kw_only=True, tag="connection", omit_defaults=True):
    """Replaces the badge."""

    connection: ConnectionView


class AgentOp(Op, frozen=True, kw_only=True, tag="agent", omit_defaults=True):
    """Replaces the agent's name."""

    agent: AgentView | None


class QueueOp(Op, frozen=True, kw_only=True, tag="queue", omit_defaults=True):
    """Replaces the count of unconfirmed commands."""

    queued: int


class PutOp(Op, frozen=True, kw_only=True, tag="put", omit_defaults=True):
    """Puts a message before the one with id `before` (None: at the end), replacing and moving the message
    of the same id if there is one."""

    message: Message
    before: str | None = None


class DropOp(Op, frozen=True, kw_only=True, tag="drop", omit_defaults=True):
    """Removes a message."""

    id: str


class StateOp(Op, frozen=True, kw_only=True, tag="state", omit_defaults=True):
    """Changes a message's state; `run` only where it is given."""

    id: str
    state: DeliveryState | AnswerState
    run: str | None = None
    detail: str | None = None


class PartOp(Op, frozen=True, kw_only=True, tag="part", omit_defaults=True):
    """Replaces the part of the same id in message `id`, or appends the part."""

    id: str
    part: AnyPart


class DropPartOp(Op, frozen=True, kw_only=True, tag="drop_part", omit_defaults=True):
    """Removes part `part` of message `id`."""

    id: str
    part: str


class TextOp(Op, frozen=True, kw_only=True, tag="text", omit_defaults=True):
    """Appends to the open text part `part` of message `id`."""

    id: str
    part: str
    text: str


class CloseOp(Op, frozen=True, kw_only=True, tag="close", omit_defaults=True):
    """Text part `part` of message `id` is complete."""

    id: str
    part: str


AnyOp = (
    ConnectionOp
    | AgentOp
    | QueueOp
    | PutOp
    | DropOp
    | StateOp
    | PartOp
    | DropPartOp
    | TextOp
    | CloseOp
)


class Patch(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="patch"):
    """Changes the view of revision ``rev - 1`` into that of revision `rev`."""

    rev: int
    ops: tuple[AnyOp, ...]


class SnapshotMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="snapshot"):
    """Replaces the whole view."""

    view: View


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal", omit_defaults=True):
    """The kernel could not take an intent; `id` is that of the message that was to be sent."""

    code: str
    message: str
    id: str | None = None


# ------------------------------------------------------------------------------------------------ intents


class Intent(msgspec.Struct, frozen=True, kw_only=True, tag_field="intent", omit_defaults=True):
    """What a person asked for in the panel."""


class ReadyIntent(Intent, frozen=True, kw_only=True, tag="ready", omit_defaults=True):
    """A front-end has loaded, or lost track (`rev` is what it has): answered by a snapshot."""

    rev: int | None = None


class SubmitIntent(Intent, frozen=True, kw_only=True, tag="submit", omit_defaults=True):
    """Send a message. `id` was minted by the browser; offering the same id again changes nothing."""

    id: str
    text: str


class CancelIntent(Intent, frozen=True, kw_only=True, tag="cancel", omit_defaults=True):
    """Stop the run, or whatever runs or waits."""

    run: str | None = None


class RetryIntent(Intent, frozen=True, kw_only=True, tag="retry", omit_defaults=True):
    """Send the text of user message `id` once more, as new message `new_id`; asking that again changes nothing."""

    id: str
    new_id: str


class ReconnectIntent(Intent, frozen=True, kw_only=True, tag="reconnect", omit_defaults=True):
    """Try to connect now."""


class FailoverIntent(Intent, frozen=True, kw_only=True, tag="failover", omit_defaults=True):
    """Go on with the server on this machine."""


class FailbackIntent(Intent, frozen=True, kw_only=True, tag="failback", omit_defaults=True):
    """Return to the server that was configured."""


class ClearIntent(Intent, frozen=True, kw_only=True, tag="clear", omit_defaults=True):
    """Begin a new, empty session."""


AnyIntent = (
    SubmitIntent
    | ReadyIntent
    | CancelIntent
    | RetryIntent
    | ReconnectIntent
    | FailoverIntent
    | FailbackIntent
    | ClearIntent
)


# ------------------------------------------------------------------------------------------------- oracle


def apply(view: View, patch: Patch) -> View:
    """Return the view after `patch`. An op on an unknown message or part changes nothing.

    Raises:
        ValueError: the patch is not for this revision.
    """
    if patch.rev != view.rev + 1:
        raise ValueError(f"patch {patch.rev} does not follow revision {view.rev}")
    for op in patch.ops:
        view = _apply_op(view, op)
    return msgspec.structs.replace(view, rev=patch.rev)


def _apply_op(view: View, op: AnyOp) -> View:
    replace = msgspec.structs.replace
    match op:
        case ConnectionOp():
            return replace(view, connection=op.connection)
        case AgentOp():
            return replace(view, agent=op.agent)
        case QueueOp():
            return replace(view, queued=op.queued)
        case PutOp():
            rest = [m for m in view.messages if m.id != op.message.id]
            at = next((i for i, m in enumerate(rest) if m.id == op.before), len(rest))
            return replace(view, messages=(*rest[:at], op.message, *rest[at:]))
        case DropOp():
            return replace(view, messages=tuple(m for m in view.messages if m.id != op.id))
        case _:
            return replace(
                view, messages=tuple(_in_message(m, op) if m.id == op.id else m for m in view.messages)
            )


def _in_message(message: Message, op: StateOp | PartOp | DropPartOp | TextOp | CloseOp) -> Message:
    replace = msgspec.structs.replace
    match op:
        case StateOp():
            return replace(message, state=op.state, detail=op.detail, run=op.run or message.run)
        case PartOp():
            if any(p.id == op.part.id for p in message.parts):
                parts = tuple(op.part if p.id == op.part.id else p for p in message.parts)
            else:
                parts = (*message.parts, op.part)
            return replace(message, parts=parts)
        case DropPartOp():
            return replace(message, parts=tuple(p for p in message.parts if p.id != op.part))
        case TextOp():
            return replace(message, parts=tuple(
                replace(p, text=p.text + op.text) if p.id == op.part and isinstance(p, TextPart) else p
                for p in message.parts
            ))
        case CloseOp():
            return replace(message, parts=tuple(
                replace(p, open=False) if p.id == op.part and isinstance(p, TextPart) else p
                for p in message.parts
            ))
