"""LangGraph's stream to frames. Pure: the time comes in as an argument.

A message's id is that of LangGraph's AIMessage, so that after a crash the log can be compared with the
checkpoint: what the log shows and the checkpoint lacks is void, what the checkpoint has and the log lacks
is still to be shown.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage

from edchat_protocol.artifacts import Artifact
from edchat_protocol.errors import MAX_FRAME_BYTES
from edchat_protocol.frames import (
    Logged,
    MessageData,
    MessageFrame,
    StatusData,
    StatusFrame,
    Token,
    TokenData,
    ToolDetails,
    ToolExecution,
    ToolExecutionData,
)
from edchat_protocol.messages import Progress

from .agent.text import whole, whole_json

STOPPED = "Stopped."
_DATA_LIMIT = MAX_FRAME_BYTES - 4096
_MAX_OUTPUT = 32_768
MAX_TOKEN = 32_768
"""Characters of one token event; a model that does not stream gives its whole text as one chunk."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    tool: str
    status: str
    details: ToolDetails
    artifacts: tuple[Artifact, ...] = ()

    @property
    def over(self) -> bool:
        return self.status in ("completed", "error")


@dataclass(kw_only=True)
class Translation:
    """One attempt of one run: feed it the stream, and it says what to append to the log.

    `recall` it first with the events that earlier attempts logged.
    """

    run: str
    attempt: int
    _texts: dict[str, int] = field(default_factory=dict)
    _closed: set[str] = field(default_factory=set)
    _steps: dict[str, _Step] = field(default_factory=dict)
    _held: list[ToolExecution] = field(default_factory=list)
    _halves: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------------------------- after an interruption

    def recall(self, past: Iterable[Logged]) -> None:
        """Learn what the log already shows of this run."""
        for frame in past:
            match frame:
                case Token(mid=str(mid), off=int(off)):
                    self._texts[mid] = off + len(frame.data.token)
                case MessageFrame(mid=str(mid)) if frame.data.role == "assistant":
                    self._closed.add(mid)
                case StatusFrame():
                    for mid in frame.data.supersedes:
                        self._forget(mid)
                case ToolExecution(step=str(step)):
                    details = frame.data.details
                    self._steps[step] = _Step(
                        tool=frame.data.tool, status=frame.data.status, artifacts=frame.data.artifacts,
                        details=details if isinstance(details, ToolDetails) else ToolDetails(),
                    )
                case _:
                    pass

    def reconcile(
        self, committed: Sequence[BaseMessage], now: datetime
    ) -> tuple[tuple[str, ...], list[Logged]]:
        """Compare the log with the run's checkpointed messages.

        Return the ids of logged messages that are void, and the events that are missing.
        """
        ids = {message.id for message in committed}
        void = tuple(mid for mid in (self._texts | dict.fromkeys(self._closed)) if mid not in ids)
        for mid in void:
            self._forget(mid)
        missing = [frame for message in committed for frame in self._complete(message, now)]
        return void, missing

    def _forget(self, mid: str) -> None:
        self._texts.pop(mid, None)
        self._closed.discard(mid)

    # ---------------------------------------------------------------------------------------- the stream

    @property
    def busy_steps(self) -> frozenset[str]:
        """The tool calls that are neither done nor failed."""
        return frozenset(step for step, state in self._steps.items() if not state.over)

    def feed(self, mode: str, payload: Any, now: datetime) -> list[Logged]:
        """Return the events in one part of ``stream_mode=["messages", "updates", "custom"]``."""
        if mode == "messages":
            chunk, _ = payload
            return self._text(chunk, now)
        frames = self._release()
        if mode == "custom":
            return frames + self._tool_event(payload, now)
        for node, update in payload.items():
            if not node.startswith("__"):
                for message in _messages_of(update):
                    frames += self._complete(message, now)
        return frames

    def stop(self, now: datetime, reason: str = STOPPED) -> list[Logged]:
        """Return the events that end the tool calls which nobody will finish."""
        self._held.clear()
        return [self._advance(step, now, status="error", error=reason) for step in sorted(self.busy_steps)]

    def _text(self, chunk: BaseMessage, now: datetime) -> list[Logged]:
        if not isinstance(chunk, AIMessageChunk) or not chunk.id or chunk.id in self._closed:
            return []
        text = self._halves.pop(chunk.id, "") + str(chunk.text)
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._halves[chunk.id] = text[-1]  # the other half of this character comes with the next chunk
            text = text[:-1]
        text = whole(text)
        off = self._texts.get(chunk.id, 0)
        if text:
            self._texts[chunk.id] = off + len(text)
        return [
            Token(
                run=self.run, attempt=self.attempt, mid=chunk.id, off=off + at, timestamp=_iso(now),
                data=TokenData(token=text[at : at + MAX_TOKEN]),
            )
            for at in range(0, len(text), MAX_TOKEN)
        ]

    def _complete(self, message: BaseMessage, now: datetime) -> list[Logged]:
        if isinstance(message, ToolMessage):
            return self._tool_done(message, now)
        if isinstance(message, AIMessage) and message.id:
            return self._answer(message, message.id, now)
        return []

    def _answer(self, message: AIMessage, mid: str, now: datetime) -> list[Logged]:
        open_mids = [m for m in self._texts if m not in self._closed]
        if mid not in self._texts and len(open_mids) == 1:
            # Some providers name a message only in its last chunk; the log already shows the first name.
            mid = open_mids[0]
        frames = [] if mid in self._closed else self._whole_text(message, mid, open_mids, now)
        # Also where the text is in the log already: a server that died after it may have acted before these showed.
        for call in message.tool_calls:
            step = call["id"]
            if step and step not in self._steps:
                self._steps[step] = _Step(
                    tool=call["name"], status="pending", details=ToolDetails(input=whole_json(call["args"]))
                )
                # Shown when the stream goes on: only then is the message with this call in the checkpoint.
                self._held.append(self._execution(step, now))
        return frames

    def _whole_text(self, message: AIMessage, mid: str, open_mids: Sequence[str], now: datetime) -> list[Logged]:
        frames: list[Logged] = []
        void = tuple(m for m in open_mids if m != mid)
        if void:
            frames.append(self.status("retrying", now, supersedes=void))
            for other in void:
                self._forget(other)
        text = whole(str(message.text))
        if text or not message.tool_calls:
            self._closed.add(mid)
            self._texts.setdefault(mid, len(text))
            frames.append(self._message(mid, text, now, last=not message.tool_calls))
        return frames

    def _message(self, mid: str, text: str, now: datetime, *, last: bool) -> MessageFrame:
        artifacts = tuple(a for s in self._steps.values() for a in s.artifacts) if last else ()
        return MessageFrame(
            run=self.run, attempt=self.attempt, mid=mid, timestamp=_iso(now),
            data=_fit_message(MessageData(content=text, artifacts=artifacts)),
        )

    def _release(self) -> list[Logged]:
        held: list[Logged] = [f for f in self._held if f.step in self.busy_steps]
        self._held.clear()
        return held

    def _tool_event(self, event: Any, now: datetime) -> list[Logged]:
        if not isinstance(event, Mapping) or event.get("kind") != "tool":
            return []
        step = str(event.get("tool_call_id", ""))
        known = self._steps.get(step)
        if known is None:
            known = self._steps[step] = _Step(
                tool=str(event.get("tool", "")), status="pending", details=ToolDetails()
            )
        if known.over:
            return []
        progress = event.get("progress")
        return [
            self._advance(
                step, now, status="running", title=event.get("title") or known.details.title,
                started_at=known.details.started_at or _iso(now),
                progress=msgspec.convert(progress, Progress, strict=False) if progress else None,
            )
        ]

    def _tool_done(self, message: ToolMessage, now: datetime) -> list[Logged]:
        step = message.tool_call_id
        known = self._steps.get(step)
        if known is None:
            known = self._steps[step] = _Step(
                tool=message.name or "tool", status="pending", details=ToolDetails()
            )
        if known.over:
            return []
        text = whole(str(message.text)[:_MAX_OUTPUT])
        failed = message.status == "error"
        self._steps[step] = replace(known, artifacts=_artifacts_of(message))
        return [
            self._advance(
                step, now, status="error" if failed else "completed", progress=None,
                **({"error": text} if failed else {"output": text}),
                duration_ms=_elapsed_ms(known.details.started_at, now),
            )
        ]

    def _advance(self, step: str, now: datetime, *, status: str, **details: Any) -> ToolExecution:
        known = self._steps[step]
        self._steps[step] = replace(
            known, status=status, details=msgspec.structs.replace(known.details, **details)
        )
        return self._execution(step, now)

    def _execution(self, step: str, now: datetime) -> ToolExecution:
        known = self._steps[step]
        data = ToolExecutionData(
            tool=known.tool, status=known.status, details=known.details,  # type: ignore[arg-type]
            artifacts=known.artifacts,
        )
        return ToolExecution(
            run=self.run, attempt=self.attempt, step=step, timestamp=_iso(now),
            data=_fit_tool(data, known.details),
        )

    def status(self, status: str, now: datetime, *, message: str | None = None,
               supersedes: tuple[str, ...] = ()) -> StatusFrame:
        """Return a change of the run's state."""
        return StatusFrame(
            run=self.run, attempt=self.attempt, timestamp=_iso(now),
            data=StatusData(status=status, message=message, supersedes=supersedes),
        )


def roll_up(frames: Sequence[Logged]) -> list[Logged]:
    """Join neighbouring tokens of one message."""
    joined: list[Logged] = []
    pieces: list[str] = []
    room = 0

    def flush() -> None:
        if len(pieces) > 1 and isinstance(joined[-1], Token):
            joined[-1] = msgspec.structs.replace(joined[-1], data=TokenData(token="".join(pieces)))
        pieces.clear()

    for frame in frames:
        last = joined[-1] if joined else None
        size = len(frame.data.token) if isinstance(frame, Token) else 0
        if isinstance(frame, Token) and isinstance(last, Token) and last.mid == frame.mid and size <= room:
            pieces.append(frame.data.token)
            room -= size
            continue
        flush()
        joined.append(frame)
        if isinstance(frame, Token):
            pieces.append(frame.data.token)
            room = MAX_TOKEN - size
    flush()
    return joined


def run_messages(messages: Sequence[BaseMessage], input_id: str) -> list[BaseMessage]:
    """Return what a thread's messages hold of the run that answers `input_id`."""
    at = next((i for i, m in enumerate(messages) if isinstance(m, HumanMessage) and m.id == input_id), None)
    return [] if at is None else list(messages[at + 1 :])


def _messages_of(update: Any) -> list[BaseMessage]:
    found = update.get("messages", ()) if isinstance(update, Mapping) else ()
    found = found if isinstance(found, list | tuple) else [found]
    return [m for m in found if isinstance(m, BaseMessage)]


def _artifacts_of(message: ToolMessage) -> tuple[Artifact, ...]:
    found = message.artifact if isinstance(message.artifact, list | tuple) else [message.artifact]
    return tuple(
        Artifact(type=str(item["type"]), data=dict(item["data"]))
        for item in found
        if isinstance(item, Mapping) and "type" in item and isinstance(item.get("data"), Mapping)
    )


def _fit_message(data: MessageData) -> MessageData:
    """Keep a message below what a peer takes: first the artifacts go, then the end of the text."""
    if _fits(data):
        return data
    data = msgspec.structs.replace(data, artifacts=())
    if _fits(data):
        return data
    shortest = _DATA_LIMIT // 6  # six bytes is the longest that JSON makes of one character
    lengths = range(shortest, len(data.content))
    too_long = bisect_left(lengths, True, key=lambda length: not _fits(_cut(data, length)))
    return _cut(data, shortest + too_long - 1)


def _cut(data: MessageData, length: int) -> MessageData:
    return msgspec.structs.replace(data, content=data.content[:length] + " …")


def _fit_tool(data: ToolExecutionData, details: ToolDetails) -> ToolExecutionData:
    """Keep a tool's state below what a peer takes: first the artifacts go, then the input."""
    if _fits(data):
        return data
    data = msgspec.structs.replace(data, artifacts=())
    if _fits(data):
        return data
    return msgspec.structs.replace(data, details=msgspec.structs.replace(details, input=None))


def _fits(data: msgspec.Struct) -> bool:
    return len(msgspec.json.encode(data)) <= _DATA_LIMIT


def _iso(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _elapsed_ms(started_at: str | None, now: datetime) -> float | None:
    if started_at is None:
        return None
    return max(0.0, round((now - datetime.fromisoformat(started_at)).total_seconds() * 1000, 1))
