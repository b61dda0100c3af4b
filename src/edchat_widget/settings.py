"""What can be configured, and the only place that reads the environment."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec
import platformdirs

from edchat_protocol.frames import SessionId

from .errors import SettingsError, plain

__all__ = ["Settings"]

BUNDLED = "bundled"
"""Given as `url`: the bundled server, whatever the environment names."""

Mode = Literal["ask", "auto", "never"]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One chat's settings. `load` reads them; a constructor's argument wins over the environment.

    `url`: the server's address, http(s); None or ``bundled``: the bundled server. `session`: None is this
    notebook's own. `model`: what the bundled server is started with, like ``openai:gpt-5``; None: its offline planner.
    Intervals are in seconds. `failover`: whether the bundled server takes over when the one at `url` cannot be
    reached. ``ask``: a person decides; ``auto``: by itself; ``never``. A server that was never reached in a
    conversation, so that nothing can be in doubt, is given up without asking, unless it is ``never``.
    `notebook`: the path that the host told us of. `person`: whom a JupyterHub runs this for.
    """

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    session: str | None = None
    model: str | None = None
    data_dir: Path = field(default_factory=lambda: platformdirs.user_data_path("edchat"))
    enable_websocket: bool = True
    heartbeat_interval: float = 15.0
    max_reconnect_attempts: int = 10
    reconnect_interval: float = 1.0
    failover: Mode = "ask"
    notebook: str | None = None
    person: str | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **given: Any) -> "Settings":
        """Return the settings of `environ` (the process's own if None) under those of `given`.

        A given None means: not given. The origin's names (``WS_URL``, ``ENABLE_WEBSOCKET``, also with the
        prefix ``NEXT_PUBLIC_``) are read after ours; their intervals are in milliseconds.

        Raises:
            SettingsError: a value that the setting cannot take, or a setting that does not exist.
        """
        env = os.environ if environ is None else environ
        known = {k: v for k, v in given.items() if v is not None}
        for name in known:
            if name not in cls.__dataclass_fields__:
                raise SettingsError(f"There is no setting {name!r}.")
        values: dict[str, Any] = {}
        for name, (parse, sources) in _SETTINGS.items():
            found = (name, known[name], 1.0) if name in known else _first(env, sources)
            if found is not None:
                source, raw, unit = found
                values[name] = parse(source, raw, unit)
        return cls(**values)


def _first(env: Mapping[str, str], sources: tuple[tuple[str, float], ...]) -> tuple[str, str, float] | None:
    for name, unit in sources:
        raw = env.get(name, "").strip()
        if raw:
            return name, raw, unit
    return None


def _url(source: str, raw: Any, _unit: float) -> str | None:
    takes = "an address like http://127.0.0.1:8001 or ws://host:8001"
    text = str(raw)
    if text == BUNDLED:
        return None
    if any(mark in text for mark in "@?#"):
        # Addresses end up in logs and on the screen; the value is not repeated for the same reason.
        raise SettingsError(
            f"{source} takes {takes}, without a user, password or query.",
            hint="Give the token as EDCHAT_TOKEN or Chat(token=…).",
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise SettingsError(f"{source} takes {takes}: {plain(exc)}.") from None
    if parts.scheme not in _SCHEMES or not host:
        raise SettingsError(f"{source} takes {takes}, not {text!r}.")
    netloc = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/ws/chat")
    return urlunsplit((_SCHEMES[parts.scheme], f"{netloc}:{port}" if port else netloc, path, "", ""))


def _session(source: str, raw: Any, _unit: float) -> str:
    try:
        return msgspec.convert(str(raw), SessionId)
    except msgspec.ValidationError:
        takes = "1 to 64 letters, digits, and . _ ~ -"
        raise SettingsError(f"{source} takes {takes}; not {str(raw)!r}.") from None


def _token(source: str, raw: Any, _unit: float) -> str:
    text = str(raw)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(f"{source} takes printable ASCII without spaces.")
    return text


def _text(_source: str, raw: Any, _unit: float) -> str:
    return str(raw)


def _directory(source: str, raw: Any, _unit: float) -> Path:
    path = Path(raw).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise SettingsError(f"{source} takes a directory; {path} is a file.")
    return path


def _switch(source: str, raw: Any, _unit: float) -> bool:
    text = str(raw).lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise SettingsError(f"{source} takes true or false, not {str(raw)!r}.")


def _seconds(source: str, raw: Any, unit: float) -> float:
    what = "milliseconds" if unit < 1 else "seconds"
    try:
        number = float(raw) * unit
    except (TypeError, ValueError):
        number = math.nan
    if not 0.01 <= number <= 86_400:
        raise SettingsError(f"{source} takes a number of {what} from 0.01 s to a day, not {str(raw)!r}.")
    return number


def _attempts(source: str, raw: Any, _unit: float) -> int:
    try:
        number = int(str(raw))
    except ValueError:
        number = -1
    if not 0 <= number <= 1000:
        raise SettingsError(f"{source} takes a whole number from 0 to 1000, not {str(raw)!r}.")
    return number


def _mode(source: str, raw: Any, _unit: float) -> Mode:
    match str(raw).strip().lower():
        case "ask" | "auto" | "never" as mode:
            return mode
    raise SettingsError(f"{source} takes ask, auto or never, not {str(raw)!r}.")


def _names(ours: str, origin: str | None = None, *, unit: float = 1.0) -> tuple[tuple[str, float], ...]:
    names = [(ours, 1.0)]
    if origin:
        names += [(origin, unit), (f"NEXT_PUBLIC_{origin}", unit)]
    return tuple(names)


_SETTINGS: dict[str, tuple[Any, tuple[tuple[str, float], ...]]] = {
    "url": (_url, _names("EDCHAT_URL", "WS_URL")),
    "token": (_token, _names("EDCHAT_TOKEN")),
    "session": (_session, _names("EDCHAT_SESSION")),
    "model": (_text, _names("EDCHAT_MODEL")),
    "data_dir": (_directory, _names("EDCHAT_DATA_DIR")),
    "enable_websocket": (_switch, _names("EDCHAT_ENABLE_WEBSOCKET", "ENABLE_WEBSOCKET")),
    "heartbeat_interval": (
        _seconds, _names("EDCHAT_HEARTBEAT_INTERVAL", "WS_HEARTBEAT_INTERVAL", unit=0.001)),
    "max_reconnect_attempts": (
        _attempts, _names("EDCHAT_MAX_RECONNECT_ATTEMPTS", "WS_MAX_RECONNECT_ATTEMPTS")),
    "reconnect_interval": (
        _seconds, _names("EDCHAT_RECONNECT_INTERVAL", "WS_RECONNECT_INTERVAL", unit=0.001)),
    "failover": (_mode, _names("EDCHAT_FAILOVER")),
    "notebook": (_text, _names("JPY_SESSION_NAME")),
    "person": (_text, _names("JUPYTERHUB_USER")),
}


def token_of_environment(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token that the environment (the process's own if None) names as of now.

    Raises:
        SettingsError: a value that no token can be.
    """
    found = _first(os.environ if environ is None else environ, _SETTINGS["token"][1])
    return _token(*found) if found is not None else None


def signs_of_host(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what notebook front-ends leave in the environment, by which they can be told apart."""
    env = os.environ if environ is None else environ
    return {k: v for k, v in env.items() if k in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")}
