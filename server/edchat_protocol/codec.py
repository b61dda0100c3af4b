"""Text to frames and back; the only place that parses the wire."""

from typing import Any, NoReturn

import msgspec

from .errors import MAX_FRAME_BYTES, FrameError
from .frames import Down, Frame, Up

_encoder = msgspec.json.Encoder()
_up: msgspec.json.Decoder[Up] = msgspec.json.Decoder(Up)
_down: msgspec.json.Decoder[Down] = msgspec.json.Decoder(Down)
_UP_TYPES = {t.__struct_config__.tag for t in Up.__args__}
_SHOWN = 60  # characters of what a peer wrote, in an answer to it
_DOWN_TYPES = {t.__struct_config__.tag for t in Down.__args__}


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A frame down whose type this peer does not know. With `seq`, the cursor still moves past it."""

    type: str
    seq: int | None = None


class _Head(msgspec.Struct):
    type: Any = None
    id: Any = None
    seq: Any = None


_head = msgspec.json.Decoder(_Head)


def encode(frame: Frame) -> bytes:
    """Return the frame as UTF-8 JSON."""
    return _encoder.encode(frame)


def decode_up(raw: str | bytes) -> Up:
    """Return the command in one WebSocket message.

    Raises:
        FrameError: `too_large`, `not_json`, `unknown_type` or `bad_frame`; the text names the field.
    """
    size = len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "surrogatepass"))
    if size > MAX_FRAME_BYTES:
        raise FrameError("too_large", f"a frame has {size} bytes; at most {MAX_FRAME_BYTES} are taken")
    try:
        return _up.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        _refuse(raw, exc, _UP_TYPES)


def decode_down(raw: str | bytes | msgspec.Raw) -> Down | Unknown:
    """Return the event in one WebSocket message.

    Raises:
        FrameError: `not_json` or `bad_frame`. An unknown type is no error: see `Unknown`.
    """
    try:
        return _down.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        head = _head_of(raw)
        if head is not None and isinstance(head.type, str) and head.type not in _DOWN_TYPES:
            return Unknown(type=head.type, seq=head.seq if isinstance(head.seq, int) else None)
        _refuse(raw, exc, _DOWN_TYPES)


def _head_of(raw: str | bytes | msgspec.Raw) -> _Head | None:
    try:
        return _head.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _refuse(raw: str | bytes | msgspec.Raw, exc: Exception, types: set[Any]) -> NoReturn:
    head = _head_of(raw)
    if head is None:
        raise FrameError("not_json", "a frame must be one JSON object like {\"type\": …, \"data\": …}") from exc
    ref = head.id if isinstance(head.id, str) else None
    if not isinstance(head.type, str) or head.type not in types:
        known = ", ".join(sorted(types))
        named = repr(head.type)[:_SHOWN]
        raise FrameError("unknown_type", f"type {named} is not known; known: {known}", ref=ref) from exc
    raise FrameError("bad_frame", f"{head.type}: {exc}", ref=ref) from exc
