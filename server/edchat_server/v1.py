"""The log as a version 1 client knows it: the origin's frames and nothing else. Pure."""

from dataclasses import dataclass, field

import msgspec

from edchat_protocol.artifacts import Artifact
from edchat_protocol.frames import (
    FINAL_RUN_STATES,
    ErrorFrame,
    Event,
    Logged,
    MessageData,
    MessageFrame,
    StatusData,
    StatusFrame,
    Token,
    TokenData,
    ToolDetails,
    ToolExecution,
)

from .translate import STOPPED

PROCESSING = "Understanding your request..."


@dataclass(kw_only=True)
class _Turn:
    texts: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, tuple[Artifact, ...]] = field(default_factory=dict)


@dataclass(kw_only=True)
class Projection:
    """Turns a session's events into the origin's frames, in order.

    The origin knows one answer per message, so that it is sent when the run is over: all texts of the
    run, and all its artifacts.
    """

    _turns: dict[str, _Turn] = field(default_factory=dict)

    def frames(self, event: Logged) -> list[Event]:
        """Return what to send for an event."""
        turn = self._turns.setdefault(event.run or "", _Turn())
        match event:
            case Token(mid=str(mid)):
                turn.texts[mid] = turn.texts.get(mid, "") + event.data.token
                return [_bare(event)]
            case ToolExecution():
                turn.artifacts[event.step or ""] = event.data.artifacts
                return [_plain_tool(event)]
            case MessageFrame() if event.data.role == "assistant":
                turn.texts[event.mid or ""] = event.data.content
                return []
            case ErrorFrame():
                return [_bare(event)]
            case StatusFrame():
                return self._status(event, turn)
            case _:
                return []

    def _status(self, event: StatusFrame, turn: _Turn) -> list[Event]:
        status = event.data.status
        for void in event.data.supersedes:
            turn.texts.pop(void, None)
        if status in ("processing", "retrying"):
            data = StatusData(status="processing", message=PROCESSING)
            return [StatusFrame(timestamp=event.timestamp, data=data)]
        if status not in FINAL_RUN_STATES:
            return []
        self._turns.pop(event.run or "", None)
        if status in ("failed", "uncertain"):
            return []  # the error that came before it has ended the turn
        content = "\n\n".join(text for text in turn.texts.values() if text)
        artifacts = tuple(a for found in turn.artifacts.values() for a in found)
        return [
            Token(timestamp=event.timestamp, data=TokenData(token="", done=True)),
            MessageFrame(
                timestamp=event.timestamp,
                data=MessageData(content=content or (STOPPED if status != "completed" else ""),
                                 artifacts=artifacts),
            ),
        ]


def _bare(event: Event) -> Event:
    absent = dict.fromkeys(("seq", "id", "run", "attempt", "ref"))
    if isinstance(event, Token):
        absent |= {"mid": None, "off": None}
    return msgspec.structs.replace(event, **absent)


def _plain_tool(event: ToolExecution) -> Event:
    bare = _bare(event)
    if isinstance(event.data.details, ToolDetails):
        return bare
    return msgspec.structs.replace(bare, data=msgspec.structs.replace(event.data, details=ToolDetails()))
