"""Messages and their parts: what a conversation is made of, on both sides and in the panel."""

from typing import Any, Literal

import msgspec

Role = Literal["user", "assistant"]

Speaker = Literal["user", "assistant", "note"]
"""Who a message is of. `note`: a remark of this side, such as that another server answers from here on."""

DeliveryState = Literal["queued", "sent", "accepted", "answered", "failed", "in_doubt"]
"""Of a user's message. `queued`: not yet written to a socket. `sent`: written, not confirmed.
`accepted`: in the server's log. `in_doubt`: written to a server that does not say whether it has it, be it that
it never does or that it cannot be reached. `detail` says which."""

AnswerState = Literal["streaming", "complete", "incomplete", "requires_action"]

ToolState = Literal[
    "input-streaming",
    "input-available",
    "approval-requested",
    "approval-responded",
    "output-available",
    "output-error",
    "output-denied",
]
"""The names of the AI SDK's tool parts. `input-available` with `started_at` set means: it runs."""


class Part(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """One piece of a message. `id` is unique within its message."""

    id: str


class TextPart(Part, frozen=True, kw_only=True, tag="text", omit_defaults=True):
    """Markdown. `open`: more text is still to come."""

    text: str
    open: bool = False


class ReasoningPart(Part, frozen=True, kw_only=True, tag="reasoning", omit_defaults=True):
    """What the model thought aloud."""

    text: str
    open: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a tool is. `percent` 0 to 100; `seconds_left` is an estimate."""

    percent: float | None = None
    step: str | None = None
    seconds_left: float | None = None


class ToolCallPart(Part, frozen=True, kw_only=True, tag="tool_call", omit_defaults=True):
    """One call of one tool; `id` is the tool_call_id. `output` is a short text for people."""

    tool: str
    title: str = ""
    state: ToolState = "input-available"
    input: dict[str, Any] = {}
    output: str | None = None
    error: str | None = None
    started_at: str | None = None
    duration_ms: float | None = None
    progress: Progress | None = None


class ArtifactPart(Part, frozen=True, kw_only=True, tag="artifact", omit_defaults=True):
    """A typed object that a tool made, drawn as a card. `artifact` names its type (`story`, ...)."""

    artifact: str
    data: dict[str, Any]


class ErrorPart(Part, frozen=True, kw_only=True, tag="error", omit_defaults=True):
    """A failure, in words for people. `retryable`: sending the message again may help."""

    code: str
    message: str
    retryable: bool = True
    hint: str | None = None


AnyPart = TextPart | ReasoningPart | ToolCallPart | ArtifactPart | ErrorPart


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One bubble of the conversation.

    A user's message has the id that its sender minted; an answer has the id of its run, so that a
    run has exactly one answer. `run` ties the two together. `detail` says why, in words for people,
    where `state` alone does not (a refusal, a cancellation).
    """

    id: str
    role: Speaker
    parts: tuple[AnyPart, ...] = ()
    state: DeliveryState | AnswerState
    run: str | None = None
    created_at: str | None = None
    author: str | None = None
    detail: str | None = None

    @property
    def text(self) -> str:
        """The Markdown of all text parts, joined by blank lines."""
        return "\n\n".join(p.text for p in self.parts if isinstance(p, TextPart) and p.text)
