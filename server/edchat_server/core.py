"""What the routes share: the server's parts, put together once."""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from edchat_protocol.errors import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from edchat_protocol.frames import AgentBrief, Limits

from .audit import AuditLog
from .hub import Hub
from .intake import Intake
from .runner import Runner
from .settings import Settings
from .store import Store

LIMITS = Limits(frame=MAX_FRAME_BYTES, message=MAX_MESSAGE_BYTES)
HEARTBEAT_SECONDS = 15.0


@dataclass(kw_only=True)
class Activity:
    """When somebody last wanted something: ASGI middleware that counts what is open."""

    open: int = 0
    last: float = field(default_factory=time.monotonic)

    def idle_seconds(self) -> float:
        """Return for how long nothing has been open; 0.0 while something is."""
        return 0.0 if self.open else time.monotonic() - self.last

    def touch(self) -> None:
        """Begin the idle time anew."""
        self.last = time.monotonic()


class CountActivity:
    """ASGI middleware: every request and connection counts as activity while it lasts."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app = app
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        self._activity.open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.open -= 1
            self._activity.touch()


@dataclass(frozen=True, kw_only=True)
class Core:
    """The parts of a running server. `agent_missing`: why nobody can answer; None: somebody can."""

    settings: Settings
    store: Store
    hub: Hub
    audit: AuditLog
    runner: Runner
    intake: Intake
    agent: AgentBrief
    agent_missing: str | None
    activity: Activity
    started: float = field(default_factory=time.monotonic)

    async def drain(self) -> None:
        """Say goodbye to everybody and leave every run where the next start finds it."""
        self.hub.drain()
        await self.runner.drain(self.settings.drain)
        await asyncio.sleep(0)
