"""The HTTP carrier: the very same frames, for networks that let no WebSocket through.

Commands go up by POST, through the same accept transaction; events come down as server-sent events or by
long poll, from the same log and cursor. A closed stream means nothing: only a status event ends a run.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from edchat_protocol.codec import decode_up
from edchat_protocol.errors import MAX_FRAME_BYTES, FrameError
from edchat_protocol.frames import Cancel, Csn, Frame, Id, Ping, Pong, Seen, UserMessage

from .access import EVERYONE
from .core import Core
from .errors import HttpError, error_frame
from .http import check_session, core_of, decode_body, read_body, who_of
from .identity import Identity, check_name
from .intake import answer, command_of
from .streams import Pace, Reader, poll, stream

MAX_FRAMES = 50
MAX_WAIT_SECONDS = 25
PACE = Pace()
HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}

_log = logging.getLogger("edchat.server.carrier")

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
    who = who_of(request)
    core.door.posted((who.name, session, body.client), max(1, len(body.frames)))
    await core.access.enter(session, who, body.client)
    acks = [await _take(core, session, body.client, raw, who) for raw in body.frames]
    now = await core.store.greet(session, body.client, body.conn, cursor=0, epoch=None)
    return Response(
        msgspec.json.encode(
            {"acks": [a for a in acks if a is not None], "ack": now.accepted_csn, "head": now.head,
             "epoch": now.epoch}
        ),
        media_type="application/json",
    )


async def _take(core: Core, session: str, client: str, raw: msgspec.Raw, who: Identity) -> Frame | None:
    try:
        frame = decode_up(bytes(raw))
    except FrameError as exc:
        return error_frame(exc.code, str(exc), ref=exc.ref)
    match frame:
        case UserMessage(id=str(message_id), csn=int()) | Cancel(id=message_id, csn=int()):
            command = command_of(frame, session=session, client=client, message_id=message_id, who=who)
            return answer(command, await core.intake.take(command, who))
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
    wait: Annotated[int | None, Query(ge=0)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Give the log from the cursor on: as a stream, or with `wait` (seconds) what is new, at once or when it comes."""
    core = core_of(request)
    check_session(session)
    who, place = who_of(request), _place(client, conn)
    epoch, cursor = _resume_point(last_event_id, epoch, cursor)
    core.door.posted((who.name, session, client))
    if not wait:  # a poll that waits goes on with a connection that was greeted already
        core.door.hello()
    if core.hub.draining.is_set():
        raise HttpError(503, "unavailable", "the server is going away", retry_after_ms=core.door.farewell_ms(core.hub))
    with ExitStack() as seat:
        seat.enter_context(core.door.client(session, client, who.name))
        await core.access.enter(session, who, client)
        seat.enter_context(core.presence.here(session, client, who.name))
        greeting = await core.store.greet(session, client, conn, cursor=cursor, epoch=epoch)
        if greeting.stale:
            raise HttpError(409, "conflict", "superseded by a newer connection")
        reader = Reader(
            session=session, client=place.client, conn=place.conn, cursor=cursor, greeting=greeting, who=who
        )
        if wait is None:
            return _Stream(stream(core, reader, PACE), seat.pop_all(), core.door.caps.send_seconds)
        polled = await poll(core, reader, min(wait, MAX_WAIT_SECONDS))
    return Response(
        polled.body, media_type="application/json", headers=HEADERS, background=BackgroundTask(polled.sent)
    )


class ShareBody(msgspec.Struct, kw_only=True):
    """With whom: a user's name, or ``everyone``."""

    grantee: str = msgspec.field(name="with")


@router.post("/share")
async def share(request: Request, session: str) -> Response:
    """Let another user into the session."""
    core, who = core_of(request), who_of(request)
    check_session(session)
    core.door.posted(("share", who.name))
    body = decode_body(await read_body(request), ShareBody)
    if who.role == "read":
        raise HttpError(403, "forbidden", "this token may read and not write")
    if body.grantee != EVERYONE:
        try:
            check_name(body.grantee)
        except ValueError as exc:
            raise HttpError(400, "bad_frame", f"with: {exc}") from None
    found = await core.access.share(session, who, body.grantee)
    return Response(
        msgspec.json.encode({"session": session, "shared_with": found}), media_type="application/json"
    )


class _Stream(StreamingResponse):
    """A stream of events that gives its seat back in the end, also if it never begins or nobody reads it."""

    def __init__(self, content: AsyncGenerator[bytes, None], seat: ExitStack, patience: float) -> None:
        super().__init__(content, media_type="text/event-stream", headers=HEADERS)
        self._content = content
        self._seat = seat
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A peer that reads nothing for `patience` seconds is left."""

        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(self._patience):
                await send(message)

        # Closed by name: a generator that waits for its last word to be sent does not notice the end.
        async with aclosing(self._content):
            with self._seat:
                try:
                    await super().__call__(scope, receive, send_soon)
                except TimeoutError:
                    _log.warning("an event stream ends because nobody reads it")
                    scope["state"]["abort"]()


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
