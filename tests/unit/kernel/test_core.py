"""Backoff, outbox, transcript and connection, each by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kernel.scripted import ScriptedServer, Shell

from edchat_protocol.artifacts import Artifact
from edchat_protocol.codec import decode_up
from edchat_protocol.frames import (
    ErrorData,
    ErrorFrame,
    MessageData,
    MessageFrame,
    StatusData,
    StatusFrame,
    Token,
    TokenData,
    ToolExecution,
    ToolExecutionData,
)
from edchat_protocol.messages import ArtifactPart, ErrorPart, Message, TextPart, ToolCallPart
from edchat_widget._core import backoff
from edchat_widget._core.connection import Policy
from edchat_widget._core.limits import checked
from edchat_widget._core.merge import merged
from edchat_widget._core.outbox import Outbox, OutboxHead, Row
from edchat_widget._core.sender import WINDOW
from edchat_widget._core.states import TRANSITIONS, Happening, State
from edchat_widget._core.transcript import Transcript, difference
from edchat_widget.errors import ConnectionLost, MessageError, OutboxFull
from edchat_widget.view import ConnectionView, Patch, TextOp, View, apply

# ------------------------------------------------------------------------------------------------- backoff


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.01, 100), st.floats(0, 60))
def test_a_delay_stays_between_what_was_asked_and_the_ceiling(
    attempt: int, jitter: float, interval: float, asked: float
) -> None:
    delay = backoff.delay(attempt, jitter, interval=interval, at_least=asked)
    assert asked <= delay <= asked + min(backoff.MAX_DELAY, interval * 2 ** min(attempt - 1, 40)) + 1e-9


def test_ceilings_double_up_to_thirty_seconds() -> None:
    assert [backoff.ceiling(n) for n in range(1, 11)] == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


# -------------------------------------------------------------------------------------------------- outbox


def row(name: str, kind: str = "message") -> Row:
    return Row(csn=0, id=name, kind=kind, text=name)  # type: ignore[arg-type]


def filled(count: int) -> Outbox:
    outbox = Outbox(OutboxHead(client="c"))
    for n in range(count):
        outbox.add(outbox.draft(row(f"m{n}")))
    return outbox


def test_the_101st_message_is_refused_and_none_is_dropped() -> None:
    outbox = filled(100)
    with pytest.raises(OutboxFull, match=r"100 messages already wait.*none was dropped"):
        outbox.draft(row("m100"))
    assert [r.id for r in outbox.pending] == [f"m{n}" for n in range(100)]
    assert outbox.draft(row("stop", "cancel")).csn == 101


ACTIONS = st.tuples(st.sampled_from(["add", "write", "accept", "withdraw"]), st.integers(0, 30))


@given(st.lists(ACTIONS, max_size=60))
def test_numbers_stay_without_gaps_whatever_is_taken_back(actions: list[tuple[str, int]]) -> None:
    outbox, names = Outbox(OutboxHead(client="c")), 0
    for action, number in actions:
        queued = [r for r in outbox.rows if r.state == "queued"]
        written = [r for r in outbox.rows if r.state == "written"]
        if action == "add":
            outbox.add(outbox.draft(row(f"m{names}")))
            names += 1
        elif action == "write" and queued:
            outbox.written(queued[0].csn)
        elif action == "accept" and written:
            outbox.accept(written[number % len(written)].csn)
        elif action == "withdraw" and queued:
            assert outbox.withdraw(queued[number % len(queued)].id)
        csns = [r.csn for r in outbox.rows]
        assert csns == list(range(outbox.head.acked + 1, outbox.head.last_csn + 1))
        ids = [r.id for r in outbox.rows]
        assert ids == sorted(ids, key=lambda i: int(i[1:]))


def test_what_was_written_to_another_store_is_in_doubt_and_not_sent_again() -> None:
    outbox = filled(3)
    outbox.head = OutboxHead(client="c", last_csn=3, store="old")
    outbox.written(1)
    doubtful = outbox.rebase("c2", "new")
    assert [r.id for r in doubtful] == ["m0"]
    assert [(r.id, r.csn) for r in outbox.pending] == [("m1", 1), ("m2", 2)]
    assert outbox.find("m0").state == "in_doubt"  # type: ignore[union-attr]


@pytest.mark.parametrize(("text", "why"), [("", "empty"), (" \n\t", "empty"), ("é" * 32769, "65,538 bytes"),
                                           ("\ud800", "half a character")])
def test_a_message_that_cannot_be_sent_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(MessageError, match=why) as caught:
        checked(text)
    assert isinstance(caught.value, ValueError)


# ---------------------------------------------------------------------------------------------- transcript


def test_a_piece_of_text_that_comes_twice_or_overlaps_changes_nothing() -> None:
    transcript = Transcript()
    for text, off in (("Hel", 0), ("Hel", 0), ("ello", 1), ("", 9), ("!", 5), ("lost", 40)):
        transcript.fold(Token(run="r", mid="t", off=off, data=TokenData(token=text)))
    assert transcript.messages[0].text == "Hello!"


def test_two_calls_of_one_tool_stay_apart() -> None:
    transcript = Transcript()
    for step, status in (("a", "running"), ("b", "running"), ("a", "success"), ("b", "error")):
        transcript.fold(ToolExecution(run="r", step=step, timestamp="t", data=ToolExecutionData(
            tool="create_story", status=status)))  # type: ignore[arg-type]
    calls = [p for p in transcript.messages[0].parts if isinstance(p, ToolCallPart)]
    assert [(c.id, c.state) for c in calls] == [("a", "output-available"), ("b", "output-error")]


def test_a_story_is_one_card_and_the_newest_version_stays() -> None:
    def story(version: int) -> Artifact:
        return Artifact(type="story", data={"id": "STORY-1", "version": version})

    transcript = Transcript()
    transcript.fold(ToolExecution(run="r", step="a", data=ToolExecutionData(
        tool="t", status="success", artifacts=(story(1),))))
    transcript.fold(ToolExecution(run="r", step="b", data=ToolExecutionData(
        tool="t", status="success", artifacts=(story(2),))))
    both = MessageData(content="x", artifacts=(story(1), story(2)))
    transcript.fold(MessageFrame(run="r", mid="m", data=both))
    cards = [p for p in transcript.messages[0].parts if isinstance(p, ArtifactPart)]
    assert [c.data["version"] for c in cards] == [2]
    assert [e.type for e in transcript.take_events()].count("story") == 2


def test_a_failed_run_says_why_and_leaves_no_spinner() -> None:
    transcript = Transcript()
    transcript.fold(MessageFrame(run="r", mid="u", data=MessageData(content="x", role="user")))
    transcript.fold(ToolExecution(run="r", step="a", timestamp="t", data=ToolExecutionData(
        tool="t", status="running")))
    transcript.fold(ErrorFrame(run="r", data=ErrorData(error="no key", code="model_error")))
    transcript.fold(StatusFrame(run="r", data=StatusData(status="failed")))
    asked, answer = transcript.messages
    assert (asked.state, answer.state) == ("failed", "incomplete")
    assert [type(p) for p in answer.parts] == [ToolCallPart, ErrorPart]
    assert answer.parts[0].state == "output-error"  # type: ignore[union-attr]


messages = st.lists(st.integers(0, 8), unique=True).flatmap(
    lambda ids: st.tuples(*(st.builds(
        lambda i, t: Message(id=f"m{i}", role="user", state="sent", parts=(TextPart(id="t", text=t),)),
        st.just(i), st.sampled_from("ab")) for i in ids)))


@given(messages, messages)
def test_a_difference_leads_from_one_view_to_the_other(
    before: tuple[Message, ...], after: tuple[Message, ...]
) -> None:
    view = View(rev=0, session="s", connection=ConnectionView(state="connected"), messages=before)
    assert apply(view, Patch(rev=1, ops=tuple(difference(before, after)))).messages == after


def test_neighbouring_texts_travel_as_one() -> None:
    ops = [TextOp(id="m", part="p", text=t) for t in "abc"] + [TextOp(id="m", part="q", text="d")]
    assert [(o.part, o.text) for o in merged(ops)] == [("p", "abc"), ("q", "d")]  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------- connection


def test_every_state_says_what_a_stop_and_a_refusal_do() -> None:
    for state in State:
        assert TRANSITIONS[state, Happening.STOP] is State.DISCONNECTED
        assert TRANSITIONS[state, Happening.GIVE_UP] is State.DISCONNECTED
        assert TRANSITIONS[state, Happening.CUT] is State.RECONNECTING


def state_of(shell: Shell) -> str:
    return shell.shown.connection.state


def connected(policy: Policy | None = None) -> Shell:
    shell = Shell(ScriptedServer(), policy=policy)
    shell.settle()
    return shell


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 1013])
def test_a_polite_close_is_rejoined(code: int) -> None:
    shell = connected()
    shell.cut(code)
    assert state_of(shell) == "reconnecting"
    shell.settle()
    assert state_of(shell) == "connected"


@pytest.mark.parametrize("code", [1002, 1008, 4500, 4502, 4503])
def test_a_final_close_is_not_rejoined_until_a_person_asks(code: int) -> None:
    shell = connected()
    shell.cut(code)
    assert state_of(shell) == "disconnected"
    assert shell.client.deadline is None
    shell.client.reconnect(shell.now)
    shell.settle()
    assert state_of(shell) == "connected"


def test_a_server_that_accepts_and_closes_is_not_hammered() -> None:
    shell = Shell(ScriptedServer())
    for _ in range(200):
        shell.tick()
        shell.open()
        shell.carry_up()
        shell.carry_down()
        shell.cut(1013)
    for start in shell.opens:
        assert sum(1 for t in shell.opens if start <= t < start + 3) <= 10
    assert state_of(shell) == "disconnected"


def test_attempts_used_up_keep_the_queue_and_a_slow_probe_finds_the_server_again() -> None:
    shell = Shell(ScriptedServer())
    shell.submit("m1", "kept")
    for _ in range(30):
        shell.cut()
        if state_of(shell) == "disconnected":
            break
        shell.tick()
    assert shell.shown.connection.reason == "cut"
    assert shell.shown.queued == 1
    before = shell.now
    shell.tick()
    assert 30 <= shell.now - before <= 90
    shell.settle()
    assert shell.server.contents == ["kept"]
    assert state_of(shell) == "connected"


def test_a_send_begins_again_after_the_attempts_were_used_up() -> None:
    shell = Shell(ScriptedServer(), policy=Policy(max_attempts=0))
    shell.cut()
    shell.tick()
    shell.cut()
    assert state_of(shell) == "disconnected"
    shell.submit("m1", "now")
    assert state_of(shell) == "connecting"
    shell.settle()
    assert shell.server.contents == ["now"]


def test_a_peer_that_says_nothing_more_is_noticed() -> None:
    shell = connected()
    shell.up.clear()
    for _ in range(6):
        shell.tick()
        shell.up.clear()
        if state_of(shell) == "reconnecting":
            break
    assert state_of(shell) == "reconnecting"
    assert shell.now <= 30


def test_attempts_count_from_one_again_only_after_ten_good_seconds() -> None:
    shell = connected()
    shell.cut()
    shell.settle()
    shell.cut()
    assert shell.shown.connection.attempt == 2
    shell.settle()
    shell.tick(10.1)
    shell.cut()
    assert shell.shown.connection.attempt == 1


def test_a_restored_server_that_lost_messages_gets_them_under_a_new_name() -> None:
    shell = connected()
    shell.submit("m1", "one")
    shell.settle()
    shell.server.__init__(store="st1")  # type: ignore[misc]  # an older backup: it knows nothing
    shell.server.epoch = "e2"
    shell.cut()
    shell.submit("m2", "two")
    shell.settle()
    assert shell.server.contents == ["two"]
    assert [m.id for m in shell.shown.messages if m.role == "user"] == ["m2"]


def test_a_stop_takes_back_what_was_never_sent() -> None:
    shell = Shell(ScriptedServer())
    shell.submit("m1", "one")
    shell.submit("m2", "two")
    assert shell.client.draft_cancel(None, "x", "t") is None
    shell.submit("m3", "three")
    shell.settle()
    assert shell.server.contents == ["three"]
    states = {m.id: m.state for m in shell.shown.messages}
    assert states["m1"] == states["m2"] == "failed"


def test_history_is_no_news_but_what_comes_after_it_is() -> None:
    shell = connected()
    shell.submit("m1", "one")
    shell.settle()
    shell.begin()
    shell.events.clear()
    shell.settle()
    assert [e.type for e in shell.events if e.type != "connection"] == []
    shell.submit("m2", "two")
    shell.settle()
    types = [e.type for e in shell.events if e.type != "connection"]
    assert types[0] == "message"
    assert types[-1] == "message"
    assert types.count("story") == 1


def test_the_server_going_away_for_good_is_told_as_it_is() -> None:
    shell = connected()
    assert shell.conn is not None
    shell.client.lost(shell.conn, ConnectionLost("The server restarts.", close_code=1012), shell.now)
    shell.drain()
    assert shell.shown.connection.reason == "The server restarts."


def test_a_snapshot_keeps_what_only_this_side_knows() -> None:
    shell = connected()
    shell.submit("m1", "one")
    shell.settle()
    shell.cut()
    shell.submit("m2", "two")
    shell.server.prefer_snapshot = True
    shell.tick()
    shell.open()
    shell.carry_up()
    while shell.down:
        shell.carry_down()
    assert [m.id for m in shell.shown.messages if m.role == "user"] == ["m1", "m2"]
    shell.settle()
    assert shell.server.contents == ["one", "two"]


def test_what_was_sent_on_this_connection_is_not_sent_again_before_it_is_confirmed() -> None:
    shell = connected()
    shell.submit("m1", "one")
    shell.submit("m2", "two")
    shell.submit("m3", "three")
    assert [decode_up(raw).id for raw in shell.up if b'"message"' in raw] == ["m1", "m2", "m3"]


def test_more_than_the_window_waits_for_confirmations() -> None:
    shell = connected()
    for n in range(WINDOW + 5):
        shell.submit(f"m{n}", "x")
    assert len([raw for raw in shell.up if b'"message"' in raw]) == WINDOW
    shell.settle()
    assert len(shell.server.contents) == WINDOW + 5


def test_switching_the_websocket_off_moves_to_http_at_once() -> None:
    shell = connected()
    shell.client.configure(Policy(websocket=False), shell.now)
    shell.drain()
    assert state_of(shell) == "connecting"
    before = shell.now
    shell.tick()
    assert shell.now == before
    assert shell.wanted is not None
    assert shell.wanted.carrier == "http"


def test_other_limits_hold_from_now_on_and_cut_nothing() -> None:
    shell = connected()
    shell.client.configure(Policy(max_attempts=3), shell.now, renewed=True)
    shell.drain()
    assert state_of(shell) == "connected"
    assert shell.shown.connection.max_attempts == 3


def test_another_token_is_tried_at_once_where_the_old_one_is_on_its_way() -> None:
    shell = Shell(ScriptedServer())
    first = shell.conn
    shell.client.configure(Policy(), shell.now, renewed=True)
    shell.drain()
    shell.tick()
    assert shell.conn != first
    shell.settle()
    assert state_of(shell) == "connected"


def test_the_conversation_is_known_when_all_of_it_has_come_and_not_before() -> None:
    shell = connected()
    shell.submit("m1", "one")
    shell.settle()
    shell.begin()
    shell.open()
    shell.carry_up()
    known = []
    while shell.down:
        shell.carry_down()
        known.append((shell.client.caught_up, len(shell.shown.messages)))
    assert known[-1] == (True, 2)
    assert {count for caught_up, count in known if caught_up} == {2}
    assert (False, 0) in known
