"""How a log reaches a connection: read from the cursor, in order, for as long as the connection lives."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from edchat_protocol.codec import encode
from edchat_protocol.frames import Events, EventsData, Snapshot, SnapshotData

from .hub import Listener
from .store import Store, Trimmed
from .store.base import PAGE_BYTES, Row

T = TypeVar("T")

BATCH = 200
LOOK_SECONDS = 15.0
"""A bell that was missed delays an event by this, and loses none."""

MAX_LAG = 5000
"""Who is further behind has a snapshot sooner than all these events."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One frame as JSON. `seq`: what the client's cursor is after it; None: unchanged."""

    body: bytes
    seq: int | None


async def read(store: Store, session: str, cursor: int, *, holes: bool = False) -> list[Row]:
    """Return the next events behind `cursor`. Raises `Trimmed` where the log has a hole, unless `holes` will do."""
    rows = await store.read_range(session, cursor, BATCH)
    _check(rows, session, cursor, holes=holes)
    return rows


def _check(rows: Sequence[Row], session: str, cursor: int, *, holes: bool) -> None:
    if rows and not holes and rows[-1].seq - cursor != len(rows):
        raise Trimmed(session)


async def follow(
    store: Store, listener: Listener, session: str, cursor: int, *, holes: bool = False,
    look_every: float = LOOK_SECONDS,
) -> AsyncGenerator[list[Row], None]:
    """Yield the events behind `cursor` as they come; an empty list when there are none, then every few seconds.

    Raises `Trimmed` where the log has a hole, and when it grows so much faster than the reader reads that
    a snapshot is the shorter way; unless the reader takes `holes`.
    """
    while True:
        rows = await listener.share(cursor, partial(store.read_range, session, cursor, BATCH))
        _check(rows, session, cursor, holes=holes)
        more = _is_full(rows)
        if rows:
            cursor = rows[-1].seq
        if more and not holes and (await store.head(session))[1] - cursor > MAX_LAG:
            raise Trimmed(session)
        yield rows
        if not more:
            await listener.wait(look_every)


def _is_full(rows: Sequence[Row]) -> bool:
    return len(rows) == BATCH or sum(len(row.body) for row in rows) >= PAGE_BYTES


def events(rows: Sequence[Row]) -> Iterator[Outgoing]:
    """Pack events: one alone as it is, several into `events` frames of at most `PAGE_BYTES`."""
    for page in _pages(rows, lambda row: len(row.body)):
        if len(page) == 1:
            yield Outgoing(page[0].body, page[0].seq)
        else:
            data = EventsData(
                first=page[0].seq, last=page[-1].seq, frames=[msgspec.Raw(row.body) for row in page]
            )
            yield Outgoing(encode(Events(data=data)), page[-1].seq)


async def snapshot(store: Store, session: str) -> AsyncGenerator[Outgoing, None]:
    """Yield the session as it is now, page by page; only the last one moves the cursor."""
    epoch, head = await store.head(session)
    after: int | None = 0
    number = 0
    while after is not None:
        page = await store.snapshot(session, head, after)
        number, after = number + 1, page.after
        last = after is None
        data = SnapshotData(epoch=epoch, head=head, page=number, last_page=last, frames=page.frames)
        yield Outgoing(encode(Snapshot(data=data)), head if last else None)


def _pages(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    page: list[T] = []
    room = PAGE_BYTES
    for item in items:
        if page and size(item) > room:
            yield page
            page, room = [], PAGE_BYTES
        page.append(item)
        room -= size(item)
    if page:
        yield page
