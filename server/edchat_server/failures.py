"""An exception of the agent, in words for people: the model's own, without keys and tracebacks. Pure."""

import re
from collections.abc import Iterable

from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import ErrorData

UNAVAILABLE = "Service temporarily unavailable"
_KEY = re.compile(
    r"\b(?:sk|pk|rk|xai|gsk|hf|ghp|github_pat)[-_][A-Za-z0-9_\-*]{6,}|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|(?i:(?<=bearer )[^\s'\",]+)"
    r"|\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-.]+"
)
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
_MODEL_PACKAGES = (
    "openai", "anthropic", "ollama", "httpx", "httpcore", "langchain", "google", "groq", "mistralai",
)
_LIMIT = 2000


def describe(exc: BaseException, secrets: Iterable[str] = ()) -> ErrorData:
    """Return the error event for an exception that ended a run. `secrets` are removed from its text."""
    status = getattr(exc, "status_code", None)
    code: ErrorCode = "model_error" if _is_model(exc) or isinstance(status, int) else "internal"
    hint: str | None = None
    retryable = True
    if status in (401, 403):
        retryable, hint = False, "Check the model's API key in the environment of the server."
    elif status == 404:
        retryable, hint = False, "Check EDCHAT_MODEL: the provider does not know this model."
    elif status == 429:
        code, hint = "rate_limited", "The provider limits the rate; try again in a moment."
    elif _is_connection(exc):
        hint = "Check that the model's server runs and can be reached from here."
    text = scrub(_words(exc), secrets)
    return ErrorData(error=text, message=text, code=code, retryable=retryable, hint=hint)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without anything that looks like a key, and without the given secrets."""
    for secret in secrets:
        if len(secret) >= 6:
            text = text.replace(secret, "***")
    return _USERINFO.sub("***@", _KEY.sub("***", text))[:_LIMIT]


def _words(exc: BaseException) -> str:
    body = getattr(exc, "body", None)
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else None
        if isinstance(message, str) and message.strip():
            return message.strip()
    return str(exc).strip() or type(exc).__name__


def _is_model(exc: BaseException) -> bool:
    return type(exc).__module__.partition(".")[0].split("_")[0] in _MODEL_PACKAGES or _is_connection(exc)


def _is_connection(exc: BaseException) -> bool:
    return isinstance(exc, ConnectionError) or "Connect" in type(exc).__name__
