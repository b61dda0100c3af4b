"""Runs inside a transaction: who may carry one out, and what a tool call did."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from edchat_protocol.frames import HistoryItem, RunState
from edchat_server.sql import Connection

from . import trim
from .base import Claim, Fenced, Result

UNFINISHED = "('queued', 'running', 'cancelling')"
_LONGEST = 200
_history = msgspec.json.Decoder(tuple[HistoryItem, ...])


def recover(conn: Connection, held: Collection[str] = ()) -> int:
    """Queue again what a dead server left running, all but the runs `held`. A fence moves when its run is claimed."""
    marks = ", ".join("?" for _ in held)
    return conn.execute(
        f"UPDATE runs SET state = 'queued' WHERE state IN ('running', 'cancelling') AND id NOT IN ({marks})",  # noqa: S608
        (*held,),
    ).rowcount


def claim(conn: Connection) -> Claim | None:
    """Take the oldest queued run of a session that has none running."""
    row = conn.execute(
        """UPDATE runs SET state = CASE cancel WHEN 1 THEN 'cancelling' ELSE 'running' END,
             attempt = attempt + 1, tries = tries + 1, fence = fence + 1
           WHERE n = (SELECT r.n FROM runs r WHERE r.state = 'queued' AND NOT EXISTS(
               SELECT 1 FROM runs o WHERE o.session = r.session AND o.state IN ('running', 'cancelling'))
             ORDER BY r.n LIMIT 1)
           RETURNING id, session, input_id, content, history, attempt, tries, fence, cancel"""
    ).fetchone()
    return claim_of(row) if row else None


def claim_of(row: Sequence[Any]) -> Claim:
    """Return the claim in a row of `claim`'s columns."""
    run, session, input_id, content, history, attempt, tries, fence, cancel = row
    return Claim(
        run=run, session=session, input_id=input_id, content=content,
        history=_history.decode(history) if history else (),
        attempt=attempt, tries=tries, fence=fence, cancel=bool(cancel),
    )


def check_fence(conn: Connection, run: str, fence: int, row_lock: str = "") -> None:
    """Raise `Fenced` unless this attempt still owns the run. `row_lock`: a clause that keeps it so."""
    row = conn.execute(
        f"SELECT 1 FROM runs WHERE id = ? AND fence = ? AND state IN ('running', 'cancelling') {row_lock}",  # noqa: S608
        (run, fence),
    ).fetchone()
    if row is None:
        raise Fenced(run)


def close(conn: Connection, run: str, state: RunState, error: str | None, *, now: str, last_seq: int) -> None:
    """Write a run's last state, and the seq of its last event."""
    conn.execute("UPDATE runs SET state = ?, error = ?, finished = ? WHERE id = ?", (state, error, now, run))
    trim.note(conn, run, last_seq, now)


def cancel(conn: Connection, run: str) -> None:
    """Have a run that was begun cancelled by who carries it out, now or after the next claim."""
    conn.execute(
        "UPDATE runs SET cancel = 1, state = CASE state WHEN 'running' THEN 'cancelling' ELSE state END WHERE id = ?",
        (run,),
    )


def gets_on(conn: Connection, run: str) -> None:
    """Count tries anew: a step is done, so whatever ended earlier attempts does not stop this run."""
    conn.execute("UPDATE runs SET tries = 1 WHERE id = ? AND tries <> 1", (run,))


def park(conn: Connection, run: str) -> None:
    """Back into the queue. It does not count as a try: nothing went wrong."""
    conn.execute("UPDATE runs SET state = 'queued', tries = tries - 1 WHERE id = ?", (run,))


def call_key(run: str, call: str) -> str:
    """Return the name of a tool call among those of all runs. Its id is the provider's, and may be of any length."""
    return f"{run}:{call if len(call) <= _LONGEST else hashlib.sha256(call.encode()).hexdigest()}"


def effect(conn: Connection, run: str, call: str, work: Callable[[Connection], Result]) -> Result:
    """Return the recorded result of a tool call, or carry it out and record it."""
    key = call_key(run, call)
    row = conn.execute("SELECT result FROM tool_calls WHERE key = ?", (key,)).fetchone()
    if row is not None:
        return msgspec.json.decode(row[0], type=Result)
    result = work(conn)
    conn.execute(
        "INSERT INTO tool_calls(key, run, call, result) VALUES(?, ?, ?, ?)",
        (key, run, call, msgspec.json.encode(result)),
    )
    return result
