"""Puts the server together: the one place that knows every part."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from langgraph.checkpoint.base import BaseCheckpointSaver
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from edchat_protocol.frames import AgentBrief

from . import __version__, carrier, http, ws
from .access import Access, Forbidden
from .access import prepare as prepare_access
from .attempt import Agent
from .audit import AuditLog
from .auth import Gate
from .backlog import prepare as prepare_backlog
from .core import Activity, Core, CountActivity
from .door import Door, TooMany
from .errors import HttpError, error_response
from .hub import Hub
from .identity import Tokens
from .intake import Intake
from .janitor import Janitor
from .runner import Runner
from .settings import Settings
from .sql import Connection, Dialect
from .store import Quota, SqliteStore, Store, StoreError, saver

_log = logging.getLogger("edchat.server.app")
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")


@dataclass(frozen=True, kw_only=True)
class BuiltAgent:
    """Who answers. `agent` None: nobody, and `reason` says why, in words for people."""

    agent: Agent | None
    name: str
    offline: bool = False
    reason: str | None = None


Build = Callable[[str | None, BaseCheckpointSaver[str]], BuiltAgent]


Prepare = Sequence[Callable[[Connection, Dialect], None]]
"""What makes the tables of others."""

OpenStore = Callable[[Settings, Prepare], Awaitable[Store]]
"""Opens the settings' database. Raises `StoreError`."""


async def open_store(settings: Settings, prepare: Prepare) -> Store:
    """Open the database that holds everything: PostgreSQL where the settings name one, else a file."""
    limit = settings.max_database_mb
    quota = Quota(bytes=None if limit is None else limit * 2**20)
    if settings.postgres is None:
        return await SqliteStore.open(
            settings.database, prepare=prepare, keep_events=settings.keep_events, quota=quota
        )
    try:
        from .store.postgres import PostgresStore
    except ImportError as exc:
        raise StoreError(
            f"EDCHAT_DATABASE needs more packages ({exc.name} is missing): pip install 'edchat-widget[postgres]'"
        ) from None
    return await PostgresStore.open(
        settings.postgres, replica=settings.replica, prepare=prepare, keep_events=settings.keep_events, quota=quota,
        lease=settings.lease,
    )


def build_agent(model: str | None, checkpointer: BaseCheckpointSaver[str]) -> BuiltAgent:
    """Return the product manager's agent with the named model; None: the offline planner."""
    from .agent.graph import build_agent as build
    from .agent.models import ModelError, describe_model, load_model, silence_limit

    brief = describe_model(model)
    name, offline = brief.name, brief.offline
    try:
        chat_model, silence = load_model(model), silence_limit(model)
    except ModelError as exc:
        _log.error("no agent: %s %s", exc, exc.hint or "")
        return BuiltAgent(agent=None, name=name, offline=offline, reason=f"{exc} {exc.hint or ''}".strip())
    return BuiltAgent(agent=build(chat_model, checkpointer=checkpointer, silence=silence), name=name, offline=offline)


def create_app(
    settings: Settings, *, build: Build = build_agent, open_store: OpenStore = open_store
) -> FastAPI:
    """Return the ASGI application. It opens the database when its lifespan starts.

    `build` makes the agent; another one than the built-in needs a state with `messages`. `open_store`
    opens the database.

    Raises:
        StoreLocked: at start-up, when another server owns the database.
        StoreError: at start-up, when the database cannot be opened.
        TokensFileError: the tokens file cannot be used.
    """
    activity = Activity()
    door = Door(settings.caps)
    tokens = Tokens(settings.token, settings.tokens_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(
            settings, activity, door=door, tokens=tokens, build=build, open_store=open_store
        ) as core:
            app.state.core = core
            yield

    app = FastAPI(
        title="edchat", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
    )
    app.add_middleware(Gate, settings=settings, door=door, tokens=tokens)
    app.add_middleware(CountActivity, activity=activity)
    app.include_router(http.router)
    app.include_router(carrier.router)
    app.exception_handler(HttpError)(_http_error)
    app.exception_handler(StoreError)(_store_error)
    app.exception_handler(TooMany)(_too_many)
    app.exception_handler(Forbidden)(_forbidden)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(Exception)(_unexpected)

    async def chat(websocket: WebSocket) -> None:
        await ws.serve(websocket, app.state.core)

    # FastAPI's own would keep its dependency machinery in memory for each connection.
    app.router.routes.append(WebSocketRoute("/ws/chat", chat))
    return app


@asynccontextmanager
async def running(
    settings: Settings, activity: Activity, *, door: Door, tokens: Tokens, build: Build, open_store: OpenStore
) -> AsyncIterator[Core]:
    """Open the database, start the runner, and close both in the end."""
    store = await open_store(settings, [prepare_backlog, prepare_access])
    try:
        audit = AuditLog(settings.data_dir / "audit.jsonl")
        hub = Hub()
        built = build(settings.model, saver.FencedSaver(store))
        runner = Runner(
            store, hub, audit, built.agent, reason=built.reason, secrets=_secrets(settings, os.environ)
        )
        core = Core(
            settings=settings, store=store, hub=hub, audit=audit, runner=runner, activity=activity,
            intake=Intake(store, hub, audit, runner.wake, door.command), door=door, tokens=tokens,
            access=Access(store),
            agent=AgentBrief(name=built.name, offline=built.offline), agent_missing=built.reason,
        )
        await runner.start()

        def ring(session: str) -> None:
            hub.ring(session)
            runner.look(session)

        store.watch(lambda: hub.sessions | runner.sessions, ring)
        janitor = asyncio.create_task(
            Janitor(store, timedelta(seconds=settings.retain)).serve(), name="edchat-janitor"
        )
        try:
            yield core
        finally:
            janitor.cancel()
            await core.drain()
            audit.close()
    finally:
        await store.close()


def _secrets(settings: Settings, env: Mapping[str, str]) -> list[str]:
    found = [value for name, value in env.items() if name.upper().endswith(_SECRET_NAMES)]
    password = urlsplit(settings.postgres or "").password
    return [secret for secret in (*found, settings.token, unquote(password or "")) if secret]


async def _http_error(request: Request, exc: HttpError) -> Response:  # noqa: ARG001 - FastAPI's signature
    return error_response(
        exc.status, exc.code, str(exc), hint=exc.hint, retryable=exc.retryable, retry_after_ms=exc.retry_after_ms
    )


async def _too_many(request: Request, exc: TooMany) -> Response:  # noqa: ARG001 - as above
    return error_response(429, "rate_limited", str(exc), retry_after_ms=exc.retry_after_ms)


async def _forbidden(request: Request, exc: Forbidden) -> Response:  # noqa: ARG001 - as above
    return error_response(403, "forbidden", str(exc))


async def _store_error(request: Request, exc: StoreError) -> Response:  # noqa: ARG001 - as above
    return error_response(503, "storage", str(exc))


async def _http_exception(request: Request, exc: HTTPException) -> Response:  # noqa: ARG001 - as above
    return error_response(exc.status_code, "bad_frame", str(exc.detail), headers=_plain(exc.headers))


async def _invalid(request: Request, exc: RequestValidationError) -> Response:  # noqa: ARG001 - as above
    first = exc.errors()[0]
    return error_response(400, "bad_frame", f"{'.'.join(str(p) for p in first['loc'][1:])}: {first['msg']}")


async def _unexpected(request: Request, exc: Exception) -> Response:  # noqa: ARG001 - as above
    return error_response(500, "internal", "the server failed; its log says why")


def _plain(headers: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(headers) if headers else None
