"""Server-sent events from bytes, as the HTML standard defines them (9.2.6), in bounded memory."""

import re

LIMIT = 16 * 1024 * 1024
"""Bytes of one event: a batch of events of ours, far above what a sane server sends."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """One event has more bytes than are taken."""


class EventParser:
    """Takes the stream in pieces of any size; gives the data of each event that is complete.

    Fields other than ``data`` are passed over: position and type are in our frames themselves.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()  # of a line whose end has not come
        self._searched = 0
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False
        self._after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece; return the data of the events that it completes.

        Raises:
            EventTooLong: the parser is of no more use.
        """
        if self._after_cr and piece:
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        self._pending += piece
        if not self._begun:
            if len(self._pending) < len(_BOM) and _BOM.startswith(self._pending):
                return []
            self._begun = True
            if self._pending.startswith(_BOM):
                del self._pending[: len(_BOM)]
        return self._complete()

    def _complete(self) -> list[bytes]:
        events: list[bytes] = []
        start = 0
        for end in _LINE_END.finditer(self._pending, self._searched):
            self._take(bytes(self._pending[start:end.start()]), events)
            start = end.end()
        self._after_cr = start == len(self._pending) and self._pending.endswith(b"\r")
        del self._pending[:start]
        self._searched = len(self._pending)
        if self._size + len(self._pending) > self._limit:
            raise EventTooLong(f"an event has more than {self._limit} bytes")
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + 1
            if self._size > self._limit:
                raise EventTooLong(f"an event has more than {self._limit} bytes")
            self._data.append(value)
