"""The server's database: the contract and its forms."""

from .base import (
    Accepted,
    Claim,
    Command,
    Fenced,
    Quota,
    Refused,
    Reject,
    Say,
    Stop,
    Store,
    StoreError,
    StoreLocked,
    StoreUnavailable,
    Trimmed,
)
from .sql_store import iso, utc_now
from .sqlite import SqliteStore

__all__ = [
    "Accepted", "Claim", "Command", "Fenced", "Quota", "Refused", "Reject", "Say", "SqliteStore", "Stop", "Store",
    "StoreError", "StoreLocked", "StoreUnavailable", "Trimmed", "iso", "utc_now",
]
