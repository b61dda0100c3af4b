"""The core against a scripted server and every kind of misfortune: nothing lost, nothing doubled."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.kernel.scripted import ScriptedServer, Shell, shown_of

from edchat_protocol.codec import encode
from edchat_protocol.frames import Ack, AckData
from edchat_protocol.messages import ArtifactPart, TextPart


class Misfortune(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server = ScriptedServer()
        self.shell = Shell(self.server)
        self.sent: list[str] = []

    @precondition(lambda self: len(self.sent) < 8)
    @rule()
    def submit(self) -> None:
        name = f"m{len(self.sent) + 1}"
        self.sent.append(name)
        self.shell.submit(name, f"text of {name}")

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def offer_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.sent))
        self.shell.submit(name, f"text of {name}")

    @rule()
    def open(self) -> None:
        self.shell.open()

    @precondition(lambda self: not self.shell.client.connection.live)
    @rule()
    def connect(self) -> None:
        self.shell.tick()
        self.shell.open()
        self.shell.carry_up()
        self.shell.carry_down()

    @rule(frames=st.integers(1, 4))
    def carry_up(self, frames: int) -> None:
        for _ in range(frames):
            self.shell.carry_up()

    @rule(frames=st.integers(1, 6), twice=st.booleans())
    def carry_down(self, frames: int, twice: bool) -> None:
        for _ in range(frames):
            self.shell.carry_down(twice=twice)

    @rule(steps=st.integers(1, 5))
    def agent_works(self, steps: int) -> None:
        for _ in range(steps):
            self.shell.step()

    @rule(code=st.sampled_from([1006, 1001, 1011, 1012, 1013, 1000]))
    def cut(self, code: int) -> None:
        self.shell.cut(code)

    @rule()
    def time_passes(self) -> None:
        self.shell.tick()

    @rule(snapshot=st.booleans())
    def server_prefers(self, snapshot: bool) -> None:
        self.server.prefer_snapshot = snapshot

    @rule()
    def kernel_dies(self) -> None:
        self.shell.begin()

    @rule()
    def person_reconnects(self) -> None:
        self.shell.client.reconnect(self.shell.now)
        self.shell.drain()

    @rule()
    def machine_slept(self) -> None:
        self.shell.client.wake(self.shell.now)
        self.shell.drain()

    @invariant()
    def the_store_has_what_waits(self) -> None:
        stored = tuple(row for _, row in sorted(self.shell.rows.items()))
        assert stored == self.shell.client.outbox.rows

    @invariant()
    def no_command_waits_twice(self) -> None:
        ids = [r.id for r in self.shell.client.outbox.rows]
        assert len(ids) == len(set(ids))

    @invariant()
    def nothing_is_accepted_twice(self) -> None:
        assert len(self.server.contents) == len(set(self.server.contents))

    def teardown(self) -> None:
        self.shell.settle()
        assert self.server.contents == [f"text of {name}" for name in self.sent]
        messages = self.shell.shown.messages
        assert [m.id for m in messages if m.role == "user"] == self.sent
        assert [m.run for m in messages] == [r for r in self.server.runs.values() for _ in range(2)]
        assert messages == self.server.fold(len(self.server.log)).messages
        for message in messages[1::2]:
            assert message.state == "complete"
            assert len([p for p in message.parts if isinstance(p, ArtifactPart)]) == 1
            texts = [p.text for p in message.parts if isinstance(p, TextPart)]
            assert len(texts) == 1
            assert texts[0].startswith("Done: text of")


Misfortune.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestMisfortune = Misfortune.TestCase


def test_a_message_that_a_server_lost_by_being_set_back_says_so() -> None:
    server = ScriptedServer()
    shell = Shell(server)
    shell.open()
    shell.carry_up()
    shell.carry_down()
    shell.submit("m1", "text of m1")
    shell.carry_up()
    shell.down.clear()
    shell.client.frame(shell.conn or 0, encode(Ack(ack=1, ref="m1", data=AckData(run="r1"))), shell.now)
    shell.drain()
    assert shown_of(shell.shown) == [("m1", "accepted")]
    shell.cut()

    server.epoch = "e2"
    server.log.clear()
    server.accepted.clear()
    server.runs.clear()
    server.todo.clear()
    shell.settle()
    assert shown_of(shell.shown) == [("m1", "failed")]
    assert "set back" in (shell.shown.messages[0].detail or "")
