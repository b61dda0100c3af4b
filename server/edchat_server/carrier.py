"""The HTTP carrier: the very same frames, for networks that let no WebSocket through.

Commands go up by POST, through the same accept transaction; events come down as server-sent events, from
the same log and cursor. A closed stream means nothing: only a status event ends a run.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse

from edchat_protocol.codec import decode_up, encode
from edchat_protocol.errors import MAX_FRAME_BYTES, FrameError
from edchat_protocol.frames import Cancel, Csn, Frame, Id, Ping, Pong, Seen, UserMessage

from . import delivery
from .core import Core
from .errors import HttpError, error_frame
from .http import check_session, core_of, decode_body, read_body
from .intake import answer, command_of
from .store.base import Greeting
from .ws import goaway, welcome

HEARTBEAT_SECONDS = 10.0
ROTATE_SECONDS = 600.0
MAX_FRAMES = 50
# Some proxies hold back the first kilobytes of a response.
PREFACE = b":" + b" " * 2048 + b"\nretry: 1000\n\n"
HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v2/sessions/{session}")


class FramesBody(msgspec.Struct, kw_only=True):
    """Commands of one client, oldest first."""

    client: Id
    conn: Csn
    frames: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_FRAMES)]


@router.post("/frames")
async def take_frames(request: Request, session: str) -> Response:
    """Take commands; always safe to repeat."""
    core = core_of(request)
    check_session(session)
    body = decode_body(await read_body(request, MAX_FRAMES * MAX_FRAME_BYTES), FramesBody)
    acks = [await _take(core, session, body.client, raw) for raw in body.frames]
    now = await core.store.greet(session, body.client, body.conn, cursor=0, epoch=None)
    return Response(
        msgspec.json.encode(
            {"acks": [a for a in acks if a is not None], "ack": now.accepted_csn, "head": now.head,
             "epoch": now.epoch}
        ),
        media_type="application/json",
    )


async def _take(core: Core, session: str, client: str, raw: msgspec.Raw) -> Frame | None:
    try:
        frame = decode_up(bytes(raw))
    except FrameError as exc:
        return error_frame(exc.code, str(exc), ref=exc.ref)
    match frame:
        case UserMessage(id=str(message_id), csn=int()) | Cancel(id=message_id, csn=int()):
            command = command_of(frame, session=session, client=client, message_id=message_id)
            return answer(command, await core.intake.take(command))
        case Ping():
            return Pong(data=frame.data)
        case Seen() | Pong():
            return None
        case _:
            return error_frame("bad_frame", "only message and cancel, with id and csn, are taken here")


@router.get("/events")
async def events(  # noqa: PLR0917 - the query's parameters
    request: Request,
    session: str,
    client: str,
    conn: int,
    cursor: int = 0,
    epoch: str | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Stream the log from the cursor on, as server-sent events; the first one is `welcome`."""
    core = core_of(request)
    check_session(session)
    place = _place(client, conn)
    epoch, cursor = _resume_point(last_event_id, epoch, cursor)
    if core.hub.draining.is_set():
        raise HttpError(503, "unavailable", "the server is going away")
    greeting = await core.store.greet(session, client, conn, cursor=cursor, epoch=epoch)
    if greeting.stale:
        raise HttpError(409, "conflict", "superseded by a newer connection")
    stream = _stream(core, session, place, cursor, greeting)
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)


class _Place(msgspec.Struct):
    client: Id
    conn: Csn


def _place(client: str, conn: int) -> _Place:
    try:
        return msgspec.convert({"client": client, "conn": conn}, _Place)
    except msgspec.ValidationError as exc:
        raise HttpError(400, "bad_frame", str(exc)) from None


def _resume_point(last_event_id: str | None, epoch: str | None, cursor: int) -> tuple[str | None, int]:
    named, _, seq = (last_event_id or "").rpartition(":")
    if named and seq.isdecimal() and len(seq) < 16:
        return named, int(seq)
    return epoch, max(0, cursor)


async def _stream(
    core: Core, session: str, place: _Place, cursor: int, greeting: Greeting
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    replaced = asyncio.Event()

    async def give_way(code: int, reason: str) -> None:  # noqa: ARG001 - a stream has no close codes
        replaced.set()
        listener.ring()

    with core.hub.listen(session) as listener, core.hub.place(session, place.client, place.conn, give_way):
        yield PREFACE
        yield _sse(encode(welcome(core, session, greeting)))
        if not greeting.replay:
            snap = await core.store.snapshot(session)
            cursor = snap.head
            for out in delivery.snapshot(snap):
                yield _sse(out.body, greeting.epoch, out.seq)
        end = loop.time() + ROTATE_SECONDS
        beat = loop.time() + HEARTBEAT_SECONDS
        async with aclosing(delivery.follow(core.store, listener, session, cursor)) as batches:
            async for rows in batches:
                for out in delivery.events(rows):
                    yield _sse(out.body, greeting.epoch, out.seq)
                if replaced.is_set():
                    return
                if core.hub.draining.is_set() or loop.time() >= end:
                    break
                if rows:
                    beat = loop.time() + HEARTBEAT_SECONDS
                elif loop.time() >= beat:
                    beat = loop.time() + HEARTBEAT_SECONDS
                    yield _sse(encode(Ping()))
        yield _sse(encode(goaway()))


def _sse(body: bytes, epoch: str = "", seq: int | None = None) -> bytes:
    head = f"id: {epoch}:{seq}\n".encode() if seq is not None else b""
    return head + b"data: " + body + b"\n\n"


