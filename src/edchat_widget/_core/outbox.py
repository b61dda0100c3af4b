"""Commands that the server has not acknowledged, in order. It refuses at its limit and drops nothing."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from edchat_widget.errors import OutboxFull

RowState = Literal["queued", "written", "accepted", "refused", "in_doubt"]
LIMIT = 100
PENDING: frozenset[RowState] = frozenset({"queued", "written"})


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One command. `csn` is its place in the order, `id` its own name, `created_at` ISO 8601.

    `queued`: never written to a socket. `written`: perhaps received by the server `store`. `in_doubt`:
    written to a server that will not say. `refused`: the server said no; `detail` says why.
    """

    csn: int
    id: str
    kind: Literal["message", "cancel"]
    text: str = ""
    run: str | None = None
    state: RowState = "queued"
    store: str | None = None
    created_at: str | None = None
    detail: str | None = None


class OutboxHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of the outbox as a whole.

    `client` is its name at the server, `conn` the number of its last connection, `last_csn` the last csn
    given out, `acked` the last one that the server confirmed, `store` the server's store that all this is
    about (None: none met yet).
    """

    client: str
    conn: int = 0
    last_csn: int = 0
    acked: int = 0
    store: str | None = None


class Outbox:
    """Rows in the order of their csn. Whoever changes it stores `changed()` and `head` afterwards."""

    def __init__(self, head: OutboxHead, rows: Iterable[Row] = (), *, limit: int = LIMIT) -> None:
        self.head = head
        self.limit = limit
        self._rows = {r.csn: r for r in sorted(rows, key=lambda r: r.csn)}
        self._changed: set[int] = set()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in order."""
        return tuple(self._rows.values())

    @property
    def pending(self) -> tuple[Row, ...]:
        """The rows that still have to be delivered, in order."""
        return tuple(r for r in self._rows.values() if r.state in PENDING)

    def find(self, command_id: str) -> Row | None:
        """Return the row with this id, or None."""
        return next((r for r in self._rows.values() if r.id == command_id), None)

    def draft(self, row: Row) -> Row:
        """Return the row with the csn that it will have. Nothing changes before `add`.

        Raises:
            OutboxFull: the limit of undelivered commands is reached.
        """
        waiting = len(self.pending)
        # A stop must get through where messages wait, so it does not count against their limit.
        if row.kind == "message" and waiting >= self.limit:
            raise OutboxFull(
                f"{waiting} messages already wait for the server; this one was not taken, none was dropped.",
                hint="Send it again when the connection is back.",
            )
        return msgspec.structs.replace(row, csn=self.head.last_csn + 1, state="queued")

    def draft_all(self, rows: Iterable[Row]) -> list[Row]:
        """Return another outbox's rows with the csns that they will have here, without those that are here.

        The limit does not hold for them: they were taken already.
        """
        fresh = [r for r in rows if self.find(r.id) is None]
        return [
            msgspec.structs.replace(r, csn=n, state="queued", store=None, detail=None)
            for n, r in enumerate(fresh, self.head.last_csn + 1)
        ]

    def add(self, row: Row) -> None:
        """Take in a drafted row."""
        self._rows[row.csn] = row
        self.head = msgspec.structs.replace(self.head, last_csn=row.csn)

    def park(self, row: Row) -> Row:
        """Keep a row that will not be sent by itself, such as another kernel's that is in doubt.

        It is kept under a number below 1, out of the server's count.
        """
        csn = min(self._rows, default=1)
        state: RowState = "refused" if row.state == "refused" else "in_doubt"
        row = msgspec.structs.replace(row, csn=min(csn, 1) - 1, state=state)
        self._rows = {row.csn: row} | self._rows
        return row

    def written(self, csn: int) -> Row:
        """Note that a row is about to be written to the current store's socket."""
        return self._set(self._rows[csn], state="written", store=self.head.store)

    def accept(self, upto: int) -> list[Row]:
        """Take out all rows up to this csn, which the server has; return them."""
        done = [r for r in self.pending if r.csn <= upto]
        for row in done:
            self._remove(row)
        if upto > self.head.acked:
            self.head = msgspec.structs.replace(self.head, acked=upto)
        return [msgspec.structs.replace(r, state="accepted") for r in done]

    def accept_id(self, command_id: str) -> Row | None:
        """Take out the row with this id, which turned out to be at the server."""
        row = self.find(command_id)
        if row is None:
            return None
        self._remove(row)
        return msgspec.structs.replace(row, state="accepted")

    def refuse(self, csn: int, detail: str) -> Row | None:
        """Note that the server will never take this row."""
        row = self._rows.get(csn)
        return self._set(row, state="refused", detail=detail) if row else None

    def doubt(self, csn: int) -> Row:
        """Note that nobody can say whether the server has this row."""
        return self._set(self._rows[csn], state="in_doubt")

    def withdraw(self, command_id: str) -> Row | None:
        """Take back a row that was never written; None if it is too late or unknown.

        The rows behind it move up, since the csn must stay without gaps.
        """
        row = self.find(command_id)
        if row is None or row.state in ("written", "accepted"):
            return None
        self._remove(row)
        if row.state == "queued":
            later = [r for r in self._rows.values() if r.csn > row.csn]
            for other in later:
                self._remove(other)
            for other in later:
                moved = msgspec.structs.replace(other, csn=other.csn - 1)
                self._rows[moved.csn] = moved
                self._changed.add(moved.csn)
            self.head = msgspec.structs.replace(self.head, last_csn=self.head.last_csn - 1)
        return row

    def rebase(self, client: str, store: str | None, detail: str = "") -> list[Row]:
        """Begin again under a new name, for a store that does not know this outbox; return what is in doubt.

        Rows written to another store stay behind as in doubt: two stores cannot agree on what happened
        once. All others get new numbers from 1.
        """
        ahead = [r for r in self.pending if r.state == "queued" or r.store == store]
        return self._begin_again(client, store, ahead, detail)

    def divide(self, client: str, detail: str) -> list[Row]:
        """Leave this store for another, which gets all that was never written; return what is in doubt.

        All that was written stays, and a new name is used when this store is met again.
        """
        return self._begin_again(client, self.head.store, [], detail)

    def _begin_again(self, client: str, store: str | None, ahead: list[Row], detail: str) -> list[Row]:
        doubtful = [
            msgspec.structs.replace(r, state="in_doubt", detail=detail)
            for r in self.pending if r.state == "written" and r not in ahead and r.kind == "message"
        ]
        aside = [r for r in self._rows.values() if r.state not in PENDING] + doubtful
        self._changed.update(self._rows)
        # What will not be sent again is kept under numbers below 1, out of the server's count.
        lowest = -len(aside)
        parked = {lowest + n: msgspec.structs.replace(r, csn=lowest + n) for n, r in enumerate(aside)}
        self._rows = parked | {n: msgspec.structs.replace(r, csn=n) for n, r in enumerate(ahead, 1)}
        self._changed.update(self._rows)
        self.head = OutboxHead(client=client, conn=self.head.conn, last_csn=len(ahead), store=store)
        return doubtful

    def changed(self) -> tuple[dict[int, Row], list[int]]:
        """Return (rows to store, csns to delete) since the last call."""
        changed, self._changed = self._changed, set()
        keep = {n: self._rows[n] for n in sorted(changed) if n in self._rows}
        return keep, sorted(changed - keep.keys())

    def _set(self, row: Row, **values: object) -> Row:
        row = msgspec.structs.replace(row, **values)
        self._rows[row.csn] = row
        self._changed.add(row.csn)
        return row

    def _remove(self, row: Row) -> None:
        del self._rows[row.csn]
        self._changed.add(row.csn)
