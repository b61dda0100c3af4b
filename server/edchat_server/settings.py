"""What the server is told at start, from the command line and the environment."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from .limits import Caps

DEFAULT_PORT = 8001
# Short enough to be typed, too long to be guessed over a network.
MIN_OPEN_TOKEN = 16


class SettingsError(ValueError):
    """A setting that cannot be used. The text names the variable and what it takes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server runs. `model` None is the offline planner; `idle_exit`, `drain` and `retain` are in seconds.

    `postgres` is the address of a PostgreSQL database that replaces the file; `replica` names this process among
    those that share it, whose runs the others take over after `lease` seconds without a word from it.

    Of what is older than `retain`, or has `keep_events` events of its session behind it, the log keeps no tokens.
    `max_database_mb` None: the disk is the limit.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    tokens_file: Path | None = None
    model: str | None = None
    allowed_origins: frozenset[str] = frozenset()
    idle_exit: float | None = None
    drain: float = 10.0
    retain: float = 86_400.0
    keep_events: int = 20_000
    max_database_mb: int | None = None
    postgres: str | None = field(default=None, repr=False)
    lease: float = 15.0
    replica: str = field(default_factory=lambda: f"srv_{secrets.token_hex(4)}", compare=False)
    caps: Caps = field(default_factory=Caps)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def database(self) -> Path:
        """The one file that holds conversations, runs and the backlog, unless `postgres` does."""
        return self.data_dir / "edchat.db"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **given: Any) -> "Settings":
        """Return the settings of `env`; arguments that are not None win.

        Raises:
            SettingsError: a value cannot be used, or the address needs a token and has none.
        """
        env = os.environ if env is None else env
        found = cls(
            data_dir=_folder(env.get("EDCHAT_DATA_DIR")),
            host=env.get("EDCHAT_HOST") or "127.0.0.1",
            port=_port(env.get("EDCHAT_PORT")),
            token=_token(env.get("EDCHAT_TOKEN")),
            tokens_file=_file(env.get("EDCHAT_TOKENS_FILE")),
            model=env.get("EDCHAT_MODEL") or None,
            allowed_origins=_origins(env.get("EDCHAT_ALLOWED_ORIGINS")),
            max_database_mb=_megabytes(env.get("EDCHAT_MAX_DATABASE_MB")),
            postgres=_postgres(env.get("EDCHAT_DATABASE")),
            caps=_caps(env),
            lease=_lease(env.get("EDCHAT_LEASE")),
        )
        settings = replace(found, **{k: v for k, v in given.items() if v is not None})
        if settings.token is None and settings.tokens_file is None and not settings.loopback:
            raise SettingsError(
                f"refusing to listen on {settings.host} without a token: set EDCHAT_TOKEN or EDCHAT_TOKENS_FILE,"
                " or use 127.0.0.1"
            )
        if settings.token is not None and len(settings.token) < MIN_OPEN_TOKEN and not settings.loopback:
            raise SettingsError(
                f"EDCHAT_TOKEN: takes at least {MIN_OPEN_TOKEN} characters where others can reach the server "
                f"({settings.host}); one is made by: python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        return settings


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine only."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _folder(value: str | None) -> Path:
    return Path(value).expanduser() if value else Path(platformdirs.user_data_dir("edchat", appauthor=False))


def _file(value: str | None) -> Path | None:
    return Path(value).expanduser() if value else None


def _port(value: str | None) -> int:
    if not value:
        return DEFAULT_PORT
    if value.isdecimal() and int(value) <= 65535:
        return int(value)
    raise SettingsError(f"EDCHAT_PORT={value!r}: takes a port number from 0 (any free one) to 65535")


def _megabytes(value: str | None) -> int | None:
    if not value:
        return None
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise SettingsError(f"EDCHAT_MAX_DATABASE_MB={value!r}: takes a number of MiB, from 1 on")


def _token(value: str | None) -> str | None:
    if not value:
        return None
    if value.isascii() and value.isprintable() and " " not in value:
        return value
    raise SettingsError("EDCHAT_TOKEN: takes printable ASCII characters without spaces")


def _postgres(value: str | None) -> str | None:
    if not value:
        return None
    if value.startswith(("postgresql://", "postgres://")):
        return value
    # The value is not repeated: it may hold a password.
    raise SettingsError("EDCHAT_DATABASE: takes postgresql://USER@HOST:PORT/DATABASE, or nothing for a file of its own")


def _caps(env: Mapping[str, str]) -> Caps:
    given: dict[str, Any] = {}
    for cap in fields(Caps):
        name = f"EDCHAT_LIMIT_{cap.name.upper()}"
        value = env.get(name)
        if value:
            if not value.isdecimal() or int(value) < 1:
                raise SettingsError(f"{name}={value!r}: takes a whole number from 1 on")
            given[cap.name] = int(value)
    return Caps(**given)


def _lease(value: str | None) -> float:
    if not value:
        return 15.0
    if value.isdecimal() and int(value) > 0:
        return float(value)
    raise SettingsError(f"EDCHAT_LEASE={value!r}: takes a number of seconds, from 1 on")


def _origins(value: str | None) -> frozenset[str]:
    origins = frozenset(part.strip().rstrip("/").lower() for part in (value or "").split(",") if part.strip())
    for origin in origins:
        if not _is_origin(origin):
            raise SettingsError(
                f"EDCHAT_ALLOWED_ORIGINS: {origin!r} is no origin; takes a comma-separated list"
                " like https://chat.example.com"
            )
    return origins


def _is_origin(text: str) -> bool:
    try:
        return "://" in text and bool(urlsplit(text).hostname)
    except ValueError:
        return False
