"""The client's core against the real store, which is killed between any two of its statements.

No loop, no socket, no thread: frames are carried by hand, and a transaction is a function call. What must come
out is a list of messages; that is the whole oracle.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.kernel.scripted import SESSION, Shell, answer

from edchat_protocol.codec import decode_down, decode_up, encode
from edchat_protocol.frames import (
    FINAL_RUN_STATES,
    AgentBrief,
    Cancel,
    Events,
    EventsData,
    HelloData,
    Limits,
    Logged,
    Ping,
    Pong,
    Snapshot,
    SnapshotData,
    StatusData,
    StatusFrame,
    UserMessage,
    Welcome,
    WelcomeData,
)
from edchat_server.identity import OPERATOR
from edchat_server.intake import answer as answer_to
from edchat_server.intake import command_of
from edchat_server.store import Claim, Fenced, SqliteStore
from edchat_server.store.owner import Owner
from edchat_widget._core.transcript import Transcript

T = TypeVar("T")


class Killed(BaseException):
    """The server's process is no more."""


def now(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine comes to that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


class Statements:
    """A connection that takes so many more statements; then its process is killed."""

    def __init__(self, conn: sqlite3.Connection, owner: "InlineOwner") -> None:
        self._conn = conn
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, *args: Any) -> Any:
        self._owner.count()
        return self._conn.execute(*args)

    def executemany(self, *args: Any) -> Any:
        self._owner.count()
        return self._conn.executemany(*args)


class InlineOwner(Owner):
    """The database's owner, at once and here. `left`: after how many statements it is killed; None: it lives."""

    left: int | None = None

    def __init__(self, path: Path, prepare: Sequence[Callable[[sqlite3.Connection], None]]) -> None:
        super().__init__(path, prepare)
        self.conn: sqlite3.Connection | None = None

    async def open(self) -> None:
        self.conn = self._connect()

    async def submit(self, work: Callable[[sqlite3.Connection], T], *, reads: bool = False) -> T:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        assert self.conn is not None
        self._run(Statements(self.conn, self), [(work, future, reads)])  # type: ignore[arg-type]
        return future.result(0)

    async def close(self) -> None:
        self.die()

    def die(self) -> None:
        assert self.conn is not None
        self.conn.close()

    def count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


class StoreServer:
    """What `Shell` needs of a server, on the real store. The agent does one thing at each `step`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "edchat.db"
        self.prefer_snapshot = False
        self.zombie: Claim | None = None
        self.open()

    def open(self) -> None:
        self._claim: Claim | None = None
        self._script: list[Logged] = []
        self.store: SqliteStore = now(SqliteStore.open(self.path, make_owner=self._own))
        now(self.store.recover())

    def _own(self, path: Path, steps: Sequence[Callable[[sqlite3.Connection], None]]) -> Owner:
        self.owner = InlineOwner(path, steps)
        return self.owner

    def die(self) -> None:
        """End at once, and be started again."""
        self.zombie = self._claim or self.zombie
        self.owner.die()
        self.store._lock.release()
        self.open()

    @property
    def log(self) -> list[bytes]:
        return [row.body for row in now(self.store.read_range(SESSION, 0, 1_000_000))]

    @property
    def todo(self) -> list[int]:
        return [1] if now(self.store.unfinished()) else []

    def welcome(self, hello: HelloData) -> list[bytes]:
        greeting = now(self.store.greet(SESSION, hello.client, hello.conn, cursor=hello.cursor, epoch=hello.epoch))
        replay = greeting.replay and not (self.prefer_snapshot and greeting.head)
        frames = [encode(Welcome(data=WelcomeData(
            proto=2, session=SESSION, epoch=greeting.epoch, store=self.store.id, head=greeting.head,
            accepted_csn=greeting.accepted_csn, resume="replay" if replay else "snapshot", hb=15,
            limits=Limits(frame=262144, message=65536), agent=AgentBrief(name="scripted", offline=True))))]
        if not replay:
            page = now(self.store.snapshot(SESSION, greeting.head, 0))
            frames.append(encode(Snapshot(data=SnapshotData(
                epoch=greeting.epoch, head=greeting.head, page=1, last_page=True, frames=page.frames))))
        elif rows := now(self.store.read_range(SESSION, hello.cursor, 1_000_000)):
            frames.append(encode(Events(data=EventsData(
                first=rows[0].seq, last=rows[-1].seq, frames=[msgspec.Raw(row.body) for row in rows]))))
        return frames

    def take(self, client: str, raw: bytes) -> list[bytes]:
        frame = decode_up(raw)
        if isinstance(frame, Ping):
            return [encode(Pong(data=frame.data))]
        if not isinstance(frame, UserMessage | Cancel):
            return []
        assert frame.id is not None
        command = command_of(frame, session=SESSION, client=client, message_id=frame.id, who=OPERATOR)
        return [encode(answer_to(command, now(self.store.accept(command))))]

    def step(self) -> bytes | None:
        """Let the agent do one thing; return the last event."""
        if self._claim is None:
            self._claim = now(self.store.claim())
            if self._claim is None:
                return None
            self._script = answer(self._claim.run, self._claim.content)[3:-1]
        claim = self._claim
        if now(self.store.run_state(claim.run)) == "cancelling":
            self._finish("cancelled")
        elif self._script:
            frame = self._script.pop(0)
            now(self.store.effect(claim, f"call-{claim.run}", lambda conn: self._story(conn, claim)))
            now(self.store.append(claim, [frame]))
        else:
            self._finish("completed")
        return self.log[-1]

    def _finish(self, state: Any) -> None:
        assert self._claim is not None
        now(self.store.finish(self._claim, state, [StatusFrame(run=self._claim.run, data=StatusData(status=state))]))
        self._claim = None

    def _story(self, conn: Any, claim: Claim) -> dict[str, Any]:
        conn.execute("CREATE TABLE IF NOT EXISTS made(message TEXT)")
        conn.execute("INSERT INTO made VALUES(?)", (claim.input_id,))
        return {}

    def ask(self, query: str) -> list[Any]:
        assert self.owner.conn is not None
        return self.owner.conn.execute(query).fetchall()


class Deaths(RuleBasedStateMachine):
    """A kernel and a server that both die, and a line between them that is cut."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="edchat-", dir=memory if memory.is_dir() else None))
        self.server = StoreServer(self.folder)
        self.shell = Shell(self.server)  # type: ignore[arg-type]
        self.said: list[str] = []
        self.stopped = False
        self.shown: dict[tuple[str, int], bytes] = {}

    def survive(self, act: Callable[[], object]) -> None:
        """Do something in which the server may die; then it is started again, and the line is gone."""
        try:
            act()
        except Killed:
            self.server.die()
            self.shell.cut()
        except Fenced:  # an attempt of a life before this one
            self.server._claim = None

    @precondition(lambda self: len(self.said) < 6)
    @rule()
    def submit(self) -> None:
        name = f"m{len(self.said) + 1}"
        self.said.append(name)
        self.shell.submit(name, f"text of {name}")

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def offer_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.said))
        self.shell.submit(name, f"text of {name}")

    @precondition(lambda self: not self.shell.client.connection.live)
    @rule()
    def connect(self) -> None:
        self.shell.tick()
        self.shell.open()
        self.survive(self.shell.carry_up)
        self.shell.carry_down()

    @rule(frames=st.integers(1, 4))
    def carry_up(self, frames: int) -> None:
        for _ in range(frames):
            self.survive(self.shell.carry_up)

    @rule(frames=st.integers(1, 6), twice=st.booleans())
    def carry_down(self, frames: int, twice: bool) -> None:
        for _ in range(frames):
            self.shell.carry_down(twice=twice)

    @rule(steps=st.integers(1, 5))
    def agent_works(self, steps: int) -> None:
        for _ in range(steps):
            self.survive(self.shell.step)

    @rule(statements=st.integers(0, 25))
    def server_will_die(self, statements: int) -> None:
        self.server.owner.left = statements

    @rule(steps=st.integers(0, 4), dead_one_writes=st.booleans())
    def server_dies(self, steps: int, dead_one_writes: bool) -> None:
        self.agent_works(steps)
        self.server.die()
        self.shell.cut()
        if dead_one_writes and self.server.zombie is not None:
            self.a_dead_attempt_writes()

    @precondition(lambda self: self.server.zombie is not None)
    @rule()
    def a_dead_attempt_writes(self) -> None:
        zombie = self.server.zombie
        assert zombie is not None
        current = self.server._claim
        try:
            now(self.server.store.append(zombie, [StatusFrame(run=zombie.run, data=StatusData(status="processing"))]))
        except (Fenced, Killed):
            return
        finally:
            if self.server.owner.left is not None and self.server.owner.left < 0:
                self.server.die()
                self.shell.cut()
        assert current is not None
        assert (zombie.run, zombie.fence) == (current.run, current.fence), "a dead attempt has written"

    @rule()
    def kernel_dies(self) -> None:
        self.shell.begin()

    @rule()
    def cut(self) -> None:
        self.shell.cut()

    @rule()
    def time_passes(self) -> None:
        self.shell.tick()

    @precondition(lambda self: len(self.said) >= 4)
    @rule()
    def stop(self) -> None:
        self.stopped = True
        row = self.shell.client.draft_cancel(None, f"stop-{len(self.said)}", "t")
        if row is not None and self.shell.client.outbox.find(row.id) is None:
            self.shell.rows[row.csn] = row
            self.shell.client.submit(row, self.shell.now)
        self.shell.drain()

    @rule(snapshot=st.booleans())
    def server_prefers(self, snapshot: bool) -> None:
        self.server.prefer_snapshot = snapshot

    @invariant()
    def what_was_shown_stays(self) -> None:
        epoch = self.shell.client._peer.epoch
        if epoch is not None:
            left, self.server.owner.left = self.server.owner.left, None
            for seq, body in enumerate(self.server.log[:self.shell.client.cursor], 1):
                assert self.shown.setdefault((epoch, seq), body) == body
            self.server.owner.left = left

    def teardown(self) -> None:
        self.server.owner.left = None
        if self.shell.conn is not None:
            self.shell.cut()
        self.shell.settle()
        taken = [i for (i,) in self.server.ask("SELECT input_id FROM runs ORDER BY n")]
        assert taken == self.said or (self.stopped and set(taken) <= set(self.said)), (taken, self.said)
        ends = [state for (state,) in self.server.ask("SELECT state FROM runs")]
        assert all(state in FINAL_RUN_STATES for state in ends)
        if any(taken):
            self.server.ask("CREATE TABLE IF NOT EXISTS made(message TEXT)")
            made = [i for (i,) in self.server.ask("SELECT message FROM made")]
            assert len(made) == len(set(made)), "a story was made twice"
            assert self.stopped or sorted(made) == sorted(self.said)
        wanted = Transcript()
        for body in self.server.log:
            frame = decode_down(body)
            assert isinstance(frame, Logged)
            wanted.fold(frame)
        known = {m.id for m in wanted.messages}
        assert tuple(m for m in self.shell.shown.messages if m.id in known) == wanted.messages
        assert self.stopped or len(self.shell.shown.messages) == len(wanted.messages)
        self.server.owner.die()
        self.server.store._lock.release()
        shutil.rmtree(self.folder)


Deaths.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDeaths = Deaths.TestCase
