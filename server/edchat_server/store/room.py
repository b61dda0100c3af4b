"""Whether there is room for one more message, on the disk and under the quota."""

import shutil
from pathlib import Path

from edchat_server.sql import Connection

from .base import Quota


def short_of_disk(path: Path, quota: Quota) -> str | None:
    """Say, for people, that the disk is nearly full; None: it is not."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return None  # a folder that is gone shows at the next write
    if free >= quota.reserve:
        return None
    return f"the server's disk is nearly full: {_mib(free)} are free, new messages need {_mib(quota.reserve)}"


def database_full(conn: Connection, quota: Quota) -> str | None:
    """Say, for people, that an SQLite database has reached its quota; None: it has not."""
    if quota.bytes is None:
        return None
    pages, unused, size = (int(conn.execute(f"PRAGMA {name}").fetchone()[0])
                           for name in ("page_count", "freelist_count", "page_size"))
    used = (pages - unused) * size
    if used < quota.bytes:
        return None
    return over(used, quota.bytes)


def over(used: int, limit: int) -> str:
    """Say, for people, that a database has reached its limit."""
    return f"the server's database is full: {_mib(used)} of {_mib(limit)} are used (EDCHAT_MAX_DATABASE_MB)"


def session_full(head: int, quota: Quota) -> str | None:
    """Say, for people, that a session whose last seq is `head` has reached its quota; None: it has not."""
    if head < quota.events:
        return None
    return f"this conversation has {head} events, which is all that the server keeps; begin a new one"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
