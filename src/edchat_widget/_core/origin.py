"""The origin's frames, which name no run, no message and no position, completed so that the log's own
fold can take them.

Such a server works on one message at a time, so a frame belongs to the message sent last; a frame that
comes when none is out belongs to the one whose fate a cut left open.
"""

import msgspec

from edchat_protocol.frames import (
    ErrorFrame,
    HistoryItem,
    Logged,
    MessageFrame,
    StatusData,
    StatusFrame,
    Token,
    ToolExecution,
    UserMessage,
    UserMessageData,
)
from edchat_protocol.messages import Message

_replace = msgspec.structs.replace
HISTORY = 10
HISTORY_BYTES = 128 * 1024


class OriginPeer:
    """What is out with a version 1 server. Runs are named after the message that they answer."""

    def __init__(self) -> None:
        self.current: str | None = None  # id of the message that is out
        self._doubtful: list[str] = []
        self._discard: set[str] = set()
        self._unasked = 0

    def send(self, message_id: str) -> str:
        """Note that a message goes out; return its run."""
        self.current = message_id
        return run_of(message_id)

    def cut(self) -> str | None:
        """Note that the connection is gone; return the message that is in doubt now."""
        doubt, self.current = self.current, None
        if doubt is not None and doubt not in self._discard:
            self._doubtful.append(doubt)
            return doubt
        return None

    def discard(self, message_id: str) -> None:
        """Show nothing more of this answer: the person stopped it, and the server cannot be told."""
        self._discard.add(message_id)

    def complete(self, frame: Logged) -> tuple[str | None, list[Logged]]:
        """Return (id of the message that this frame finishes, frames for the fold)."""
        message_id = self.current or (self._doubtful[0] if self._doubtful else None)
        finishes = isinstance(frame, MessageFrame | ErrorFrame)
        if message_id is None:
            return None, self._without_question(frame)
        run = run_of(message_id)
        frames = _complete(frame, run)
        if finishes:
            self._finish(message_id)
        if message_id in self._discard:
            return (message_id if finishes else None), []
        return (message_id if finishes else None), frames

    def _finish(self, message_id: str) -> None:
        if message_id == self.current:
            self.current = None
        elif message_id in self._doubtful:
            self._doubtful.remove(message_id)

    def _without_question(self, frame: Logged) -> list[Logged]:
        if not isinstance(frame, MessageFrame | ErrorFrame):
            return []
        self._unasked += 1
        return _complete(frame, f"v1.unasked-{self._unasked}")


def run_of(message_id: str) -> str:
    """Return the name that this side gives to the run that answers a message."""
    return f"v1.{message_id}"


def _complete(frame: Logged, run: str) -> list[Logged]:
    match frame:
        case StatusFrame():
            known = frame.data.status in ("processing", "queued")
            return [_replace(frame, run=run)] if known else []
        case Token():
            return [_replace(frame, run=run, mid="text", off=None)]
        case ToolExecution():
            return [_replace(frame, run=run)]
        case MessageFrame():
            done = StatusFrame(run=run, data=StatusData(status="completed"))
            return [_replace(frame, run=run, mid="text"), done]
        case ErrorFrame():
            failed = StatusFrame(run=run, data=StatusData(status="failed", message=frame.data.error))
            return [_replace(frame, run=run), failed]


def message_frame(
    session: str, text: str, earlier: tuple[Message, ...], timestamp: str | None
) -> UserMessage:
    """Return the frame for a message, with the last messages before it, since such a server keeps none."""
    history = [HistoryItem(role=m.role, content=m.text) for m in earlier if m.text][-HISTORY:]
    # The oldest give way: a frame beyond a server's limit would end the connection.
    while history and sum(len(h.content.encode()) for h in history) > HISTORY_BYTES:
        del history[0]
    return UserMessage(
        data=UserMessageData(content=text, session_id=session, message_history=history), timestamp=timestamp)
