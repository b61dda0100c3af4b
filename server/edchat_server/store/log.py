"""The event log inside a transaction: functions of a connection, without commit."""

from collections.abc import Sequence

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
from edchat_server.sql import Connection

from .base import PAGE_BYTES, Page, Row, Trimmed

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
    closed: list[tuple[str, str, int]] = []
    for seq, frame in enumerate(frames, start=first):
        body = encode(msgspec.structs.replace(frame, seq=seq))
        mid = frame.mid if isinstance(frame, Token | MessageFrame) else None
        rows.append((session, seq, frame.run, frame.__struct_config__.tag, mid, body))
        if isinstance(frame, MessageFrame) and frame.mid:
            closed.append((session, frame.mid, seq))
        elif isinstance(frame, StatusFrame):
            closed += [(session, void, seq) for void in frame.data.supersedes]
    conn.executemany("INSERT INTO events(session, seq, run, type, mid, body) VALUES(?, ?, ?, ?, ?, ?)", rows)
    conn.executemany("INSERT INTO closed_mids(session, mid, seq) VALUES(?, ?, ?) ON CONFLICT DO NOTHING", closed)
    return int(last)


def read_range(conn: Connection, session: str, after: int, limit: int) -> list[Row]:
    """Return at most `limit` events behind seq `after`, and of large ones fewer: about `PAGE_BYTES`."""
    found = conn.execute(
        "SELECT seq, body FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?",
        (session, after, limit),
    )
    rows: list[Row] = []
    room = PAGE_BYTES
    for seq, body in found:
        rows.append(Row(seq, body))
        room -= len(body)
        if room <= 0:
            break
    return rows


def snapshot(conn: Connection, session: str, head: int, after: int, size: int) -> Page:
    """Return events up to `head` that nothing up to `head` made void, from behind `after`."""
    if trimmed_upto(conn, session) > head:
        raise Trimmed(session)
    found = conn.execute(
        """SELECT e.seq, e.body FROM events e
           LEFT JOIN closed_mids c ON e.type = 'token' AND c.session = e.session AND c.mid = e.mid AND c.seq <= ?3
           WHERE e.session = ?1 AND e.seq > ?2 AND e.seq <= ?3 AND c.mid IS NULL ORDER BY e.seq""",
        (session, after, head),
    )
    frames: list[msgspec.Raw] = []
    for seq, body in found:
        if frames and size < len(body):
            return Page(frames=frames, after=after)
        frames.append(msgspec.Raw(body))
        size -= len(body)
        after = seq
    return Page(frames=frames, after=None)


def trimmed_upto(conn: Connection, session: str) -> int:
    """Return up to which seq the log may have holes."""
    row = conn.execute("SELECT trimmed_upto FROM sessions WHERE id = ?", (session,)).fetchone()
    return int(row[0]) if row else 0


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
