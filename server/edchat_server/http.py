"""The HTTP routes of the origin, and the backlog."""

import asyncio
import time
import uuid
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from edchat_protocol import PROTOCOL
from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import (
    FINAL_RUN_STATES,
    ErrorFrame,
    HistoryItem,
    Logged,
    MessageData,
    MessageFrame,
    RunState,
    SessionId,
    UserMessage,
    UserMessageData,
)

from . import __version__
from .backlog import Backlog, BacklogError, StoryQuery
from .core import Core
from .door import TooMany
from .errors import HttpError
from .failures import UNAVAILABLE
from .identity import Identity, Tickets
from .intake import command_of
from .store import Refused, StoreError, utc_now
from .v1 import Projection

MAX_BODY_BYTES = 2_097_152
BODY_SECONDS = 60.0

T = TypeVar("T")

router = APIRouter()


class ProcessBody(msgspec.Struct, kw_only=True):
    """The origin's request to the agent server."""

    message: str
    session_id: str | None = None
    message_history: list[HistoryItem] | None = None


class ChatBody(msgspec.Struct, kw_only=True, rename="camel"):
    """The origin's request to the web page's own route."""

    message: str
    session_id: str | None = None
    message_history: list[HistoryItem] | None = None


class Answer(msgspec.Struct, kw_only=True):
    """The origin's answer of the agent server."""

    success: bool
    response: str
    artifacts: tuple[Any, ...]
    requires_clarification: bool
    clarification_prompt: str | None
    current_state: str
    session_id: str


def core_of(request: Request) -> Core:
    """Return the parts of the running server."""
    core: Core = request.app.state.core
    return core


def who_of(request: Request) -> Identity:
    """Return who sent a request."""
    who: Identity = request.state.identity
    return who


@router.get("/")
async def root() -> dict[str, Any]:
    """Say what this is."""
    return {"name": "edchat", "version": __version__, "protocol": PROTOCOL, "websocket": "/ws/chat"}


@router.get("/health")
async def health(request: Request) -> Response:
    """Say whether messages can be taken and answered; 503 when not."""
    core = core_of(request)
    reason = core.store.trouble or core.agent_missing
    body = {
        "status": "healthy" if reason is None else "unhealthy",
        "version": __version__,
        "timestamp": utc_now(),
    }
    if reason is not None:
        body["reason"] = reason
    return _json(body, 200 if reason is None else 503)


@router.get("/api/status")
async def status(request: Request) -> Response:
    """Describe the server."""
    core = core_of(request)
    return _json(
        {
            "status": "running", "version": __version__, "protocol": PROTOCOL, "store": core.store.id,
            "agent": {"name": core.agent.name, "offline": core.agent.offline,
                      "available": core.agent_missing is None},
            "connections": core.hub.connections,
            "runs": {"active": core.runner.active, "unfinished": await core.store.unfinished()},
            "uptime_seconds": round(time.monotonic() - core.started, 1),
            "timestamp": utc_now(),
        }
    )


@router.post("/v2/ticket")
async def ticket(request: Request) -> Response:
    """Give a one-use stand-in for the token, for a WebSocket of a browser."""
    core, who = core_of(request), who_of(request)
    core.door.posted(("ticket", who.name))
    return _json({"ticket": core.tickets.issue(who), "expires_in": Tickets.SECONDS})


@router.post("/api/agent/process")
async def process(request: Request) -> Response:
    """Answer one message. With an ``Idempotency-Key`` header it may be sent again after a cut."""
    return _json(await _ask(request, await _body(request, ProcessBody)))


@router.post("/api/agent/chat")
async def agent_chat(request: Request) -> Response:
    """Answer one message."""
    return _json(await _ask(request, await _body(request, ProcessBody)))


@router.post("/api/chat")
async def chat(request: Request) -> Response:
    """Answer one message of the web page."""
    body = await _body(request, ChatBody)
    found = await _ask(
        request,
        ProcessBody(message=body.message, session_id=body.session_id, message_history=body.message_history),
    )
    return _json(
        {"response": found.response, "artifacts": found.artifacts, "currentState": found.current_state,
         "sessionId": found.session_id}
    )


@router.get("/api/stories")
async def stories(  # noqa: PLR0917 - the query's parameters
    request: Request, priority: str = "", status: str = "", epic: str = "", text: str = "", limit: int = 100
) -> Response:
    """Return the backlog's stories that fit all filters, and how many fit beyond `limit`."""
    query = StoryQuery(priority=priority, status=status, epic=epic, text=text, limit=limit)
    try:
        found, total = await core_of(request).store.read(
            lambda conn: Backlog(conn, utc_now()).list_stories(query)
        )
    except BacklogError as exc:
        raise HttpError(400, "bad_frame", str(exc)) from None
    return _json({"stories": found, "total": total})


# --------------------------------------------------------------------------------------- asking the agent


async def _ask(request: Request, body: ProcessBody) -> Answer:
    core = core_of(request)
    if core.agent_missing is not None or core.hub.draining.is_set():
        raise HttpError(503, "unavailable", UNAVAILABLE, hint=core.agent_missing)
    who = who_of(request)
    if who.role == "read":
        raise HttpError(403, "forbidden", "this token may read and not write")
    key = request.headers.get("idempotency-key")
    message_id = str(uuid.uuid5(uuid.NAMESPACE_OID, key) if key else uuid.uuid4())
    # From the key where there is one, so that a repetition without a session finds the same answer.
    session = body.session_id or f"http-{message_id}"
    frame = UserMessage(data=UserMessageData(content=body.message, message_history=body.message_history))
    await core.access.enter(check_session(session), who)
    command = command_of(frame, session=session, client="http", message_id=message_id, who=who)
    address = request.client.host if request.client else ""
    outcome = await core.intake.take(command, who, payer=("http", address))
    if isinstance(outcome, Refused) and outcome.code == "rate_limited":
        raise TooMany(outcome.message, outcome.retry_after_ms or 0)
    if isinstance(outcome, Refused):
        raise HttpError(503 if outcome.code == "storage" else 400, outcome.code, outcome.message)
    if outcome.run is None:
        raise HttpError(500, "internal", "the message became no run")
    state = await _until_over(core, session, outcome.run)
    # Whoever fell back to HTTP for a while has this answer, and must not get it again by the WebSocket.
    with suppress(StoreError):
        await core.store.answered_by_post(session, outcome.run)
    return _answer(session, state, await core.store.run_frames(outcome.run))


async def _until_over(core: Core, session: str, run: str) -> RunState:
    with core.hub.listen(session) as listener:
        while True:
            state = await core.store.run_state(run)
            if state in FINAL_RUN_STATES:
                return state
            if core.hub.draining.is_set() and state == "queued":
                raise HttpError(503, "unavailable", UNAVAILABLE)
            await listener.wait(1.0)


_STATUS_OF: dict[str, int] = {"unavailable": 503, "rate_limited": 429, "model_error": 502}


def _answer(session: str, state: RunState, frames: list[Logged]) -> Answer:
    failure = next((f.data for f in reversed(frames) if isinstance(f, ErrorFrame)), None)
    if state == "failed" and failure is not None:
        code: ErrorCode = failure.code  # type: ignore[assignment]
        raise HttpError(
            _STATUS_OF.get(code, 500), code, failure.error, hint=failure.hint, retryable=failure.retryable
        )
    projection = Projection()
    sent = [out for frame in frames for out in projection.frames(frame)]
    data = next((f.data for f in reversed(sent) if isinstance(f, MessageFrame)), MessageData(content=""))
    clarification = next((a for a in data.artifacts if a.type == "clarification"), None)
    return Answer(
        success=state == "completed", response=data.content, artifacts=data.artifacts,
        requires_clarification=clarification is not None,
        clarification_prompt=str(clarification.data.get("question", data.content)) if clarification else None,
        current_state=state, session_id=session,
    )


# ------------------------------------------------------------------------------------------------- bodies


class _Named(msgspec.Struct):
    session: SessionId


def check_session(session: str) -> str:
    """Return the session's id. Raises `HttpError` where it is none."""
    try:
        return msgspec.convert({"session": session}, _Named).session
    except msgspec.ValidationError:
        raise HttpError(400, "bad_frame", "session_id: takes 1 to 64 of letters, digits and _.~-") from None


async def _body(request: Request, kind: type[T]) -> T:
    return decode_body(await read_body(request), kind)


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return a request's body. Raises `HttpError`: 413 beyond `limit` bytes, 408 when it takes too long."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HttpError(413, "too_large", f"a body may have {limit} bytes")
                parts.append(part)
    except TimeoutError:
        raise HttpError(408, "bad_frame", f"the body did not come within {BODY_SECONDS:.0f} s") from None
    return b"".join(parts)


def decode_body(raw: bytes, kind: type[T]) -> T:
    """Return the JSON body as `kind`. Raises `HttpError` 400 that names the field."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as exc:
        raise HttpError(400, "bad_frame", str(exc)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise HttpError(400, "not_json", "the body must be one JSON object") from None


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
