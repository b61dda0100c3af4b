"""What a question gave, and a question on its way."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edchat_protocol.artifacts import Artifact
from edchat_protocol.messages import AnswerState, ArtifactPart, ErrorPart, Message, ToolCallPart

from . import static_render
from .errors import (
    AgentError,
    ConnectError,
    ConnectionLost,
    EdChatError,
    MessageError,
    Refused,
    ServerStartError,
    sentences,
)
from .stories import Story, story_from, story_from_fields
from .view import View

if TYPE_CHECKING:
    from .chat import Chat

__all__ = ["PendingRun", "Reply"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer.

    `text`: its Markdown · `stories`: those made, changed or found by this run · `tool_calls`: what the
    agent did · `state`: ``complete``, ``incomplete`` (stopped) or ``requires_action``.
    """

    text: str
    stories: tuple[Story, ...]
    tool_calls: tuple[ToolCallPart, ...]
    run_id: str
    state: AnswerState
    message: Message = field(repr=False)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return static_render.message_html(self.message)

    def _repr_markdown_(self) -> str:
        return static_render.message_markdown(self.message)


class PendingRun:
    """A question on its way: made by `Chat.send`. It goes on whether or not somebody waits for it."""

    def __init__(self, chat: "Chat", message_id: str) -> None:
        self._chat = chat
        self.message_id = message_id

    @property
    def run_id(self) -> str | None:
        """The run's id; None while the server has not taken the message."""
        message, _ = answer_in(self._chat.view, self.message_id)
        return message.run if message else None

    @property
    def done(self) -> bool:
        """Whether the answer is there, or will never be."""
        return is_over(self._chat.view, self.message_id)

    def cancel(self) -> None:
        """Stop the run, or take the message back if it was not sent yet. Returns at once."""
        self._chat._cancel(self.message_id)

    def result(self, timeout: float | None = None) -> Reply:
        """Wait for the answer, `timeout` seconds at most.

        Raises:
            AgentError: the run failed.
            Timeout: no answer yet; the run goes on.
            TransportError, ServerStartError: there is no connection to the server now; the message is kept.
        """
        return self._chat._result(self.message_id, timeout)

    def __await__(self) -> Generator[Any, None, Reply]:
        """Wait for the answer in async code."""
        return self._chat._aresult(self.message_id).__await__()

    def __repr__(self) -> str:
        state = "done" if self.done else "running" if self.run_id else "waiting"
        return f"<PendingRun {self.run_id or self.message_id}: {state}>"


def answer_in(view: View, message_id: str) -> tuple[Message | None, Message | None]:
    """Return the user's message of this id, and its answer."""
    asked = next((m for m in view.messages if m.id == message_id), None)
    if asked is None or asked.run is None:
        return asked, None
    return asked, next((m for m in view.messages if m.id == asked.run), None)


def is_over(view: View, message_id: str) -> bool:
    """Return whether nothing more will come for this message by itself."""
    asked, answer = answer_in(view, message_id)
    if asked is None or asked.state in ("answered", "failed", "in_doubt"):
        return True
    return answer is not None and answer.state == "requires_action"


def check_reachable(view: View, cause: EdChatError | None) -> None:
    """Raise where waiting is no use, because nobody tries to connect any more."""
    if view.connection.state != "disconnected":
        return
    if isinstance(cause, Refused | ServerStartError):
        raise cause
    reason = view.connection.reason or "There is no connection to the server."
    offered = "chat.failover() goes on with the server on this machine." if view.connection.offer else None
    raise ConnectError(reason, hint=sentences(cause.hint if cause else None, offered) or None)


def reply_in(view: View, message_id: str) -> Reply:
    """Return the answer to a message that is over.

    Raises:
        AgentError, MessageError, ConnectionLost: there is none, and why.
    """
    asked, answer = answer_in(view, message_id)
    if asked is None:
        raise MessageError("The conversation was cleared before the answer came.", code="cleared")
    if asked.state == "in_doubt":
        raise ConnectionLost(asked.detail or "Nobody can say whether the message arrived.")
    if asked.state == "failed":
        raise _failure(asked, answer)
    if answer is None:
        raise AgentError("The run ended without an answer.", run_id=asked.run)
    return reply_of(answer)


def reply_of(answer: Message) -> Reply:
    """Return a message of the agent's as a reply."""
    stories: dict[str, Story] = {}
    for part in answer.parts:
        if isinstance(part, ArtifactPart):
            stories |= {s.id: s for s in _stories_of(part)}
    return Reply(
        text=answer.text, stories=tuple(stories.values()), run_id=answer.run or answer.id,
        tool_calls=tuple(p for p in answer.parts if isinstance(p, ToolCallPart)),
        state=answer.state,  # type: ignore[arg-type]  # an answer has no delivery state
        message=answer,
    )


def _stories_of(part: ArtifactPart) -> list[Story]:
    if part.artifact == "stories":
        fields = part.data.get("stories")
        found = [story_from_fields(f) for f in fields] if isinstance(fields, list | tuple) else []
    else:
        found = [story_from(Artifact(type=part.artifact, data=part.data))]
    return [s for s in found if s is not None]


def _failure(asked: Message, answer: Message | None) -> EdChatError:
    error = next((p for p in answer.parts if isinstance(p, ErrorPart)), None) if answer else None
    if error is not None:
        return AgentError(
            error.message, code=error.code, retryable=error.retryable, hint=error.hint, run_id=asked.run)
    return MessageError(asked.detail or "The message was not taken.", code="refused")
