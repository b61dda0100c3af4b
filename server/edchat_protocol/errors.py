"""What can be wrong with a frame, as values that both sides name alike."""

from typing import Literal

ErrorCode = Literal[
    "not_json",  # the text is no JSON object
    "unknown_type",  # `type` names no frame
    "bad_frame",  # a field is missing, of the wrong type, or out of range
    "too_large",  # over MAX_FRAME_BYTES or MAX_MESSAGE_BYTES
    "empty_message",  # nothing but white space
    "wrong_session",  # the frame names another session than the connection
    "gap",  # a csn was skipped; `expect` says which one is due
    "conflict",  # the same csn or id with another content
    "storage",  # the store refused the write; nothing was stored
    "unauthorized",  # no valid token
    "forbidden",  # the token is valid, and does not allow this
    "unavailable",  # the agent cannot answer now
    "model_error",  # the language model's own refusal
    "tool_error",  # a tool failed
    "uncertain",  # whether a tool had its effect outside the server is not known
    "rate_limited",
    "internal",
]

MAX_FRAME_BYTES = 524_288
"""Largest frame on the wire, bytes of UTF-8. The largest message fits even where JSON writes six bytes for one."""

MAX_MESSAGE_BYTES = 65_536
"""Largest user message, bytes of UTF-8."""


class FrameError(ValueError):
    """A frame that cannot be taken. `code` is an `ErrorCode`; `str()` names the field and the fix."""

    def __init__(self, code: ErrorCode, message: str, *, ref: str | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.ref = ref
