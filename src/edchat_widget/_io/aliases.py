"""Which session a notebook uses now. Clearing the chat makes a new one, and the next run must find it."""

import secrets
from pathlib import Path

import filelock
import msgspec

from .private import make_private, write_private

_FILE = "sessions.json"


def current(data_dir: Path, implicit: str) -> str:
    """Return the session that stands for a notebook's own."""
    return _load(data_dir).get(implicit, implicit)


def point(data_dir: Path, implicit: str, session: str) -> None:
    """Let a notebook's own session be `session` from now on."""
    make_private(data_dir)
    with filelock.FileLock(data_dir / "sessions.lock", timeout=10, mode=0o600):
        aliases = _load(data_dir) | {implicit: session}
        write_private(data_dir / _FILE, msgspec.json.encode(aliases))


def successor(session: str) -> str:
    """Return a new session's name, recognisable as coming after `session`."""
    base = session.split("~", 1)[0]
    return f"{base[:50]}~{secrets.token_hex(4)}"


def _load(data_dir: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((data_dir / _FILE).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}
