"""One seed: some people, some messages, and everything that can go wrong; then peace, and the account.

Every choice comes from the seed, so that the same seed plays the same case again.
"""

import asyncio
import gc
import hashlib
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edchat_server.store import SqliteStore
from edchat_widget._io.driver import Driver
from edchat_widget.settings import Settings

from . import invariants
from .client import URL, Broken, ShadowLog, SimClient, until
from .clock import Clocks, virtual
from .loop import SimLoop, Stuck, quiet, run
from .network import How, Line, Network
from .server import MakeAgent, SimServer, scripted_agent

SETTLE = 240.0
"""Virtual seconds within which all must be delivered and answered, once nothing breaks any more."""
FAULT_RATES = (1.5, 5.0, 5.0, 8.0)
"""How many faults there are in a virtual second, on average; one for each seed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a case is made of. A mutation is another `store_class`, `make_agent` or `alter`."""

    messages: int = 6
    faults: int = 30
    store_class: type[SqliteStore] = SqliteStore
    make_agent: MakeAgent = scripted_agent
    alter: Callable[[Driver], None] = lambda _: None
    only: tuple[str, ...] = ()  # names of the faults to choose from; empty: all


@dataclass
class Outcome:
    """What became of a seed. `broken` None: everything holds."""

    seed: int
    broken: str | None = None
    actions: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    stories: int = 0
    attempts: int = 0
    connections: int = 0
    duplicates: int = 0
    virtual: float = 0.0
    steps: int = 0
    trace: str = ""


class Case:
    """A world, and what happens in it."""

    def __init__(self, seed: int, plan: Plan, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.plan = plan
        self.folder = folder
        self.outcome = Outcome(seed)
        self.loop = SimLoop(self.rng)
        self.network = Network(self.loop)
        self.shadow = ShadowLog()
        self._rate = self.rng.choice(FAULT_RATES)
        # Some servers forget tokens soon, so that clients come back to a log that was trimmed.
        self._retain, self._keep = self.rng.choice(((86_400.0, 20_000), (5.0, 20_000), (86_400.0, 20)))
        self.clients = [self._client(n) for n in range(self.rng.choice((1, 2, 2, 3)))]
        self.server: SimServer | None = None
        self.zombies: list[SimServer] = []
        self.clocks: Clocks
        self.restoring = False
        self.forgiven: set[str] = set()  # messages that a restored backup does not have
        self.forgotten: set[str] = set()  # those, and what was said once more since
        self._digest = hashlib.blake2b(digest_size=8)
        self._peace = False
        self._told = 0
        self._pending: set[asyncio.Task[None]] = set()

    # ----------------------------------------------------------------------------------------------- parts

    def _client(self, number: int) -> SimClient:
        rng = self.rng
        # Two kernels on one machine share a folder, and each finds an outbox file of its own.
        shared = number > 0 and rng.random() < 0.3
        settings = Settings(
            url=URL, data_dir=self.folder / ("kernel-0" if shared else f"kernel-{number}"),
            enable_websocket=rng.random() < 0.65, reconnect_interval=rng.choice((0.3, 1.0)),
        )
        return SimClient(
            self.loop, self.network, f"k{number}", self.folder, settings, self.shadow, self.fail, rng,
            alter=self.plan.alter, limit=rng.choice((None, None, 3)),
        )

    def start_server(self) -> None:
        """Start a server process on the database."""
        self.server = SimServer(
            self.loop, self.network, self.folder / "server", retain=self._retain, keep_events=self._keep,
            make_agent=self.plan.make_agent, store_class=self.plan.store_class)
        self.server.start()

    def fail(self, text: str) -> None:
        """Note the first thing that does not hold."""
        if self.outcome.broken is None:
            self.outcome.broken = text

    def did(self, kind: str, what: str = "") -> None:
        """Note a fault that was put in."""
        line = f"{self.loop.time():8.3f} {kind} {what}".rstrip()
        self.outcome.actions.append(line)
        self.outcome.kinds[kind] += 1
        self._digest.update(line.encode())

    # ------------------------------------------------------------------------------------------ the course

    async def play(self) -> None:
        """Live through chaos, then peace."""
        self.start_server()
        for client in self.clients:
            self.loop.call_later(self.rng.random(), client.start)
        await asyncio.sleep(1.0)
        people = self.loop.create_task(self._people())
        await self._chaos()
        await people
        self._peace = True
        while self._pending:
            await asyncio.wait(self._pending)
        await self._heal()
        if not await until(self._settled, SETTLE):
            self.fail(f"I7: not settled after {SETTLE:g} s: {self._state()}")
            return
        await asyncio.sleep(2.0)
        await self._late_comer()

    async def _people(self) -> None:
        rng = self.rng
        pause = self.plan.faults / self._rate / self.plan.messages
        for number in range(self.plan.messages):
            await asyncio.sleep(rng.expovariate(1 / pause))
            client = rng.choice(self.clients)
            text, titles = self._message(number)
            client.say(f"m-{number}", text, titles)
            if rng.random() < 0.12:
                self.loop.call_later(rng.expovariate(2.0), client.take_back, f"m-{number}")

    def _message(self, number: int) -> tuple[str, tuple[str, ...]]:
        shape = self.rng.random()
        if shape < 0.15:
            return f"slow {self.rng.randrange(5, 60)}", ()
        titles = [f"Story {number} of seed {self.outcome.seed}"]
        if shape < 0.4:
            titles.append(f"Second story of message {number}")
        return f"make {' | '.join(titles)}", tuple(titles)

    async def _chaos(self) -> None:
        from .faults import FAULTS

        chosen = [f for f in FAULTS if not self.plan.only or f.name in self.plan.only]
        weights = [f.weight for f in chosen]
        done = 0
        idle = 0
        while done < self.plan.faults and self.outcome.broken is None:
            await asyncio.sleep(self.rng.expovariate(self._rate))
            if self.server is not None and self.server.ended and not self.restoring:
                self.start_server()  # whoever watches over it does that
            fault = self.rng.choices(chosen, weights)[0]
            before = len(self.outcome.actions)
            fault.act(self)
            idle = idle + 1 if len(self.outcome.actions) == before else 0
            done += len(self.outcome.actions) - before
            if idle > 200:
                raise Stuck("no fault finds anything to break")

    async def _heal(self) -> None:
        self.network.slow = 1.0
        self.network.blocked = None
        for client in self.clients:
            self.network.heal(client.name)
            if not client.host.alive:
                client.start()
        for line in self.network.lines_of():
            line.up.rate = line.down.rate = None
            line.up.budget = line.down.budget = None
        for zombie in self.zombies:
            zombie.host.stalled_until = 0.0
        server = self.server
        assert server is not None
        server.disk_full = False
        server.host.stalled_until = 0.0
        server.host.doom = None
        server.on_commit.clear()
        for client in self.clients:
            client.host.doom = None
            client.host.stalled_until = 0.0
        if not server.host.alive or server.ended:
            self.start_server()

    async def _late_comer(self) -> None:
        """Somebody opens the conversation for the first time, and must see what all see."""
        late = SimClient(
            self.loop, self.network, "late", self.folder, Settings(url=URL, data_dir=self.folder / "kernel-late"),
            self.shadow, self.fail, self.rng)
        self.clients.append(late)
        late.start()
        if not await until(self._settled, 30.0):
            self.fail(f"I7: who comes late is not served: {self._state()}")

    def _settled(self) -> bool:
        if self.outcome.broken is not None:
            return True
        for client in self.clients:
            driver = client.running
            if driver is None or not driver._client.connection.live or driver._client.outbox.pending:
                return False
            for message in driver._client.transcript.messages:
                over = ("answered", "failed") if message.role == "user" else ("complete", "incomplete", "failed")
                if message.state not in over:
                    return False
        cursors = {c.driver._client.cursor for c in self.clients if c.driver is not None}
        return len(cursors) == 1 and self._idle()

    def _idle(self) -> bool:
        owner = self.server.owner if self.server else None
        if owner is None or owner.conn is None:
            return False
        (left,) = owner.conn.execute(
            "SELECT count(*) FROM runs WHERE state IN ('queued', 'running', 'cancelling')").fetchone()
        return left == 0

    def _state(self) -> str:
        parts = []
        for client in self.clients:
            driver = client.running
            if driver is None:
                parts.append(f"{client.name} is dead")
                continue
            core = driver._client
            left = [(m.id, m.state) for m in core.transcript.messages if m.state not in ("answered", "complete")]
            parts.append(
                f"{client.name} {core.connection.state} ({core.connection.view.reason}) cursor {core.cursor}, outbox "
                f"{[(r.csn, r.id, r.state) for r in core.outbox.rows]}, messages {left}")
        return "; ".join(parts) + ("" if self._idle() else "; runs are left")

    # -------------------------------------------------------------------------------------------- for faults

    def line(self) -> Line | None:
        """Return an open line, or None."""
        lines = self.network.lines_of()
        return self.rng.choice(lines) if lines else None

    def how(self) -> How:
        """Return a way to break a line."""
        return self.rng.choice(("rst", "fin", "silent"))

    def soon(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while, peace or not."""

        async def later() -> None:
            await asyncio.sleep(seconds)
            action()

        task = self.loop.create_task(later())
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    def live_server(self) -> SimServer | None:
        """Return the server if it is up."""
        server = self.server
        return server if server is not None and server.host.alive and not server.ended else None

    # ------------------------------------------------------------------------------------------- the account

    def account(self) -> None:
        """Check what must hold, and count."""
        outcome = self.outcome
        if outcome.broken is None:
            try:
                invariants.no_spin(self.clients)
                database = self.folder / "server" / "edchat.db"
                invariants.check(
                    database, self.clients, self.shadow, forgiven=self.forgiven, forgotten=self.forgotten)
            except Broken as exc:
                outcome.broken = str(exc)
        if outcome.broken is None:
            failures = self.loop.unseen_failures()
            if failures:
                outcome.broken = f"a task failed where nobody looked: {failures[:3]}"
        outcome.messages = sum(len(c.said) for c in self.clients)
        outcome.connections = sum(len(c.openings) for c in self.clients)
        outcome.virtual, outcome.steps = self.loop.time(), self.loop.steps
        owner = self.server.owner if self.server else None
        if owner is not None and owner.conn is not None:
            (outcome.stories,) = owner.conn.execute("SELECT count(*) FROM stories").fetchone()
            (outcome.attempts,) = owner.conn.execute("SELECT coalesce(sum(attempt), 0) FROM runs").fetchone()
        self._digest.update(f"{outcome.steps} {outcome.broken} {outcome.messages} {outcome.stories}".encode())
        outcome.trace = self._digest.hexdigest()

    def end(self) -> None:
        """Let go of everything."""
        for server in [*self.zombies, self.server]:
            if server is not None and server.owner is not None:
                server.owner.abandon()
        for client in self.clients:
            if client.driver is not None:
                client.driver._file._db.close()


@contextmanager
def _workspace() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="edchat-sim-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play(seed: int, plan: Plan | None = None, *, lasting: bool = True) -> Outcome:
    """Play a seed and return what became of it. `lasting` False: the process ends soon, and need not be tidy."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc.disable()  # collection would end what a killed host left behind, in the middle of a case
    try:
        with _workspace() as folder:
            case = Case(seed, plan or Plan(), folder)
            try:
                _live(case)
                return case.outcome
            finally:
                case.end()
                if lasting:
                    case.loop.dispose()
                    with quiet():
                        del case
                        gc.collect()
    finally:
        gc.enable()
        logging.disable(level)


def _live(case: Case) -> None:
    random.seed(case.outcome.seed)  # for those who take chance from where everybody does
    try:
        with virtual(case.loop) as case.clocks:
            run(case.loop, case.play())
    except Stuck as exc:
        case.fail(f"I7: {exc}: {case._state()}")
    case.account()
