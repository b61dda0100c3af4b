"""What the routes share: the server's parts, put together once."""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from edchat_protocol import PROTOCOL
from edchat_protocol.frames import AgentBrief, Goaway, GoawayData, StatusData, StatusFrame, Welcome, WelcomeData

from .access import Access
from .audit import AuditLog
from .door import Door
from .hub import Hub
from .identity import WARN_SECONDS, Tickets, Tokens
from .intake import Intake
from .presence import Presence
from .runner import Runner
from .settings import Settings
from .store import Store
from .store.base import Greeting

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
    door: Door
    tokens: Tokens
    access: Access
    audit: AuditLog
    runner: Runner
    intake: Intake
    agent: AgentBrief
    agent_missing: str | None
    activity: Activity
    tickets: Tickets = field(default_factory=Tickets)
    presence: Presence = field(default_factory=Presence)
    started: float = field(default_factory=time.monotonic)

    def welcome(self, session: str, greeting: Greeting) -> Welcome:
        """Return the answer to a `hello`, on either carrier."""
        return Welcome(
            data=WelcomeData(
                proto=PROTOCOL, session=session, epoch=greeting.epoch, store=self.store.id, head=greeting.head,
                accepted_csn=greeting.accepted_csn, resume="replay" if greeting.replay else "snapshot",
                hb=HEARTBEAT_SECONDS, limits=self.door.caps.announced, agent=self.agent, runs=greeting.runs,
                replica=self.settings.replica,
            )
        )

    def goaway(
        self, code: int = 1012, reason: str = "the server is going away", retry_after_ms: int | None = None
    ) -> Goaway:
        """Return the goodbye before an end that the server wants; by default, because it stops."""
        if retry_after_ms is None:
            retry_after_ms = self.door.farewell_ms(self.hub) if code == 1012 else 0
        return Goaway(data=GoawayData(retry_after_ms=retry_after_ms, reason=reason, code=code))

    def auth_expiring(self) -> StatusFrame:
        """Return the warning before a token expires."""
        return StatusFrame(
            data=StatusData(status="auth_expiring", message=f"The token expires in less than {WARN_SECONDS:.0f} s.")
        )

    async def drain(self) -> None:
        """Say goodbye to everybody and leave every run where the next start finds it."""
        self.hub.drain()
        await self.runner.drain(self.settings.drain)
        await asyncio.sleep(0)
