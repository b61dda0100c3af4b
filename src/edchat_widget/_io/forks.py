"""Which conversations went on with the server on this machine, kept so that the next kernel knows it."""

import logging
from collections.abc import Callable
from pathlib import Path

import filelock
import msgspec

from edchat_widget._core.failover import Fork
from edchat_widget.errors import StorageError, plain

from .private import make_private, write_private

_log = logging.getLogger("edchat.client.failover")
_FILE = "forks.json"
_MOST = 500


def load(data_dir: Path) -> list[Fork]:
    """Return all forks, the oldest first."""
    try:
        return msgspec.json.decode((data_dir / _FILE).read_bytes(), type=list[Fork])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as exc:
        _log.warning("%s cannot be read: %s", _FILE, type(exc).__name__)
        return []


def of(data_dir: Path, url: str, session: str) -> list[Fork]:
    """Return the forks of one session of one server, the oldest first."""
    return [f for f in load(data_dir) if (f.url, f.session) == (url, session)]


def save(data_dir: Path, fork: Fork) -> None:
    """Store a fork, in place of what was known of it.

    Raises:
        StorageError: it is not stored.
    """
    _change(data_dir, lambda known: [*_without(fork, known), fork][-_MOST:])


def drop(data_dir: Path, fork: Fork) -> None:
    """Forget a fork.

    Raises:
        StorageError: it is still known.
    """
    _change(data_dir, lambda known: _without(fork, known))


def _without(fork: Fork, known: list[Fork]) -> list[Fork]:
    return [f for f in known if f.local != fork.local]


def _change(data_dir: Path, change: Callable[[list[Fork]], list[Fork]]) -> None:
    try:
        make_private(data_dir)
        with filelock.FileLock(data_dir / "forks.lock", timeout=10, mode=0o600):
            write_private(data_dir / _FILE, msgspec.json.encode(change(load(data_dir))))
    except (OSError, filelock.Timeout) as exc:
        raise StorageError(
            f"The data directory {data_dir} cannot be used: {plain(exc)}.",
            hint="Name another one: EDCHAT_DATA_DIR or Chat(data_dir=…).") from exc
