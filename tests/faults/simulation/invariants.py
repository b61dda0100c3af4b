"""What must hold when all is over. The letters are those of docs/reliability.md."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edchat_protocol.codec import decode_down
from edchat_protocol.frames import Logged
from edchat_widget._core.transcript import Transcript

from .client import SESSION, Broken, Said, ShadowLog, SimClient

FINAL = {"completed", "failed", "cancelled", "uncertain"}
SPINS = ((10, 3.0), (16, 10.0))
"""More connections than this within so many seconds are too many."""


def check(
    database: Path, clients: Sequence[SimClient], shadow: ShadowLog, *,
    forgiven: Collection[str] = (), forgotten: Collection[str] = (),
) -> None:
    """Raise `Broken` if something was lost, doubled, out of order or shown differently.

    `forgiven`: messages that the server had, and that a backup that was put back does not have. `forgotten`:
    those, and what was said once more since.
    """
    said = {m.id: m for c in clients for m in c.said.values()}
    conn = sqlite3.connect(database)
    try:
        runs = _runs(conn)
        _each_message_once(conn, said, runs, clients, forgiven)
        _each_story_once(conn, said, runs)
        _order(conn, said, forgotten, clients)
        events = _gapless(conn, shadow)
        _attempts_in_order(events)
        _one_end(events, runs)
        _views_agree(conn, clients, forgotten)
    finally:
        conn.close()


def no_spin(clients: Iterable[SimClient]) -> None:
    """I8: a client that meets failure after failure waits longer and longer."""
    for client in clients:
        for most, seconds in SPINS:
            for first, last in zip(client.openings, client.openings[most:], strict=False):
                if last - first < seconds and not any(first <= t <= last for t in client.pressed):
                    raise Broken(f"I8: {client.name} connected {most + 1} times within {last - first:.1f} s")


def _runs(conn: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    found = {i: (run, state) for run, i, state in conn.execute("SELECT id, input_id, state FROM runs")}
    for message, (run, state) in found.items():
        if state not in FINAL:
            raise Broken(f"I7: run {run} of {message} is {state}")
    return found


def _each_message_once(
    conn: sqlite3.Connection, said: dict[str, Said], runs: dict[str, Any], clients: Sequence[SimClient],
    forgiven: Collection[str],
) -> None:
    accepted = Counter(i for (i,) in conn.execute(
        "SELECT id FROM inbox WHERE outcome = 'accepted' AND session = ?", (SESSION,)))
    asked = Counter(i for (i,) in conn.execute("SELECT input_id FROM runs"))
    for message, times in (accepted | asked).items():
        if times > 1 or asked[message] > 1:
            raise Broken(f"I1: {message} was accepted {times} and run {asked[message]} times")
    for message in said.values():
        if message.id not in runs and not message.taken_back and message.id not in forgiven:
            raise Broken(f"I2: {message.id} of {message.client} was lost")
    for client in clients:
        driver = client.running
        assert driver is not None
        left = [row for row in driver._client.outbox.rows if row.state in ("queued", "written")]
        if left:
            raise Broken(f"I7: {client.name} still has {[(r.id, r.state) for r in left]}")
        doubtful = [row.id for row in driver._client.outbox.rows if row.state in ("in_doubt", "refused")]
        if doubtful:
            raise Broken(f"I2: {client.name} does not know what became of {doubtful}")


def _each_story_once(conn: sqlite3.Connection, said: dict[str, Said], runs: dict[str, tuple[str, str]]) -> None:
    stories = Counter(title for (title,) in conn.execute("SELECT json_extract(body, '$.title') FROM stories"))
    for message in said.values():
        whole = message.id in runs and runs[message.id][1] == "completed"
        for title in message.titles:
            times = stories.pop(title, 0)
            if times > 1:
                raise Broken(f"I1: {times} stories {title!r} from {message.id}")
            if whole and times == 0:
                raise Broken(f"I1: no story {title!r}, and {message.id} is completed")
    if stories:
        raise Broken(f"I1: stories that nobody asked for: {dict(stories)}")
    for (key, times) in conn.execute("SELECT run || call, count(*) FROM tool_calls GROUP BY 1 HAVING count(*) > 1"):
        raise Broken(f"I1: {times} records of tool call {key}")


def _order(
    conn: sqlite3.Connection, said: dict[str, Said], forgotten: Collection[str], clients: Sequence[SimClient]
) -> None:
    """Messages of one client become runs in the order in which it took them.

    Of two kernels on one machine, one takes over the outbox of the other that ended, whose browser offers it once
    more to a third: the order is that of each outbox then, not that of the person.
    """
    folders = Counter(c.settings.data_dir for c in clients)
    alone = {c.name for c in clients if folders[c.settings.data_dir] == 1}
    order = [i for (i,) in conn.execute("SELECT input_id FROM runs ORDER BY n")]
    for name in {m.client for m in said.values()} & alone:
        mine = [i for i in order if i in said and said[i].client == name and i not in forgotten]
        wanted = [i for i, m in said.items() if m.client == name and i in mine]
        if mine != wanted:
            raise Broken(f"I4: {name} said {wanted}, and the server took {mine}")


def _gapless(conn: sqlite3.Connection, shadow: ShadowLog) -> list[dict[str, Any]]:
    (epoch, last, trimmed) = conn.execute(
        "SELECT epoch, last_seq, trimmed_upto FROM sessions WHERE id = ?", (SESSION,)).fetchone()
    rows = conn.execute("SELECT seq, body FROM events WHERE session = ? ORDER BY seq", (SESSION,)).fetchall()
    if [seq for seq, _ in rows if seq > trimmed] != list(range(trimmed + 1, last + 1)):
        raise Broken("I3: the log has a gap or an event twice")
    stored = {seq: bytes(body) for seq, body in rows}
    for shown_epoch, seq in shadow.seen:
        if shown_epoch == epoch and seq not in stored and not (seq <= trimmed and (epoch, seq) in shadow.tokens):
            raise Broken(f"I3: event {epoch}:{seq} was shown and is not in the log")
    for seq, body in stored.items():
        if (epoch, seq) in shadow.seen:
            shadow.note(epoch, body)
    return [msgspec.json.decode(body) for body in stored.values()]


def _attempts_in_order(events: Sequence[dict[str, Any]]) -> None:
    """I5: once a later attempt has written, an earlier one does not."""
    newest: dict[str, int] = {}
    for event in events:
        run, attempt = event.get("run"), event.get("attempt")
        if run and attempt:
            if attempt < newest.get(run, 0):
                raise Broken(f"I5: attempt {attempt} of {run} wrote after attempt {newest[run]}")
            newest[run] = attempt


def _one_end(events: Sequence[dict[str, Any]], runs: dict[str, tuple[str, str]]) -> None:
    ends = Counter(e["run"] for e in events if e["type"] == "status" and e["data"]["status"] in FINAL)
    for run, _ in runs.values():
        if ends[run] != 1:
            raise Broken(f"I4: run {run} has {ends[run]} ends in the log")
    answers = Counter(
        (e["run"], e["mid"]) for e in events if e["type"] == "message" and e["data"].get("role") != "user")
    for (run, mid), times in answers.items():
        if times > 1:
            raise Broken(f"I4: message {mid} of {run} is {times} times in the log")


def _views_agree(conn: sqlite3.Connection, clients: Sequence[SimClient], forgotten: Collection[str]) -> None:
    wanted = _folded(
        body for (body,) in conn.execute("SELECT body FROM events WHERE session = ? ORDER BY seq", (SESSION,)))
    given_up = {m.id for c in clients for m in c.said.values() if m.taken_back} | set(forgotten)
    for client in clients:
        driver = client.running
        assert driver is not None
        # What never came into the log, and will not, is shown where it was typed, or by the kernel that took over
        # the outbox of the one where it was.
        known = {message.id for message in wanted}
        shown = tuple(
            m for m in driver.snapshot().view.messages
            if m.id in known or m.state != "failed" or m.id not in given_up)
        if shown != wanted:
            raise Broken(f"I4: {client.name} shows something else than the log: {_difference(shown, wanted)}")


def _folded(bodies: Iterable[bytes]) -> Any:
    transcript = Transcript()
    for body in bodies:
        frame = decode_down(body)
        if isinstance(frame, Logged):
            transcript.fold(frame)
    return transcript.messages


def _difference(left: Sequence[Any], right: Sequence[Any]) -> str:
    for one, other in zip(left, right, strict=False):
        if one != other:
            return f"{str(one)[:300]} / {str(other)[:300]}"
    return f"{len(left)} and {len(right)} messages"
