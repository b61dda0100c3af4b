"""The unmodified agent server on a simulated host: FastAPI, uvicorn, LangGraph and SQLite.

Two things differ from production. The thread that owns the database is a step of the host, at a time that
chance chooses, so that a crash can come between a commit and the news of it; and signals are not caught.
"""

import asyncio
import random
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from tests.scripted_server import ScriptedModel

from edchat_server.agent.graph import AgentGraph, build_agent
from edchat_server.app import BuiltAgent, Prepare, create_app
from edchat_server.attempt import Agent
from edchat_server.serving import Server
from edchat_server.settings import Settings
from edchat_server.store import SqliteStore, Store, StoreError
from edchat_server.store.owner import Owner
from edchat_server.store.saver import FencedSaver

from .loop import Host, SimLoop
from .network import Network
from .transport import FakeSocket

PORT = 8001
MakeAgent = Callable[["SimServer", Store], Agent]


class _Jobs:
    """The owner's queue; what is put in asks for a turn."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._items: deque[Any] = deque()
        self._turn = turn

    def put(self, item: Any) -> None:
        self._items.append(item)
        if len(self._items) == 1:
            self._turn()

    def get(self) -> Any:
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items


class _FullDisk:
    """A connection that commits nothing."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, sql: str, *args: Any) -> Any:
        if sql == "COMMIT":
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full
        return self._conn.execute(sql, *args)


class SteppedOwner(Owner):
    """The owner of the database without its thread."""

    def __init__(self, path: Path, prepare: Sequence[Callable[[sqlite3.Connection], None]], sim: "SimServer") -> None:
        super().__init__(path, prepare)
        self._sim = sim
        self._jobs = _Jobs(self._ask_for_a_turn)  # type: ignore[assignment]
        self.conn: sqlite3.Connection | None = None
        sim.owner = self

    async def open(self) -> None:
        """Open the file."""
        self.conn = self._connect()

    async def close(self) -> None:
        """Finish what was submitted and close the file."""
        if self._closed:
            return
        while not self._jobs.empty():
            await asyncio.sleep(0.001)
        self._closed = True
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file, as the end of a process does."""
        if self.conn is not None:
            with suppress(sqlite3.Error):
                self.conn.close()

    def _ask_for_a_turn(self) -> None:
        loop = self._sim.loop
        loop.at(self._sim.host, loop.time() + self._sim.disk_delay(), self._turn)

    def _turn(self) -> None:
        if self._jobs.empty():
            return
        assert self.conn is not None
        batch, _ = self._gather()
        conn: Any = _FullDisk(self.conn) if self._sim.disk_full else self.conn
        if batch and not self._run(conn, batch):
            self.conn = self._reopen(self.conn)
        self._sim.committed(len(batch))
        if not self._jobs.empty():
            self._ask_for_a_turn()


class _SimUvicorn(Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


class SlowSaver(FencedSaver):
    """A checkpointer that takes its time, as one with a connection of its own does: others overtake it."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        super().__init__(store)
        self._rng = rng

    async def aput(self, *args: Any) -> Any:
        """Save a checkpoint, some time."""
        await asyncio.sleep(0.03 * self._rng.random() ** 3)
        return await super().aput(*args)

    async def aput_writes(self, *args: Any) -> None:
        """Save what a task wrote, some time."""
        await asyncio.sleep(0.03 * self._rng.random() ** 3)
        await super().aput_writes(*args)


def scripted_agent(sim: "SimServer", store: Store) -> Agent:
    """Return the product's own graph with a model that words each call anew."""
    agent: Agent = _graph().copy(update={"checkpointer": SlowSaver(store, sim.loop.rng)})
    return agent


@cache
def _graph() -> AgentGraph:
    return build_agent(ScriptedModel(pause=0.02), checkpointer=None)


@dataclass
class SimServer:
    """One life of the server process. `make_store` is the class of the store: a mutation is another one."""

    loop: SimLoop
    network: Network
    folder: Path
    make_agent: MakeAgent = scripted_agent
    store_class: type[SqliteStore] = SqliteStore
    retain: float = 86_400.0
    keep_events: int = 20_000
    disk_full: bool = False
    owner: SteppedOwner | None = None
    on_commit: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host = Host("server")
        self._uvicorn: _SimUvicorn | None = None
        self._task: asyncio.Task[None] | None = None
        self._sock = FakeSocket(PORT)

    def start(self) -> None:
        """Start the process."""
        self._task = self.loop.begin(self.host, self._main(), "server")

    async def _main(self) -> None:
        settings = Settings(
            data_dir=self.folder, port=PORT, drain=2.0, retain=self.retain, keep_events=self.keep_events)
        app = create_app(settings, build=self._build, open_store=self._open_store)
        # Whoever starts a server on a disk that is full is told so, and it ends.
        with suppress(StoreError):
            async with app.router.lifespan_context(app):
                self._uvicorn = _SimUvicorn(app, settings, None)
                await self._uvicorn.serve([self._sock])  # type: ignore[list-item]

    def _build(self, name: str | None, checkpointer: BaseCheckpointSaver[str]) -> BuiltAgent:
        assert isinstance(checkpointer, FencedSaver)
        agent = self.make_agent(self, checkpointer._store)
        return BuiltAgent(agent=agent, name="scripted", offline=True)

    async def _open_store(self, settings: Settings, prepare: Prepare) -> Store:
        return await self.store_class.open(
            settings.database, prepare=prepare, keep_events=settings.keep_events,
            make_owner=lambda path, steps: SteppedOwner(path, steps, self))

    @property
    def ended(self) -> bool:
        """Whether it has come to its own end."""
        return self._task is not None and self._task.done()

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    def kill(self, *, silently: bool = False) -> None:
        """End it at once, wherever it is."""
        if not self.host.alive:
            return
        self.loop.kill(self.host)
        self.network.listeners.pop(PORT, None)
        self.network.host_died(self.host, silently=silently)
        if self.owner is not None:
            self.owner.abandon()
        self.give_up_lock()

    def give_up_lock(self) -> None:
        """Let another process open the database."""
        for lock in self.folder.glob("*.lock"):
            lock.unlink()

    def disk_delay(self) -> float:
        """Return how long the next transaction takes."""
        rng = self.loop.rng
        return 0.0003 + (0.05 * rng.random() if rng.random() < 0.02 else 0.001 * rng.random())

    def committed(self, jobs: int) -> None:
        """Tell who waits for a commit."""
        for told in tuple(self.on_commit):
            told()

    def when_busy(self, commits: int, action: Callable[[], None]) -> None:
        """Do something once, so many commits into the work on a run."""
        left = commits

        def count() -> None:
            nonlocal left
            assert self.owner is not None
            assert self.owner.conn is not None
            busy = self.owner.conn.execute("SELECT 1 FROM runs WHERE state IN ('running', 'cancelling')").fetchone()
            left -= busy is not None
            if left <= 0:
                self.on_commit.remove(count)
                action()

        self.on_commit.append(count)
