"""When another server takes over, and that two conversations shown in a row are always shown right."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kernel.scripted import ScriptedServer, Shell

from edchat_protocol.messages import Message
from edchat_widget._core import failover
from edchat_widget._core.connection import Policy
from edchat_widget._core.failover import Fork
from edchat_widget._core.side_by_side import SideBySide
from edchat_widget.errors import ConnectError, Refused
from edchat_widget.settings import Mode
from edchat_widget.view import ConnectionView, DropOp, Patch, PutOp, StateOp, View, apply

URL = "http://stories.example.org"
FORK = Fork(local="s~1", url=URL, session="s", began="2026-01-01T00:00:00Z", after="a2")


def unreachable(shell: Shell, times: int, error: Exception | None = None) -> Shell:
    for _ in range(times):
        while shell.conn is None:
            shell.tick()
        conn = shell.conn
        shell.forget_connection()
        shell.client.lost(conn, error or ConnectError("nothing answers"), shell.now)  # type: ignore[arg-type]
        shell.drain()
    return shell


@pytest.mark.parametrize("mode", ["ask", "auto"])
def test_a_server_that_was_never_met_is_given_up_after_a_few_attempts(mode: Mode) -> None:
    shell = Shell(ScriptedServer())
    shell.submit("m1", "x")
    assert failover.leaves(mode, unreachable(shell, failover.EARLY_ATTEMPTS - 1).client) == "stay"
    assert failover.leaves(mode, unreachable(shell, 1).client) == "go"
    assert failover.leaves("never", shell.client) == "stay"


def test_a_server_that_was_met_is_left_only_when_the_attempts_are_used_up() -> None:
    shell = Shell(ScriptedServer(), policy=Policy(max_attempts=5))
    shell.settle()
    shell.cut()
    unreachable(shell, 4)
    assert failover.leaves("auto", shell.client) == "stay"
    unreachable(shell, 2)
    assert shell.client.connection.state == "disconnected"
    assert [failover.leaves(m, shell.client) for m in ("ask", "auto", "never")] == ["offer", "go", "stay"]


def test_a_server_that_an_earlier_kernel_met_is_not_left_without_asking() -> None:
    shell = Shell(ScriptedServer())
    shell.settle()
    shell.begin()
    unreachable(shell, failover.EARLY_ATTEMPTS + 1)
    assert failover.leaves("ask", shell.client) == "stay"


def test_a_refusal_is_no_reason_to_leave() -> None:
    shell = unreachable(Shell(ScriptedServer()), 1, Refused("The server wants a valid token."))
    assert shell.client.connection.state == "disconnected"
    assert failover.leaves("auto", shell.client) == "stay"


def test_the_way_back_is_offered_and_taken_alone_where_nothing_was_said() -> None:
    home, local = Shell(ScriptedServer("home")), Shell(ScriptedServer("local"))
    assert failover.returns(home.client, local.client) == "stay"
    home.settle()
    assert failover.returns(home.client, local.client) == "offer", "nobody knows yet what was said here"
    local.settle()
    assert failover.returns(home.client, local.client) == "go"
    local.cut()
    local.submit("m1", "x")
    assert failover.returns(home.client, local.client) == "offer"
    assert not failover.busy(local.client)
    while local.client.outbox.pending:
        local.tick()
        local.open()
        local.carry_up()
        local.carry_down()
    assert failover.busy(local.client)
    local.cut()
    assert not failover.busy(local.client), "who cannot answer keeps nobody"
    local.settle()
    assert not failover.busy(local.client)


def test_the_agent_is_told_the_newest_messages_that_fit_and_only_with_the_first() -> None:
    shell = Shell(ScriptedServer("home"))
    for n in range(8):
        shell.submit(f"m{n}", f"question {n} " + "x" * 9000)
    shell.settle()
    shell.submit("queued", "never sent")
    shell.cut()
    fork = failover.fork_of(shell.client, url=URL, local="s~1", at="t")
    assert 0 < len(fork.history) <= failover.HISTORY_ITEMS
    assert sum(len(i.content) for i in fork.history) <= failover.HISTORY_BYTES
    assert fork.history[-1].content.startswith("Done: question 7")
    assert fork.history[-2].content.startswith("question 7")
    assert (fork.store, fork.seq, fork.session) == ("home", len(shell.server.log), "s1")
    assert fork.after == shell.client.transcript.messages[-1].id or fork.after in {
        m.id for m in shell.client.transcript.messages}
    local = Shell(ScriptedServer("local"))
    local.client.history = fork.history
    local.submit("m1", "x")
    local.submit("m2", "y")
    while local.wanted or not local.up or b"question" not in b"".join(local.up):
        local.open()
        local.carry_up()
        local.carry_down()
    assert [b"message_history" in raw for raw in local.up if b'"message"' in raw] == [True, False]


# ------------------------------------------------------------------------------------ two views as one

ids = st.sampled_from(["a1", "a2", "a3", "b1", "b2"])
ops = st.one_of(
    st.builds(lambda i, b: PutOp(message=message(i), before=b), ids, st.none() | ids),
    st.builds(lambda i: DropOp(id=i), ids),
    st.builds(lambda i: StateOp(id=i, state="failed", detail="d"), ids),
)


def message(message_id: str) -> Message:
    return Message(id=message_id, role="user", state="queued")


def view_of(session: str) -> View:
    return View(rev=0, session=session, connection=ConnectionView(state="connected"))


@given(st.lists(st.tuples(st.booleans(), st.lists(ops, max_size=3)), max_size=12), st.booleans(), st.booleans())
def test_patches_of_both_lead_to_what_both_show(
    changes: list[tuple[bool, list[PutOp | DropOp | StateOp]]], away: bool, was_away: bool
) -> None:
    old = [msgspec.structs.replace(FORK, local="s~0", ended="t", count=2, after="a1")] if was_away else []
    screen = SideBySide(URL, old)
    home = view_of("s")
    local = view_of("s~1") if away else None
    if away:
        screen.begin(FORK)
    shown = screen.view(home, local)
    for of_home, done in changes:
        patch = Patch(rev=1, ops=tuple(done))
        if of_home or local is None:
            home = msgspec.structs.replace(apply(home, patch), rev=0)
        else:
            renamed = tuple(_renamed(op) for op in done)
            patch = Patch(rev=1, ops=renamed)
            local = msgspec.structs.replace(apply(local, patch), rev=0)
        after = screen.view(home, local)
        lead = screen.ops(shown, after, patch.ops, home=of_home or local is None)
        assert apply(shown, Patch(rev=shown.rev + 1, ops=lead)).messages == after.messages
        shown = after
    notes = [m.id for m in shown.messages if m.role == "note"]
    assert notes == ["forked-s~0"] * was_away + ["fork-s~1"] * away


def _renamed(op: PutOp | DropOp | StateOp) -> PutOp | DropOp | StateOp:
    """The same op on a message of the other conversation."""
    if isinstance(op, PutOp):
        before = f"L{op.before}" if op.before else None
        return msgspec.structs.replace(op, message=message(f"L{op.message.id}"), before=before)
    return msgspec.structs.replace(op, id=f"L{op.id}")


def test_the_remark_stays_where_the_conversation_left() -> None:
    ended = msgspec.structs.replace(FORK, ended="t", count=1)
    messages = tuple(map(message, ("a1", "a2", "a3")))
    shown = failover.with_reminders(messages, [ended])
    assert [m.id for m in shown] == ["a1", "a2", f"forked-{FORK.local}", "a3"]
    assert "1 message went" in shown[2].text
    empty = msgspec.structs.replace(ended, count=0)
    for forks in itertools.permutations([empty, FORK]):
        assert failover.with_reminders(messages, forks) == messages
