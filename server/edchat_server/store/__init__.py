"""The server's database: the contract and its SQLite form."""

from .base import Accepted, Claim, Command, Fenced, Refused, Reject, Say, Stop, Store, StoreError, StoreLocked, Trimmed
from .sqlite import SqliteStore

__all__ = [
    "Accepted", "Claim", "Command", "Fenced", "Refused", "Reject", "Say", "SqliteStore", "Stop", "Store",
    "StoreError", "StoreLocked", "Trimmed",
]
