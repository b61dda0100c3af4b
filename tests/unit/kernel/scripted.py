"""A server and a shell in memory, without sockets or clocks: what the core is tested against."""

from collections import deque

import msgspec

from edchat_protocol.artifacts import Artifact
from edchat_protocol.codec import decode_down, decode_up, encode
from edchat_protocol.frames import (
    Ack,
    AckData,
    AgentBrief,
    Cancel,
    Events,
    EventsData,
    Hello,
    HelloData,
    Limits,
    Logged,
    MessageData,
    MessageFrame,
    Nack,
    NackData,
    Ping,
    Pong,
    Snapshot,
    SnapshotData,
    StatusData,
    StatusFrame,
    Token,
    TokenData,
    ToolDetails,
    ToolExecution,
    ToolExecutionData,
    UserMessage,
    Welcome,
    WelcomeData,
)
from edchat_widget._core.client import Client
from edchat_widget._core.connection import Policy
from edchat_widget._core.effects import Close, Emit, Open, Persist, Publish, Send
from edchat_widget._core.outbox import Outbox, OutboxHead, Row
from edchat_widget._core.transcript import Transcript
from edchat_widget.errors import ConnectionLost
from edchat_widget.events import ChatEvent
from edchat_widget.view import Patch, View, apply

SESSION = "s1"


class ScriptedServer:
    """A version 2 server with one session: accepts once, keeps a gapless log, answers when stepped."""

    def __init__(self, store: str = "st1") -> None:
        self.store = store
        self.epoch = "e1"
        self.log: list[bytes] = []
        self.accepted: dict[str, int] = {}
        self.runs: dict[str, str] = {}
        self.todo: deque[list[Logged]] = deque()
        self.contents: list[str] = []
        self.prefer_snapshot = False

    def append(self, frame: Logged) -> None:
        seq = len(self.log) + 1
        numbered = msgspec.structs.replace(frame, seq=seq, id=f"{self.epoch}:{seq}", timestamp="t")
        self.log.append(encode(numbered))

    def welcome(self, hello: HelloData) -> list[bytes]:
        replay = hello.epoch == self.epoch and hello.cursor <= len(self.log) and not self.prefer_snapshot
        frames = [encode(Welcome(data=WelcomeData(
            proto=2, session=SESSION, epoch=self.epoch, store=self.store, head=len(self.log),
            accepted_csn=self.accepted.setdefault(hello.client, 0),
            resume="replay" if replay else "snapshot", hb=15,
            limits=Limits(frame=262144, message=65536), agent=AgentBrief(name="scripted", offline=True))))]
        if not replay:
            half = len(self.log) // 2
            for page, last in ((self.log[:half], False), (self.log[half:], True)):
                frames.append(encode(Snapshot(data=SnapshotData(
                    epoch=self.epoch, head=len(self.log), page=2 if last else 1, last_page=last,
                    frames=[msgspec.Raw(f) for f in page]))))
        elif hello.cursor < len(self.log):
            frames.append(encode(Events(data=EventsData(
                first=hello.cursor + 1, last=len(self.log),
                frames=[msgspec.Raw(f) for f in self.log[hello.cursor:]]))))
        return frames

    def take(self, client: str, raw: bytes) -> list[bytes]:
        frame = decode_up(raw)
        match frame:
            case Ping():
                return [encode(Pong(data=frame.data))]
            case UserMessage() | Cancel():
                return [encode(self._accept(client, frame))]
            case _:
                return []

    def _accept(self, client: str, frame: UserMessage | Cancel) -> Ack | Nack:
        assert frame.id is not None
        assert frame.csn is not None
        last = self.accepted.setdefault(client, 0)
        if frame.csn > last + 1:
            return Nack(csn=frame.csn, ref=frame.id, data=NackData(
                code="gap", message="gap", final=False, expect=last + 1))
        duplicate = frame.csn <= last or frame.id in self.runs
        self.accepted[client] = max(last, frame.csn)
        if isinstance(frame, UserMessage) and not duplicate:
            self._begin(frame.id, frame.data.content)
        run = self.runs.get(frame.id)
        return Ack(ack=self.accepted[client], ref=frame.id, data=AckData(run=run, duplicate=duplicate))

    def _begin(self, message_id: str, content: str) -> None:
        run = f"r{len(self.runs) + 1}"
        self.runs[message_id] = run
        self.contents.append(content)
        self.append(MessageFrame(run=run, mid=message_id, data=MessageData(content=content, role="user")))
        self.append(StatusFrame(run=run, data=StatusData(status="queued")))
        self.todo.append(answer(run, content))

    def step(self) -> bytes | None:
        """Let the agent do one thing; return the new event."""
        while self.todo and not self.todo[0]:
            self.todo.popleft()
        if not self.todo:
            return None
        self.append(self.todo[0].pop(0))
        return self.log[-1]

    def fold(self, upto: int) -> Transcript:
        transcript = Transcript()
        for raw in self.log[:upto]:
            frame = decode_down(raw)
            assert isinstance(frame, Logged)
            transcript.fold(frame)
        return transcript


def answer(run: str, content: str) -> list[Logged]:
    """What the scripted agent does for a message: one void attempt, one tool, one story, one text."""
    story = Artifact(type="story", data={
        "id": f"STORY-{run[1:]}", "title": content, "epic": "E", "priority": "P1", "version": 1})
    step = f"call-{run}"
    return [
        StatusFrame(run=run, attempt=1, data=StatusData(status="processing")),
        Token(run=run, mid=f"{run}-a", off=0, data=TokenData(token="void")),
        StatusFrame(run=run, attempt=2, data=StatusData(status="retrying", supersedes=(f"{run}-a",))),
        ToolExecution(run=run, step=step, data=ToolExecutionData(
            tool="create_story", status="running", details=ToolDetails(started_at="t"))),
        ToolExecution(run=run, step=step, data=ToolExecutionData(
            tool="create_story", status="success", details=ToolDetails(output="ok"), artifacts=(story,))),
        Token(run=run, mid=f"{run}-b", off=0, data=TokenData(token="Done: ")),
        Token(run=run, mid=f"{run}-b", off=6, data=TokenData(token=content)),
        MessageFrame(
            run=run, mid=f"{run}-b", data=MessageData(content=f"Done: {content}", artifacts=(story,))),
        StatusFrame(run=run, data=StatusData(status="completed")),
    ]


class Shell:
    """Runs a client's effects against a scripted server, frame by frame, as slowly as the test wants."""

    def __init__(self, server: ScriptedServer, *, policy: Policy | None = None) -> None:
        self.server = server
        self.policy = policy or Policy()
        self.now = 0.0
        self.last_csn = 0
        self.sent = 0  # how much of the log this connection was sent
        self.head = OutboxHead(client="c1")
        self.rows: dict[int, Row] = {}
        self.names = 1
        self.events: list[ChatEvent] = []
        self.opens: list[float] = []
        self.begin()

    def begin(self) -> None:
        """Start a kernel: everything in memory is new, the outbox is what was stored."""
        self.conn: int | None = None
        self.hello: HelloData | None = None
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.wanted: Open | None = None
        outbox = Outbox(self.head, self.rows.values())
        self.client = Client(SESSION, outbox, jitter=lambda: 0.5, new_id=self.new_name, policy=self.policy)
        self.shown = self.client.view(0)
        self.client.start(self.now)
        self.tick()

    def new_name(self) -> str:
        self.names += 1
        return f"c{self.names}"

    def drain(self) -> None:
        for effect in self.client.effects():
            match effect:
                case Open():
                    self.opens.append(self.now)
                    self.wanted, self.conn = effect, effect.hello.conn
                    self.last_csn = 0
                    self.up.clear()
                    self.down.clear()
                case Send():
                    if effect.conn == self.conn:
                        self.up.append(effect.raw)
                case Close():
                    if effect.conn == self.conn:
                        self.forget_connection()
                case Persist():
                    self.head = effect.head
                    self.rows |= {r.csn: r for r in effect.rows}
                    for csn in effect.gone:
                        self.rows.pop(csn, None)
                case Publish():
                    self.shown = apply(self.shown, Patch(rev=self.shown.rev + 1, ops=effect.ops))
                case Emit():
                    self.events.append(effect.event)
        expected = self.client.view(self.shown.rev)
        assert self.shown == expected

    def forget_connection(self) -> None:
        self.conn = self.wanted = self.hello = None
        self.up.clear()
        self.down.clear()

    def submit(self, message_id: str, text: str) -> None:
        row = self.client.draft_message(message_id, text, "t")
        if row is not None:
            self.rows[row.csn] = row
            self.head = msgspec.structs.replace(self.head, last_csn=row.csn)
            self.client.submit(row, self.now)
        self.drain()

    def open(self, subprotocol: str | None = "edchat.v2") -> None:
        """Let the wanted connection come about."""
        if self.wanted is None or self.conn is None:
            return
        carrier, self.wanted = self.wanted.carrier, None
        self.client.opened(self.conn, carrier, subprotocol, self.now)
        self.drain()

    def carry_up(self) -> None:
        """Let one frame reach the server."""
        if not self.up:
            return
        raw = self.up.popleft()
        frame = decode_up(raw)
        if isinstance(frame, Hello):
            self.hello = frame.data
            self.down.extend(self.server.welcome(frame.data))
            self.sent = len(self.server.log)
        elif self.hello is not None:
            if isinstance(frame, UserMessage | Cancel):
                assert frame.csn is not None
                assert frame.csn > self.last_csn, "sent twice on one connection"
                self.last_csn = frame.csn
            self.down.extend(self.server.take(self.hello.client, raw))
            self.follow_log()

    def follow_log(self) -> None:
        """Queue what the log has and this connection was not sent yet."""
        self.down.extend(self.server.log[self.sent:])
        self.sent = len(self.server.log)

    def carry_down(self, *, twice: bool = False) -> None:
        """Let one frame reach the client."""
        if not self.down or self.conn is None:
            return
        raw = self.down.popleft()
        for _ in range(2 if twice else 1):
            if self.conn is not None:
                self.client.frame(self.conn, raw, self.now, "t")
                self.drain()

    def step(self) -> None:
        """Let the agent work."""
        if self.server.step() is not None and self.hello is not None:
            self.follow_log()

    def cut(self, code: int = 1006) -> None:
        """Cut the line: what is under way in either direction is gone."""
        if self.conn is None:
            return
        conn = self.conn
        self.forget_connection()
        self.client.lost(conn, ConnectionLost("cut", close_code=code), self.now)
        self.drain()

    def tick(self, seconds: float | None = None) -> None:
        """Let time pass: to the next deadline if not said."""
        deadline = self.client.deadline
        if seconds is None:
            seconds = max(0.0, deadline - self.now) if deadline is not None else 0.0
        self.now += seconds
        self.client.tick(self.now)
        self.drain()

    def settle(self, rounds: int = 3000) -> None:
        """Let the network heal and everybody finish."""
        for _ in range(rounds):
            if self.wanted is not None:
                self.open()
            elif self.up:
                self.carry_up()
            elif self.down:
                self.carry_down()
            elif any(self.server.todo):
                self.step()
            elif self.client.connection.live and not self.client.outbox.pending:
                return
            else:
                self.tick()
        raise AssertionError(f"not settled: {self.client.connection.state} {self.client.outbox.pending}")


def shown_of(view: View) -> list[tuple[str, str]]:
    return [(m.id, m.state) for m in view.messages]
