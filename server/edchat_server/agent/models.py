"""Which model answers, and what its failures mean in plain words."""

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from .offline import DEFAULT_PACE, OfflinePlanner

OFFLINE_NAME = "offline planner"

_EXTRAS = {"langchain-openai": "openai", "langchain-anthropic": "anthropic", "langchain-ollama": "ollama"}
_KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google_genai": "GOOGLE_API_KEY",
    "mistralai": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "cohere": "COHERE_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "together": "TOGETHER_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "perplexity": "PPLX_API_KEY",
    "xai": "XAI_API_KEY",
    "azure_openai": "AZURE_OPENAI_API_KEY",
}
_PROVIDER = re.compile(r"^(?P<provider>[a-z_]+):(?P<model>.+)$")
_PACKAGE = re.compile(r"`pip install ([\w.-]+)`")
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|key|gsk|xai|hf|AIza)[-_][A-Za-z0-9_*.-]{6,}|\bAIza[A-Za-z0-9_-]{10,}"
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{6,}"
    r"|(?i:\b(?:api[-_ ]?key|token|secret|password)\b[\"']?\s*[:=]\s*[\"']?)[^\s\"',;}]{6,}"
    r"|(?<=://)[^\s/@]+@"
)
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")
_BROKEN_OFF = frozenset({"RemoteProtocolError", "ReadError", "IncompleteRead", "ProtocolError", "StreamClosed"})
_UNREACHABLE = frozenset(
    {"ConnectError", "APIConnectionError", "ConnectionError", "ConnectionRefusedError", "gaierror", "NetworkError"}
)
_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_MESSAGE_MAX = 600
_SILENCE = 120.0
_TAKE_TIMEOUT = frozenset({"openai", "azure_openai", "anthropic", "deepseek", "groq", "mistralai", "xai"})


class ModelError(Exception):
    """The model, or its answer, cannot be used. `str()` is one plain sentence, `hint` says what to do."""

    def __init__(self, message: str, hint: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable


@dataclass(frozen=True)
class ModelBrief:
    """What to call the model. `offline`: it is the rule-based planner."""

    name: str
    offline: bool


class ModelFailure(NamedTuple):
    """A failure while a model answered, in words for people. `retryable`: asking again may help."""

    message: str
    retryable: bool


def describe_model(name: str | None) -> ModelBrief:
    """Return what to call the model of this name; no name is the offline planner."""
    return ModelBrief(name, offline=False) if name else ModelBrief(OFFLINE_NAME, offline=True)


def load_model(
    name: str | None,
    *,
    environ: Mapping[str, str] = os.environ,
    create: Callable[..., BaseChatModel] = init_chat_model,
) -> BaseChatModel:
    """Return the chat model; no name gives the offline planner.

    `name` is what `init_chat_model` takes, best with its provider: ``openai:gpt-5`` or ``ollama:llama3.2``.
    Keys and addresses come from the environment alone (OPENAI_API_KEY, OPENAI_BASE_URL, ...).
    EDCHAT_OFFLINE_PACE is the offline planner's words per second, 0 for at once; EDCHAT_MODEL_TIMEOUT for how many
    seconds a model may be silent.

    Raises:
        ModelError: unknown provider, package not installed, no key, or a setting that is out of range.
    """
    if not name:
        return OfflinePlanner(pace=_pace(environ))
    provider = found["provider"] if (found := _PROVIDER.match(name)) else None
    arguments = _arguments(provider, name, environ)
    try:
        return create(name, **arguments)
    except ImportError as exc:
        raise _missing_package(name, exc) from exc
    except ValueError as exc:
        if "provider" in str(exc).casefold():
            raise ModelError(
                f"{name!r} names no model provider that is known.",
                "Write EDCHAT_MODEL as provider:model, such as openai:gpt-5, anthropic:claude-sonnet-5 or "
                "ollama:llama3.2.",
            ) from exc
        raise ModelError(
            f"The model {name!r} could not be set up: {_sentence(_brief(str(exc), environ))}", _CHECK
        ) from exc
    except Exception as exc:
        # Each integration raises its own kinds of errors; all mean the same to whoever starts the server.
        raise ModelError(
            f"The model {name!r} could not be set up: {_sentence(_brief(str(exc), environ))}", _CHECK
        ) from exc


_CHECK = "Check EDCHAT_MODEL and the provider's own variables in the environment of the server."


def explain_model_failure(exc: BaseException, *, environ: Mapping[str, str] = os.environ) -> ModelFailure:
    """Return what a failure of the model means: its own message where it gave one, without any key.

    Errors are told apart by status code and by the names of their classes, so that no provider's package must
    be installed.
    """
    if isinstance(exc, ModelError):
        return ModelFailure(f"{exc.message} {exc.hint}", retryable=exc.retryable)
    status = _status_of(exc)
    said = _brief(_own_message(exc), environ)
    if status is not None:
        return _by_status(status, said, exc)
    names = {c.__name__ for e in _chain(exc) for c in type(e).__mro__}
    if any("Recursion" in n for n in names):
        return ModelFailure(
            "The agent went in circles and was stopped. Ask for less in one message.", retryable=False
        )
    if any("Timeout" in n for n in names):
        return ModelFailure(_with("The model did not answer in time.", said), retryable=True)
    if names & _BROKEN_OFF:  # before what it is wrapped in: some clients call every lost connection the same
        return ModelFailure(_with("The model's answer broke off.", said), retryable=True)
    if names & _UNREACHABLE:
        return ModelFailure(_with("The model's server cannot be reached.", said), retryable=True)
    if "JSONDecodeError" in names:
        return ModelFailure("The model's answer could not be read: it is no JSON.", retryable=True)
    retryable = bool(names & {"APIError", "ResponseError"})
    return ModelFailure(_with("The model failed.", said), retryable=retryable)


def _by_status(status: int, said: str, exc: BaseException) -> ModelFailure:
    codes = {getattr(error, "code", None) for error in _chain(exc)}
    out_of_credit = (
        "insufficient_quota" in codes or "insufficient_quota" in str(exc) or "billing" in said.casefold()
    )
    head = {
        401: "The model's provider refused the key.",
        403: "The model's provider refused access.",
        404: "The model's provider does not know this model.",
        429: "The model's provider has no credit left."
        if out_of_credit
        else "The model's provider is asked too often.",
    }.get(status)
    if head is None:
        head = (
            "The model's provider has a failure."
            if status >= 500
            else "The model's provider refused the request."
        )
    return ModelFailure(_with(head, said), retryable=status in _RETRYABLE and not out_of_credit)


def _with(head: str, said: str) -> str:
    return f"{head} It says: {_sentence(said)}" if said and said.rstrip(".") != head.rstrip(".") else head


def _sentence(text: str) -> str:
    """Return the text with one full stop behind it, so that what follows does not run into it."""
    return text if text.endswith(("!", "?", "…")) else f"{text.rstrip(' .:;,')}."


def _status_of(exc: BaseException) -> int | None:
    for error in _chain(exc):
        for holder in (error, getattr(error, "response", None)):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int) and 400 <= status < 600:
                return status
    return None


def _own_message(exc: BaseException) -> str:
    """Return the message inside the provider's answer, or the exception's text."""
    for error in _chain(exc):
        body: Any = getattr(error, "body", None)
        while isinstance(body, dict):
            inner = body.get("error", body.get("message", body.get("detail")))
            if isinstance(inner, str):
                return inner
            body = inner
    message = getattr(exc, "message", None) or getattr(exc, "error", None)
    return message if isinstance(message, str) and message else str(exc)


def _chain(exc: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    error: BaseException | None = exc
    while error is not None and error not in chain and len(chain) < 10:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _brief(text: str, environ: Mapping[str, str]) -> str:
    """Return the text in one line of bounded length, without secrets."""
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    line = " ".join(_SECRETS.sub("***", text).split())
    return line if len(line) <= _MESSAGE_MAX else line[: _MESSAGE_MAX - 1] + "…"


def _arguments(provider: str | None, name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    arguments = _patience(provider, environ)
    variable = _KEYS.get(provider or "")
    if variable is None or environ.get(variable):
        return arguments
    if provider == "openai" and (environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_BASE")):
        # A server of one's own often wants no key, but the client insists on having one.
        return arguments | {"api_key": "none"}
    package = f"langchain_{provider}"
    if f"langchain-{provider}" in _EXTRAS and importlib.util.find_spec(package) is None:
        return {}  # the missing package is the more useful thing to say
    raise ModelError(f"The model {name!r} needs a key.", f"Set {variable} in the environment of the server.")


def silence_limit(name: str | None, *, environ: Mapping[str, str] = os.environ) -> float | None:
    """Return for how many seconds the model may be silent; None: its client was told, or it is the offline planner.

    Raises:
        ModelError: EDCHAT_MODEL_TIMEOUT is out of range.
    """
    if not name:
        return None
    found = _PROVIDER.match(name)
    return None if _patience(found and found["provider"], environ) else _silence(environ)


def _patience(provider: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    seconds = _silence(environ)
    if provider in _TAKE_TIMEOUT:
        return {"timeout": seconds}
    return {"client_kwargs": {"timeout": seconds}} if provider == "ollama" else {}


def _silence(environ: Mapping[str, str]) -> float:
    text = environ.get("EDCHAT_MODEL_TIMEOUT", "")
    try:
        seconds = float(text) if text else _SILENCE
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ModelError(f"EDCHAT_MODEL_TIMEOUT is {text!r}.", "It takes seconds, more than 0 and at most 3600.")
    return seconds


def _missing_package(name: str, exc: ImportError) -> ModelError:
    found = _PACKAGE.search(str(exc))
    if found is None:
        return ModelError(f"The model {name!r} needs a package that is not installed: {_sentence(str(exc))}", _CHECK)
    package = found[1].rstrip(".")
    extra = _EXTRAS.get(package)
    wanted = f"'edchat-widget[{extra}]'" if extra else package
    return ModelError(
        f"The model {name!r} needs the package {package}, which is not installed.", f"Install it: pip install {wanted}"
    )


def _pace(environ: Mapping[str, str]) -> float:
    text = environ.get("EDCHAT_OFFLINE_PACE", "")
    if not text:
        return DEFAULT_PACE
    try:
        pace = float(text)
    except ValueError:
        pace = -1.0
    if not 0 <= pace <= 100_000:
        raise ModelError(
            f"EDCHAT_OFFLINE_PACE is {text!r}.", "It takes words per second, 0 to 100000; 0 means at once."
        )
    return pace
