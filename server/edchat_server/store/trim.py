"""What leaves the log: tokens of texts that are complete or void, once their run is old enough.

A snapshot never has them, so that the fold of the log stays the same; only a cursor before them cannot be
served from the log any more.
"""

from edchat_server.sql import Connection


def note(conn: Connection, run: str, last_seq: int, now: str) -> None:
    """Remember that a run has ended, with `last_seq`, and may be trimmed some day."""
    conn.execute("UPDATE runs SET last_seq = ?, untrimmed = ? WHERE id = ?", (last_seq, now, run))


def hasten(conn: Connection, session: str, upto: int) -> None:
    """Let the runs of a session that ended at or before seq `upto` be trimmed at once."""
    conn.execute(
        "UPDATE runs SET untrimmed = '' WHERE session = ? AND last_seq <= ? AND untrimmed > ''", (session, upto)
    )


def trim(conn: Connection, before: str, rows: int) -> bool:
    """Delete tokens of the run that ended first; return whether there may be more to delete."""
    found = conn.execute(
        "SELECT id, session FROM runs WHERE untrimmed <= ? ORDER BY untrimmed LIMIT 1", (before,)
    ).fetchone()
    if found is None:
        return False
    run, session = found
    gone = conn.execute(
        """DELETE FROM events WHERE session = ? AND seq IN (
             SELECT e.seq FROM events e JOIN closed_mids c ON c.session = e.session AND c.mid = e.mid
             WHERE e.run = ? AND e.type = 'token' ORDER BY e.seq LIMIT ?) RETURNING seq""",
        (session, run, rows),
    ).fetchall()
    if gone:
        last = max(seq for (seq,) in gone)
        conn.execute(
            "UPDATE sessions SET trimmed_upto = ? WHERE id = ? AND trimmed_upto < ?", (last, session, last)
        )
    if len(gone) < rows:
        conn.execute("UPDATE runs SET untrimmed = NULL WHERE id = ?", (run,))
    return True
