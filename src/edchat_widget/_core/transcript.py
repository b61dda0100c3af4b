"""The conversation as a fold of the server's frames, and every change of it as view ops.

Order: each answer directly behind the message that it answers, in the log's order; then the messages that
the server has not confirmed, in the order in which they were sent.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from edchat_protocol.artifacts import Artifact
from edchat_protocol.frames import (
    FINAL_RUN_STATES,
    ErrorFrame,
    Logged,
    MessageFrame,
    StatusFrame,
    Token,
    ToolExecution,
)
from edchat_protocol.messages import (
    AnswerState,
    AnyPart,
    ArtifactPart,
    DeliveryState,
    ErrorPart,
    Message,
    TextPart,
    ToolCallPart,
)
from edchat_widget.events import ChatEvent
from edchat_widget.view import (
    AnyOp,
    CloseOp,
    DropOp,
    DropPartOp,
    PartOp,
    PutOp,
    StateOp,
    TextOp,
)

from .tool_call import finished, interrupted, tool_call

_replace = msgspec.structs.replace
_ERROR_PART = "error"
_ANSWER_STATES: dict[str, AnswerState] = {
    "processing": "streaming",
    "retrying": "streaming",
    "cancelling": "streaming",
    "waiting_input": "requires_action",
    "completed": "complete",
    "cancelled": "incomplete",
    "failed": "incomplete",
    "uncertain": "incomplete",
}


class Transcript:
    """All messages of one session. `ops` and `events` gather what changed since they were last taken."""

    def __init__(self) -> None:
        self._by_id: dict[str, Message] = {}
        self._settled: list[str] = []
        self._local: list[str] = []
        self._asked: dict[str, str] = {}  # run -> id of the user's message
        self._ops: list[AnyOp] = []
        self._events: list[ChatEvent] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, in reading order."""
        return tuple(self._by_id[i] for i in (*self._settled, *self._local))

    def get(self, message_id: str) -> Message | None:
        """Return the message, or None."""
        return self._by_id.get(message_id)

    def has_logged(self, message_id: str) -> bool:
        """Whether the server's log has this message."""
        return message_id in self._by_id and message_id not in self._local

    def take_ops(self) -> list[AnyOp]:
        """Return the ops since the last call."""
        ops, self._ops = self._ops, []
        return ops

    def take_events(self) -> list[ChatEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    # -------------------------------------------------------------------------- what this side knows alone

    def echo(self, message: Message) -> None:
        """Show a message of this side's at once, before the server knows of it."""
        if message.id not in self._by_id:
            self._local.append(message.id)
            self._by_id[message.id] = message
            self._ops.append(PutOp(message=message))

    def mark(
        self, message_id: str, state: DeliveryState, *, run: str | None = None, detail: str | None = None
    ) -> None:
        """Change the delivery state of a user's message."""
        message = self._by_id.get(message_id)
        if message is None or message.role != "user":
            return
        changed = _replace(message, state=state, run=run or message.run, detail=detail)
        if changed != message:
            self._by_id[message_id] = changed
            self._ops.append(StateOp(id=message_id, state=state, run=run, detail=detail))

    def confirm(self, message_id: str, run: str | None = None) -> None:
        """The server has this message. What is known already of its answer is not taken back."""
        message = self._by_id.get(message_id)
        if message is not None:
            waiting = message.state in ("queued", "sent", "in_doubt")
            if waiting or (run and message.run != run):
                state: DeliveryState = "accepted" if waiting else message.state  # type: ignore[assignment]
                self.mark(message_id, state, run=run, detail=None if waiting else message.detail)

    def settle(self, message_id: str, run: str) -> None:
        """Move a local message behind the confirmed ones, for a peer that does not echo messages."""
        message = self._by_id.get(message_id)
        if message is not None and message_id in self._local:
            self._place_user(_replace(message, run=run))

    @property
    def acknowledged(self) -> frozenset[str]:
        """The messages that the server has taken and its log, as far as it is known, does not have."""
        return frozenset(i for i in self._local if self._by_id[i].state == "accepted")

    def forget(self, message_id: str) -> None:
        """Take away a message that never reached the server."""
        if message_id in self._local:
            self._local.remove(message_id)
            del self._by_id[message_id]
            self._ops.append(DropOp(id=message_id))

    def become(self, other: "Transcript") -> None:
        """Take over the confirmed messages of `other`, a fold of a snapshot; keep the local ones."""
        before = self.messages
        known = dict(self._by_id)
        local = [self._by_id[i] for i in self._local if i not in other._by_id]
        self._settled, self._asked = list(other._settled), dict(other._asked)
        self._local = [m.id for m in local]
        self._by_id = dict(other._by_id) | {m.id: m for m in local}
        self._ops += difference(before, self.messages)
        for message in self.messages:
            was = known.get(message.id)
            if was and was.state in ("streaming", "requires_action") and message.state != was.state:
                self._events.append(ChatEvent(type="message", run_id=message.run, message=message))

    # ------------------------------------------------------------------------------------ what the log says

    def fold(self, frame: Logged) -> None:
        """Apply one frame of the log. Applying the same frame twice changes nothing more."""
        match frame:
            case MessageFrame() if frame.data.role == "user":
                self._user_message(frame)
            case MessageFrame():
                self._answer_text(frame)
            case Token():
                self._token(frame)
            case ToolExecution():
                self._tool(frame)
            case StatusFrame():
                self._status(frame)
            case ErrorFrame():
                self._error(frame)

    def _user_message(self, frame: MessageFrame) -> None:
        message_id = frame.mid or f"seq-{frame.seq}"
        if frame.run:
            self._asked[frame.run] = message_id
        known = self._by_id.get(message_id)
        if known is not None and message_id in self._settled:
            return
        self._place_user(Message(
            id=message_id, role="user", parts=(TextPart(id="text", text=frame.data.content),),
            state="accepted", run=frame.run, author=frame.data.author,
            created_at=frame.timestamp or (known.created_at if known else None),
        ))
        self._events.append(ChatEvent(type="message", run_id=frame.run, message=self._by_id[message_id]))

    def _place_user(self, message: Message) -> None:
        if message.run:
            self._asked[message.run] = message.id
        if message.id in self._local:
            self._local.remove(message.id)
        self._settled.append(message.id)
        self._by_id[message.id] = message
        self._ops.append(PutOp(message=message, before=self._local[0] if self._local else None))

    def _answer(self, frame: Logged) -> Message:
        run = frame.run or "unasked"
        message = self._by_id.get(run)
        if message is not None:
            return message
        message = Message(id=run, role="assistant", state="streaming", run=run, created_at=frame.timestamp)
        asked = self._asked.get(run)
        at = self._settled.index(asked) + 1 if asked in self._settled else len(self._settled)
        self._settled.insert(at, run)
        self._by_id[run] = message
        follower = [*self._settled[at + 1:at + 2], *self._local[:1]]
        self._ops.append(PutOp(message=message, before=follower[0] if follower else None))
        return message

    def _token(self, frame: Token) -> None:
        answer = self._answer(frame)
        mid = frame.mid or "text"
        part = _part(answer, mid)
        have = part.text if isinstance(part, TextPart) else ""
        text = frame.data.token
        if frame.off is not None:
            # A hole cannot be mended here; the message frame at the end brings the whole text.
            text = text[len(have) - frame.off:] if frame.off <= len(have) else ""
        elif part is not None and isinstance(part, TextPart) and not part.open:
            text = ""
        if part is None:
            if text:
                self._put_part(answer, TextPart(id=mid, text=text, open=True))
        elif text and isinstance(part, TextPart):
            self._by_id[answer.id] = _with_part(answer, _replace(part, text=have + text))
            self._ops.append(TextOp(id=answer.id, part=mid, text=text))
        if text:
            self._events.append(ChatEvent(type="token", run_id=frame.run, text=text))
        if frame.data.done:
            self._close(answer.id, mid)

    def _answer_text(self, frame: MessageFrame) -> None:
        answer = self._answer(frame)
        mid = frame.mid or "text"
        part = _part(answer, mid)
        content = frame.data.content
        if isinstance(part, TextPart) and part.text == content:
            self._close(answer.id, mid)
        elif content or part is not None:
            had = part.text if isinstance(part, TextPart) else ""
            self._put_part(answer, TextPart(id=mid, text=content))
            if content.startswith(had):
                self._events.append(ChatEvent(type="token", run_id=frame.run, text=content[len(had):]))
        self._artifacts(answer.id, frame.data.artifacts)

    def _tool(self, frame: ToolExecution) -> None:
        answer = self._answer(frame)
        calls = [p for p in answer.parts if isinstance(p, ToolCallPart)]
        call = tool_call(frame, calls)
        if call not in calls:
            self._put_part(answer, call)
            self._events.append(ChatEvent(type="tool", run_id=frame.run, tool=call))
        self._artifacts(answer.id, frame.data.artifacts)

    def _artifacts(self, answer_id: str, artifacts: Iterable[Artifact]) -> None:
        for artifact in artifacts:
            answer = self._by_id[answer_id]
            part = ArtifactPart(id=_artifact_id(artifact), artifact=artifact.type, data=artifact.data)
            known = _part(answer, part.id)
            if known is not None and (known == part or _version(known) > _version(part)):
                continue
            self._put_part(answer, part)
            if artifact.type == "story":
                self._events.append(ChatEvent(type="story", run_id=answer.run, artifact=artifact))

    def _status(self, frame: StatusFrame) -> None:
        status = frame.data.status
        if frame.run is None or (status not in _ANSWER_STATES and status != "queued"):
            return
        asked = self._asked.get(frame.run)
        if status == "queued":
            if asked:
                self.mark(asked, "accepted", run=frame.run)
            return
        answer = self._answer(frame)
        if status == "retrying":
            self._retry(answer, frame.data.supersedes)
        final = status in FINAL_RUN_STATES
        if final:
            self._end(frame, answer)
        state = _ANSWER_STATES[status]
        detail = _detail(status, frame.data.message)
        answer = self._by_id[answer.id]
        if (answer.state, answer.detail) != (state, detail):
            self._by_id[answer.id] = _replace(answer, state=state, detail=detail)
            self._ops.append(StateOp(id=answer.id, state=state, detail=detail))
            if final:
                self._events.append(
                    ChatEvent(type="message", run_id=frame.run, message=self._by_id[answer.id]))
        if final and asked:
            self.mark(asked, "answered" if status in ("completed", "cancelled") else "failed", run=frame.run)

    def _retry(self, answer: Message, supersedes: tuple[str, ...]) -> None:
        void = {*supersedes, _ERROR_PART}
        gone = [p.id for p in answer.parts if p.id in void and isinstance(p, TextPart | ErrorPart)]
        if gone:
            kept = tuple(p for p in answer.parts if p.id not in gone)
            self._by_id[answer.id] = _replace(answer, parts=kept)
            self._ops += [DropPartOp(id=answer.id, part=p) for p in gone]
        self._events.append(ChatEvent(type="retry", run_id=answer.run))

    def _end(self, frame: StatusFrame, answer: Message) -> None:
        for part in answer.parts:
            if isinstance(part, TextPart):
                self._close(answer.id, part.id)
            elif isinstance(part, ToolCallPart) and not finished(part):
                self._put_part(self._by_id[answer.id], interrupted(part))
        if frame.data.status in ("failed", "uncertain") and _part(answer, _ERROR_PART) is None:
            text = frame.data.message or "The run failed."
            self._put_part(self._by_id[answer.id], ErrorPart(
                id=_ERROR_PART, code="internal", message=text, retryable=frame.data.status == "failed"))

    def _error(self, frame: ErrorFrame) -> None:
        if frame.run is None:
            return
        answer = self._answer(frame)
        part = ErrorPart(
            id=_ERROR_PART, code=frame.data.code, message=frame.data.error,
            retryable=frame.data.retryable, hint=frame.data.hint,
        )
        if _part(answer, _ERROR_PART) != part:
            self._put_part(answer, part)

    def _put_part(self, message: Message, part: AnyPart) -> None:
        self._by_id[message.id] = _with_part(message, part)
        self._ops.append(PartOp(id=message.id, part=part))

    def _close(self, message_id: str, part_id: str) -> None:
        message = self._by_id[message_id]
        part = _part(message, part_id)
        if isinstance(part, TextPart) and part.open:
            self._by_id[message_id] = _with_part(message, _replace(part, open=False))
            self._ops.append(CloseOp(id=message_id, part=part_id))


def difference(before: tuple[Message, ...], after: tuple[Message, ...]) -> list[AnyOp]:
    """Return ops that lead from the messages `before` to those `after`."""
    old, new = {m.id: m for m in before}, {m.id: m for m in after}
    ops: list[AnyOp] = [DropOp(id=i) for i in old if i not in new]
    if [i for i in old if i in new] != [i for i in new if i in old]:
        ops += [DropOp(id=i) for i in old if i in new]
        old = {}
    follower: str | None = None
    for message in reversed(after):
        if old.get(message.id) != message:
            ops.append(PutOp(message=message, before=follower))
        follower = message.id
    return ops


def _part(message: Message, part_id: str) -> AnyPart | None:
    return next((p for p in message.parts if p.id == part_id), None)


def _with_part(message: Message, part: AnyPart) -> Message:
    if _part(message, part.id) is None:
        return _replace(message, parts=(*message.parts, part))
    return _replace(message, parts=tuple(part if p.id == part.id else p for p in message.parts))


def _artifact_id(artifact: Artifact) -> str:
    name = artifact.data.get("id")
    if not isinstance(name, str | int):
        canonical = msgspec.json.encode(artifact.data, order="sorted")
        name = hashlib.sha256(canonical).hexdigest()[:12]
    return f"{artifact.type}:{name}"


def _version(part: AnyPart) -> float:
    version = part.data.get("version", 0) if isinstance(part, ArtifactPart) else 0
    return version if isinstance(version, int | float) else 0


def _detail(status: str, message: str | None) -> str | None:
    if status in ("completed", "processing"):
        return None
    words = {"cancelled": "Stopped.", "cancelling": "Stopping…", "retrying": "Trying again…"}
    return message or words.get(status)
