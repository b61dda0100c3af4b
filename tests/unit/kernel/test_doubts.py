"""What was written to one server is never sent to another, and its own server says in the end what became of it."""

import pytest
from tests.unit.kernel.scripted import ScriptedServer, Shell, shown_of

from edchat_widget._core.outbox import Outbox, OutboxHead, Row


def written_and_cut(*, received: bool) -> tuple[Shell, ScriptedServer]:
    """A message "m1" that left this side; the server had it or not; then the line broke."""
    home = ScriptedServer("home")
    shell = Shell(home)
    shell.settle()
    shell.submit("m1", "written")
    assert shell.up
    if received:
        shell.carry_up()
    shell.cut()
    return shell, home


def meet(shell: Shell, server: ScriptedServer) -> None:
    shell.server = server
    shell.client.reconnect(shell.now)
    shell.tick()
    shell.settle()


@pytest.mark.parametrize("received", [True, False])
@pytest.mark.parametrize("restart", [True, False])
def test_a_message_in_doubt_settles_when_its_store_answers_again(received: bool, restart: bool) -> None:
    shell, home = written_and_cut(received=received)
    other = ScriptedServer("other")
    other.epoch = "e2"
    meet(shell, other)
    assert other.contents == []
    assert shown_of(shell.shown) == [("m1", "in_doubt")]
    assert "has not confirmed it" in (shell.shown.messages[0].detail or "")
    shell.cut()
    if restart:
        shell.begin()
        assert shown_of(shell.shown) == [("m1", "in_doubt")]
    meet(shell, home)
    states = dict(shown_of(shell.shown))
    assert states["m1"] == ("answered" if received else "failed")
    assert home.contents == (["written"] if received else [])
    assert other.contents == []
    if received:
        assert shell.client.outbox.rows == ()
    else:
        assert "does not have this message" in (shell.shown.messages[0].detail or "")


def test_what_was_never_written_goes_to_the_store_that_answers() -> None:
    shell, _home = written_and_cut(received=False)
    shell.submit("m2", "queued")
    other = ScriptedServer("other")
    meet(shell, other)
    assert other.contents == ["queued"]


def test_a_client_that_leaves_keeps_what_was_written_and_gives_up_the_rest() -> None:
    shell, home = written_and_cut(received=True)
    shell.submit("m2", "queued")
    assert [r.id for r in shell.client.doubts.undelivered()] == ["m2"]
    shell.client.doubts.leave("another-name")
    shell.drain()
    assert shown_of(shell.shown) == [("m1", "in_doubt")]
    assert [(r.id, r.state) for r in shell.rows.values()] == [("m1", "in_doubt")]
    meet(shell, home)
    assert dict(shown_of(shell.shown))["m1"] == "answered"
    shell.submit("m3", "later")
    shell.settle()
    assert home.contents == ["written", "later"]


def test_what_the_log_has_shown_is_not_in_doubt_though_its_confirmation_was_lost() -> None:
    home = ScriptedServer("home")
    shell = Shell(home)
    shell.settle()
    shell.submit("m1", "written")
    shell.carry_up()
    shell.down.popleft()  # the acknowledgement
    while shell.down:
        shell.carry_down()
    shell.cut()
    shell.client.doubts.leave("another-name")
    shell.drain()
    assert shown_of(shell.shown)[0] == ("m1", "accepted")
    assert shell.rows == {}


def test_nothing_is_said_to_be_missing_before_the_whole_log_is_known() -> None:
    shell, home = written_and_cut(received=True)
    shell.client.doubts.leave("another-name")
    shell.drain()
    home.prefer_snapshot = True
    shell.tick()
    shell.open()
    shell.carry_up()
    while len(shell.down) > 1:
        shell.carry_down()
        assert dict(shown_of(shell.shown))["m1"] == "in_doubt"
    shell.settle()
    assert dict(shown_of(shell.shown))["m1"] == "answered"


def test_asking_again_puts_the_new_message_in_place_of_the_doubtful_one() -> None:
    shell, home = written_and_cut(received=True)
    shell.client.doubts.leave("another-name")
    shell.submit("m2", "written")
    shell.client.replace_lost("m1")
    shell.drain()
    assert shown_of(shell.shown) == [("m2", "queued")]
    meet(shell, home)
    assert home.contents == ["written", "written"]  # the reader was told that it may run twice
    assert [i for i, _ in shown_of(shell.shown) if i.startswith("m")] == ["m1", "m2"]


def test_dividing_an_outbox_keeps_its_refused_rows_and_starts_the_count_anew() -> None:
    rows = [
        Row(csn=1, id="no", kind="message", state="refused", detail="why"),
        Row(csn=2, id="out", kind="message", state="written", store="home"),
        Row(csn=3, id="stop", kind="cancel", state="written", store="home"),
        Row(csn=4, id="new", kind="message"),
    ]
    outbox = Outbox(OutboxHead(client="a", last_csn=4, acked=1, store="home"), rows)
    assert [r.id for r in outbox.divide("b", "why not")] == ["out"]
    assert [(r.id, r.state, r.csn < 1) for r in outbox.rows] == [("no", "refused", True), ("out", "in_doubt", True)]
    assert (outbox.head.client, outbox.head.last_csn, outbox.head.acked, outbox.head.store) == ("b", 0, 0, "home")
    assert outbox.changed()[1] == [1, 2, 3, 4]
