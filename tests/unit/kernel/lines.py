"""Several connections of one client at a time, in memory and virtual time: what changes of the carrier need."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.unit.kernel.scripted import SESSION, ScriptedServer

from edchat_protocol.codec import decode_up
from edchat_protocol.frames import Cancel, Hello, HelloData, UserMessage
from edchat_widget._core.carriers import Way
from edchat_widget._core.client import Client
from edchat_widget._core.connection import Policy
from edchat_widget._core.effects import Close, Open, Persist, Publish, Send
from edchat_widget._core.outbox import Outbox, OutboxHead, Row
from edchat_widget.errors import ConnectionLost, EdChatError
from edchat_widget.view import Patch, View, apply


@dataclass
class Line:
    """One connection. `sent` is how much of the log it was sent, once greeted."""

    wanted: Open
    opened: bool = False
    hello: HelloData | None = None
    sent: int = 0
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    csn: int = 0


class Lines:
    """A client, a server and all that is between them, frame by frame."""

    def __init__(self, policy: Policy | None = None, *, jitter: Callable[[], float] = lambda: 0.5) -> None:
        self.server = ScriptedServer()
        self.now = 0.0
        self.lines: dict[int, Line] = {}
        self.opens: list[float] = []
        self.states: list[str] = []
        self.since: dict[str, float] = {}  # when a state was first shown
        self.rows: dict[int, Row] = {}
        self.names = 1
        self.client = Client(
            SESSION, Outbox(OutboxHead(client="c1")), jitter=jitter, new_id=self.new_name, policy=policy)
        self.shown: View = self.client.view(0)
        self.client.start(self.now)
        self.tick(0)

    def new_name(self) -> str:
        self.names += 1
        return f"c{self.names}"

    @property
    def newest(self) -> int:
        return max(self.lines)

    def drain(self) -> None:
        for effect in self.client.effects():
            match effect:
                case Open():
                    self.opens.append(self.now)
                    self.lines[effect.hello.conn] = Line(effect)
                case Send() if effect.conn in self.lines:
                    self.lines[effect.conn].up.append(effect.raw)
                case Close():
                    self.lines.pop(effect.conn, None)
                case Publish():
                    self.shown = apply(self.shown, Patch(rev=self.shown.rev + 1, ops=effect.ops))
                case Persist():
                    self.rows |= {r.csn: r for r in effect.rows}
        state = self.shown.connection.state
        if not self.states or self.states[-1] != state:
            self.states.append(state)
            self.since.setdefault(state, self.now)
        assert self.shown == self.client.view(self.shown.rev)

    def tick(self, seconds: float | None = None) -> None:
        """Let time pass: to the next deadline if not said."""
        if seconds is None:
            seconds = max(0.0, (self.client.deadline or self.now) - self.now)
        self.now += seconds
        self.client.tick(self.now)
        self.drain()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do all that falls due on the way."""
        end = self.now + seconds
        while self.client.deadline is not None and self.client.deadline <= end:
            self.tick()
        self.tick(max(0.0, end - self.now))

    def submit(self, name: str) -> None:
        row = self.client.draft_message(name, f"text of {name}", "t")
        if row is not None:
            self.client.submit(row, self.now)
        self.drain()

    def open(self, conn: int, way: Way | None = None) -> None:
        """Let a wanted connection come about; over HTTP the server has its hello already."""
        line = self.lines[conn]
        if line.opened:
            return
        line.opened = True
        if line.wanted.carrier == "http":
            self._greet(line, line.wanted.hello)
        self.client.opened(conn, way or line.wanted.carrier, "edchat.v2", self.now)
        self.drain()

    def refuse(self, conn: int, error: EdChatError) -> None:
        """Let a connection end, or not come about."""
        if self.lines.pop(conn, None) is not None:
            self.client.lost(conn, error, self.now)
            self.drain()

    def carry_up(self, conn: int) -> None:
        """Let one frame reach the server."""
        line = self.lines[conn]
        if not line.up:
            return
        raw = line.up.popleft()
        frame = decode_up(raw)
        if isinstance(frame, Hello):
            self._greet(line, frame.data)
        elif line.hello is not None:
            if isinstance(frame, UserMessage | Cancel):
                assert frame.csn is not None
                assert frame.csn > line.csn, "sent twice on one connection"
                line.csn = frame.csn
            line.down.extend(self.server.take(line.hello.client, raw))
            self.follow()

    def _greet(self, line: Line, hello: HelloData) -> None:
        line.hello = hello
        line.down.extend(self.server.welcome(hello))
        line.sent = len(self.server.log)

    def follow(self) -> None:
        """Give every greeted connection what it has not been sent of the log."""
        for line in self.lines.values():
            if line.hello is not None:
                line.down.extend(self.server.log[line.sent:])
                line.sent = len(self.server.log)

    def carry_down(self, conn: int) -> None:
        """Let one frame reach the client."""
        line = self.lines.get(conn)
        if line is not None and line.opened and line.down:
            self.client.frame(conn, line.down.popleft(), self.now, "t")
            self.drain()

    def work(self) -> None:
        """Let the agent do one thing."""
        if self.server.step() is not None:
            self.follow()

    def busy(self) -> None:
        """Carry what is under way, and let the agent finish; no connection opens by this."""
        for _ in range(5000):
            for conn in [n for n, line in self.lines.items() if line.opened]:
                if conn in self.lines:
                    self.carry_up(conn)
                    self.carry_down(conn)
            self.work()
            if not any(self.server.todo) and not any(
                    line.up or line.down for line in self.lines.values() if line.opened):
                return
        raise AssertionError("never quiet")

    def settle(self) -> None:
        """Let the network heal and everybody finish."""
        for _ in range(300):
            for conn in list(self.lines):
                if conn in self.lines:
                    self.open(conn)
            self.busy()
            if self.client.connection.live and not self.client.outbox.pending:
                return
            self.tick()
        raise AssertionError(f"not settled: {self.states[-5:]}")

    def cut(self, conn: int, code: int = 1006) -> None:
        self.refuse(conn, ConnectionLost("cut", close_code=code))

    def check(self, sent: list[str]) -> None:
        """Everything exactly once, in order, and shown as the log has it."""
        assert self.server.contents == [f"text of {name}" for name in sent]
        assert self.shown.messages == self.server.fold(len(self.server.log)).messages
        assert self.names == 1, "the outbox began anew without need"
