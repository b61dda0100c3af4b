"""An exception of the agent, in words for people: the model's own, without keys and tracebacks."""

import re
from collections.abc import Iterable

from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import ErrorData

from .agent.models import explain_model_failure
from .agent.text import whole

UNAVAILABLE = "Service temporarily unavailable"
_KEY = re.compile(
    r"\b(?:sk|pk|rk|xai|gsk|hf|ghp|github_pat)[-_][A-Za-z0-9_\-*]{6,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|(?i:(?<=bearer )[^\s'\",]+)"
    r"|\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-.]+"
    r"|(?<=://)[^/\s@]+(?=@)"
)
_HINTS = {
    401: "Check the model's API key in the environment of the server.",
    403: "Check the model's API key in the environment of the server.",
    404: "Check EDCHAT_MODEL.",
}
_LIMIT = 2000


def describe(exc: BaseException, secrets: Iterable[str] = ()) -> ErrorData:
    """Return the error event for an exception that ended a run. `secrets` are removed from its text."""
    failure = explain_model_failure(exc)
    status = getattr(exc, "status_code", None)
    code: ErrorCode = "rate_limited" if status == 429 else "model_error"
    text = scrub(failure.message, secrets)
    return ErrorData(
        error=text, message=text, code=code, retryable=failure.retryable,
        hint=_HINTS.get(status) if isinstance(status, int) else None,
    )


def scrub(text: str, secrets: Iterable[str] = (), limit: int = _LIMIT) -> str:
    """Return the text without anything that looks like a key, and without the given secrets."""
    for secret in secrets:
        if len(secret) >= 6:
            text = text.replace(secret, "***")
    return whole(_KEY.sub("***", text)[:limit])
