"""What a run is about to do outside the database: written down before, settled after."""

import msgspec

from edchat_server.sql import Connection

from .base import Intent, Result
from .runs import call_key

ADVICE = "Look there first; if it is missing, ask for it anew. It is not tried again by itself."
"""What a person can do about an effect of which nobody knows."""


def intend(conn: Connection, run: str, call: str, unknown: str) -> Intent:
    """Note that tool call `call` is about to act; return what is known of it from before."""
    key = call_key(run, call)
    done = conn.execute("SELECT result FROM tool_calls WHERE key = ?", (key,)).fetchone()
    if done is not None:
        return Intent(result=msgspec.json.decode(done[0], type=Result))
    known = conn.execute("SELECT doubt FROM intents WHERE key = ?", (key,)).fetchone()
    if known is not None:
        return Intent(again=True, doubt=bool(known[0]))
    conn.execute(
        "INSERT INTO intents(key, run, call, unknown) VALUES(?, ?, ?, ?)", (key, run, call, unknown)
    )
    return Intent()


def settle(conn: Connection, run: str, call: str, result: Result) -> None:
    """Record what the call gave."""
    key = call_key(run, call)
    conn.execute(
        "INSERT INTO tool_calls(key, run, call, result) VALUES(?, ?, ?, ?)",
        (key, run, call, msgspec.json.encode(result)),
    )
    withdraw(conn, run, call)


def withdraw(conn: Connection, run: str, call: str) -> None:
    """Forget the intent: nothing was done."""
    conn.execute("DELETE FROM intents WHERE key = ?", (call_key(run, call),))


def doubt(conn: Connection, run: str, call: str) -> None:
    """Note that nobody knows whether the call had its effect."""
    conn.execute("UPDATE intents SET doubt = 1 WHERE key = ?", (call_key(run, call),))


def intents_of(conn: Connection, run: str) -> dict[str, tuple[str, bool]]:
    """Return the run's calls that are not settled: the sentence for people, and whether doubt is final."""
    found = conn.execute("SELECT call, unknown, doubt FROM intents WHERE run = ? ORDER BY key", (run,))
    return {call: (unknown, bool(doubted)) for call, unknown, doubted in found}
