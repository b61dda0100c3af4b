"""The accept transaction: a command becomes exactly one outcome, however often it is offered."""

from dataclasses import dataclass

import msgspec

from edchat_protocol.frames import Logged, MessageData, MessageFrame, RunState, StatusData, StatusFrame
from edchat_server.sql import Connection

from . import log, runs
from .base import Accepted, Command, Refused, Reject, Say, Stop


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the transaction may not find out by itself: the time, a fresh id for a run, and why there is no room."""

    now: str
    run: str
    full: str | None = None


def register(conn: Connection, session: str, client: str, connection: int) -> tuple[int, int]:
    """Note a client's connection; return its last accepted csn and its newest connection's number."""
    row = conn.execute(
        """INSERT INTO clients(session, client, conn) VALUES(?1, ?2, ?3)
           ON CONFLICT(session, client) DO UPDATE SET
             conn = CASE WHEN excluded.conn > clients.conn THEN excluded.conn ELSE clients.conn END
           RETURNING last_csn, conn""",
        (session, client, connection),
    ).fetchone()
    return int(row[0]), int(row[1])


def accept(conn: Connection, command: Command, moment: Moment) -> Accepted | Refused:
    """Take the command, or say what it already became, or why it cannot be taken."""
    last = _last_csn(conn, command)
    if command.csn is not None:
        if command.csn > last + 1:
            due = last + 1
            return Refused(code="gap", message=f"csn {due} is due", csn=last, final=False, expect=due)
        if command.csn <= last:
            return _seen(conn, command, last)
    return _fresh(conn, command, moment, last)


def _last_csn(conn: Connection, command: Command) -> int:
    row = conn.execute(
        "SELECT last_csn FROM clients WHERE session = ? AND client = ?", (command.session, command.client)
    ).fetchone()
    return int(row[0]) if row else 0


def _seen(conn: Connection, command: Command, last: int) -> Accepted | Refused:
    row = conn.execute(
        """SELECT fingerprint, outcome, run, code, message FROM inbox
           WHERE session = ? AND client = ? AND csn = ?""",
        (command.session, command.client, command.csn),
    ).fetchone()
    if row is None or row[0] != command.fingerprint:
        return _conflict(command, last)
    _, outcome, run, code, message = row
    if outcome == "refused":
        return Refused(code=code, message=message, csn=last, final=True)
    return Accepted(run=run, csn=last, duplicate=True)


def _fresh(conn: Connection, command: Command, moment: Moment, last: int) -> Accepted | Refused:
    known = conn.execute(
        "SELECT fingerprint, run FROM inbox WHERE session = ? AND id = ? AND outcome = 'accepted'",
        (command.session, command.id),
    ).fetchone()
    csn = last if command.csn is None else command.csn
    outcome: Accepted | Refused
    if isinstance(command.work, Reject):
        outcome = Refused(code=command.work.code, message=command.work.message, csn=csn, final=True)
    elif known is None and moment.full is not None and isinstance(command.work, Say):
        return Refused(code="storage", message=moment.full, csn=last, final=False)
    elif known is None:
        run = _say(conn, command, command.work, moment) if isinstance(command.work, Say) else _stop(
            conn, command, command.work, moment
        )
        outcome = Accepted(run=run, csn=csn)
    elif known[0] == command.fingerprint:
        outcome = Accepted(run=known[1], csn=csn, duplicate=True)
    else:
        outcome = _conflict(command, csn)
    _record(conn, command, outcome)
    return outcome


def _conflict(command: Command, csn: int) -> Refused:
    return Refused(
        code="conflict", message=f"{command.id} was already used for something else", csn=csn, final=True
    )


def _record(conn: Connection, command: Command, outcome: Accepted | Refused) -> None:
    if isinstance(outcome, Refused):
        if command.csn is None:
            return
        row: tuple[str | None, ...] = ("refused", None, outcome.code, outcome.message)
    else:
        if outcome.duplicate and command.csn is None:
            return
        row = ("duplicate" if outcome.duplicate else "accepted", outcome.run, None, None)
    conn.execute(
        """INSERT INTO inbox(session, client, csn, id, fingerprint, outcome, run, code, message)
           VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (command.session, command.client, command.csn, command.id, command.fingerprint, *row),
    )
    if command.csn is not None:
        conn.execute(
            """INSERT INTO clients(session, client, last_csn) VALUES(?, ?, ?)
               ON CONFLICT(session, client) DO UPDATE SET last_csn = excluded.last_csn""",
            (command.session, command.client, command.csn),
        )


def _say(conn: Connection, command: Command, say: Say, moment: Moment) -> str:
    waiting = bool(log.briefs(conn, command.session))
    conn.execute(
        """INSERT INTO runs(id, session, input_id, content, history, state, created)
           VALUES(?, ?, ?, ?, ?, 'queued', ?)""",
        (
            moment.run, command.session, command.id, say.content,
            msgspec.json.encode(say.history) if say.history else None, moment.now,
        ),
    )
    frames: list[Logged] = [
        MessageFrame(
            run=moment.run, mid=command.id, timestamp=moment.now,
            data=MessageData(role="user", content=say.content, author=say.author),
        )
    ]
    if waiting:
        frames.append(StatusFrame(run=moment.run, timestamp=moment.now, data=StatusData(status="queued")))
    log.append(conn, command.session, frames)
    return moment.run


def _stop(conn: Connection, command: Command, stop: Stop, moment: Moment) -> str | None:
    found = conn.execute(
        f"SELECT id, attempt FROM runs WHERE session = ? AND state IN {runs.UNFINISHED} AND cancel = 0 ORDER BY n",  # noqa: S608
        (command.session,),
    ).fetchall()
    found = [(run, attempt) for run, attempt in found if stop.run in (None, run)]
    for run, attempt in found:
        # One that was begun may have done something that is not shown yet, even if it waits again now.
        after: RunState = "cancelling" if attempt else "cancelled"
        last = log.append(conn, command.session, [_status(run, after, moment.now, stop.by)])
        if attempt:
            runs.cancel(conn, run)
        else:
            runs.close(conn, run, after, None, now=moment.now, last_seq=last)
    return str(found[0][0]) if found else stop.run


def _status(run: str, status: str, now: str, by: str | None) -> StatusFrame:
    return StatusFrame(run=run, timestamp=now, data=StatusData(status=status, by=by))


