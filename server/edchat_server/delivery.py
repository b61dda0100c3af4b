"""How a log reaches a connection: read from the cursor, in order, for as long as the connection lives."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from edchat_protocol.codec import encode
from edchat_protocol.frames import Events, EventsData, Snapshot, SnapshotData

from .hub import Listener
from .store import Store
from .store.base import Row, Snap

T = TypeVar("T")

PAGE_BYTES = 131_072
BATCH = 200


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One frame as JSON. `seq`: what the client's cursor is after it; None: unchanged."""

    body: bytes
    seq: int | None


async def follow(
    store: Store, listener: Listener, session: str, cursor: int
) -> AsyncGenerator[list[Row], None]:
    """Yield the events behind `cursor` as they come; an empty list at a ring and once a second meanwhile."""
    while True:
        rows = await store.read_range(session, cursor, BATCH)
        if rows:
            cursor = rows[-1].seq
        else:
            await listener.wait()
        yield rows


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


def snapshot(snap: Snap) -> Iterator[Outgoing]:
    """Pack a snapshot into pages; only the last one moves the cursor."""
    pages = list(_pages(snap.frames, _size)) or [[]]
    for number, page in enumerate(pages, start=1):
        last = number == len(pages)
        data = SnapshotData(epoch=snap.epoch, head=snap.head, page=number, last_page=last, frames=page)
        yield Outgoing(encode(Snapshot(data=data)), snap.head if last else None)


def _size(frame: msgspec.Raw) -> int:
    return len(bytes(frame))


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
