"""The event log inside a transaction: functions of a connection, without commit."""

from collections.abc import Sequence
from sqlite3 import Connection

import msgspec

from edchat_protocol.codec import decode_down, encode
from edchat_protocol.frames import (
    ErrorFrame,
    Logged,
    MessageFrame,
    RunBrief,
    StatusFrame,
    Token,
    ToolExecution,
)

from .base import Row, Snap

_LOGGED = (StatusFrame, Token, ToolExecution, MessageFrame, ErrorFrame)


def ensure_session(conn: Connection, session: str, *, epoch: str, now: str) -> tuple[str, int]:
    """Return the session's epoch and last seq; begin it with `epoch` if it is new."""
    conn.execute(
        "INSERT INTO sessions(id, epoch, created) VALUES(?, ?, ?) ON CONFLICT DO NOTHING",
        (session, epoch, now),
    )
    row = conn.execute("SELECT epoch, last_seq FROM sessions WHERE id = ?", (session,)).fetchone()
    return str(row[0]), int(row[1])


def append(conn: Connection, session: str, frames: Sequence[Logged]) -> int:
    """Give the frames the next seqs and store them; return the last seq."""
    (last,) = conn.execute(
        "UPDATE sessions SET last_seq = last_seq + ? WHERE id = ? RETURNING last_seq", (len(frames), session)
    ).fetchone()
    first = int(last) - len(frames) + 1
    rows = []
    closed: list[tuple[str, str]] = []
    for seq, frame in enumerate(frames, start=first):
        body = encode(msgspec.structs.replace(frame, seq=seq))
        mid = frame.mid if isinstance(frame, Token | MessageFrame) else None
        rows.append((session, seq, frame.run, frame.__struct_config__.tag, mid, body))
        if isinstance(frame, MessageFrame) and frame.mid:
            closed.append((session, frame.mid))
        elif isinstance(frame, StatusFrame):
            closed += [(session, void) for void in frame.data.supersedes]
    conn.executemany("INSERT INTO events(session, seq, run, type, mid, body) VALUES(?, ?, ?, ?, ?, ?)", rows)
    conn.executemany("INSERT INTO closed_mids(session, mid) VALUES(?, ?) ON CONFLICT DO NOTHING", closed)
    return int(last)


def read_range(conn: Connection, session: str, after: int, limit: int) -> list[Row]:
    """Return at most `limit` events behind seq `after`."""
    found = conn.execute(
        "SELECT seq, body FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?",
        (session, after, limit),
    )
    return [Row(seq, body) for seq, body in found]


def snapshot(conn: Connection, session: str) -> Snap:
    """Return the log without the tokens of messages that are complete or void."""
    epoch, head = conn.execute("SELECT epoch, last_seq FROM sessions WHERE id = ?", (session,)).fetchone()
    found = conn.execute(
        """SELECT body FROM events e WHERE session = ? AND NOT (type = 'token' AND EXISTS(
             SELECT 1 FROM closed_mids c WHERE c.session = e.session AND c.mid = e.mid)) ORDER BY seq""",
        (session,),
    )
    return Snap(epoch=epoch, head=head, frames=[msgspec.Raw(body) for (body,) in found])


def run_frames(conn: Connection, run: str) -> list[Logged]:
    """Return one run's events, in order."""
    found = conn.execute("SELECT body FROM events WHERE run = ? ORDER BY seq", (run,))
    frames = (decode_down(body) for (body,) in found)
    return [frame for frame in frames if isinstance(frame, _LOGGED)]


def briefs(conn: Connection, session: str) -> tuple[RunBrief, ...]:
    """Return the session's runs that are not over, oldest first."""
    found = conn.execute(
        """SELECT id, state, attempt FROM runs
           WHERE session = ? AND state IN ('queued', 'running', 'cancelling') ORDER BY n""",
        (session,),
    )
    return tuple(RunBrief(run=run, state=state, attempt=max(1, attempt)) for run, state, attempt in found)
