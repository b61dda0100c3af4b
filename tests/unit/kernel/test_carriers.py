"""Which carrier is used when, and that a change of it is not seen: the core in virtual time."""

import random
from collections.abc import Callable

import pytest
from tests.unit.kernel.lines import Line, Lines

from edchat_protocol.codec import decode_up, encode
from edchat_protocol.frames import (
    ErrorData,
    ErrorFrame,
    Goaway,
    GoawayData,
    Nack,
    NackData,
    Pong,
    StatusData,
    StatusFrame,
    UserMessage,
)
from edchat_protocol.messages import Message, TextPart
from edchat_widget._core.carriers import Way
from edchat_widget._core.connection import Policy
from edchat_widget._core.origin import message_frame
from edchat_widget._io.transport import refusal
from edchat_widget.errors import ConnectError, ConnectionLost, EdChatError, Timeout

BLOCKED = ConnectError("no upgrade", status=404, blocked="surely")


def on_http(jitter: float = 0.5) -> Lines:
    """A conversation over HTTP, since the WebSocket could not be had."""
    net = Lines(jitter=lambda: jitter)
    net.refuse(1, BLOCKED)
    net.tick()
    net.open(2)
    net.busy()
    assert net.states[-1] == "fallback"
    net.states[:] = ["fallback"]
    return net


def looking(net: Lines) -> int:
    """Let time pass until a WebSocket is tried beside what stands; return its number."""
    before = set(net.lines)
    for _ in range(20):
        net.tick()
        net.busy()
        if set(net.lines) - before:
            return net.newest
    raise AssertionError("never looked")


# ------------------------------------------------------------------------------------------------ the change


def test_the_websocket_is_had_again_without_a_flicker_and_without_a_loss() -> None:
    net = on_http()
    net.submit("m1")
    ws = looking(net)
    assert 15 <= net.now <= 45
    assert net.lines[ws].wanted.carrier == "ws"
    net.submit("m2")
    net.open(ws)
    net.submit("m3")
    assert net.shown.connection.carrier == "http"
    net.busy()
    assert list(net.lines) == [ws]
    assert net.shown.connection.carrier == "ws"
    assert net.states == ["fallback", "connected"]
    net.check(["m1", "m2", "m3"])
    assert net.client.meter.report(net.now, queued=0).reconnects == 0


def test_the_old_connection_may_end_before_the_new_one_is_greeted_and_nobody_sees_it() -> None:
    net = on_http()
    old, ws = net.newest, looking(net)
    net.open(ws)
    net.carry_up(ws)
    before = net.shown.connection
    net.refuse(old, ConnectionLost("The event stream ended."))
    net.submit("m1")
    assert net.shown.connection == before
    net.busy()
    assert net.states == ["fallback", "connected"]
    net.check(["m1"])


def test_an_acknowledgement_that_overtakes_the_greeting_does_not_make_the_server_a_stranger() -> None:
    net = on_http()
    old, ws = net.newest, looking(net)
    net.open(ws)
    net.carry_up(ws)  # the server says what it has now
    net.submit("m1")
    while net.lines[old].up or net.lines[old].down:
        net.carry_up(old)
        net.carry_down(old)
    assert net.client.outbox.head.acked == 1
    net.busy()
    assert net.states == ["fallback", "connected"]
    net.check(["m1"])


def test_a_greeting_that_never_comes_after_the_old_connection_ended_is_a_loss_within_seconds() -> None:
    net = on_http()
    old, ws = net.newest, looking(net)
    net.open(ws)
    net.refuse(old, ConnectionLost("The event stream ended."))
    assert net.states == ["fallback"]
    began = net.now
    net.tick()
    assert (net.states, net.now - began) == (["fallback", "reconnecting"], 5.0)
    assert net.shown.connection.reason == "The event stream ended."
    net.settle()
    assert net.states[-1] == "fallback", "what worked before is tried first"


@pytest.mark.parametrize("how", ["refused", "never opens", "never greets", "greets wrongly"])
def test_a_look_that_comes_to_nothing_is_not_seen_and_is_repeated(how: str) -> None:
    net = on_http()
    for _ in range(4):
        ws, began = looking(net), net.now
        if how == "refused":
            net.refuse(ws, BLOCKED)
        elif how == "never greets":
            net.open(ws)
            net.lines[ws].up.clear()
        elif how == "greets wrongly":
            net.open(ws)
            net.lines[ws].up.clear()
            net.lines[ws].down.append(encode(Pong()))
            net.carry_down(ws)
        while ws in net.lines:
            net.tick()
            net.busy()
        assert net.now - began <= 15
    assert net.states == ["fallback"]
    net.submit("m1")
    net.busy()
    net.check(["m1"])


def test_a_person_who_asks_is_not_kept_waiting_for_the_next_look() -> None:
    net = on_http()
    net.tick()
    net.busy()
    began = net.now
    net.client.reconnect(net.now)
    net.drain()
    ws = looking(net)
    assert net.now == began
    assert net.lines[ws].wanted.carrier == "ws"


def test_a_websocket_that_breaks_after_each_return_is_tried_ever_less_often() -> None:
    net = on_http()
    waits = []
    for _ in range(4):
        began, ws = net.now, looking(net)
        waits.append(net.now - began)
        net.open(ws)
        net.busy()
        assert net.states[-1] == "connected"
        net.cut(ws)
        net.tick()
        assert net.lines[net.newest].wanted.carrier == "http"
        net.open(net.newest)
        net.busy()
    assert [round(w) for w in waits] == [30, 60, 120, 240]


def test_one_return_that_broke_is_not_held_against_later_websockets() -> None:
    net = on_http()
    ws = looking(net)
    net.open(ws)
    net.busy()
    net.cut(ws)
    net.tick()
    net.cut(net.newest)  # HTTP is no better, so the WebSocket's turn has come
    net.tick()
    assert net.lines[net.newest].wanted.carrier == "ws"
    net.open(net.newest)
    net.busy()
    net.cut(net.newest)
    net.tick()
    assert net.lines[net.newest].wanted.carrier == "ws"


def test_a_stream_is_followed_by_the_next_before_the_server_ends_it() -> None:
    net = on_http()
    first = net.newest
    while net.now < 560:
        net.tick()
        for conn in [n for n, line in net.lines.items() if line.wanted.carrier == "ws"]:
            net.refuse(conn, BLOCKED)
        for conn in list(net.lines):
            net.open(conn)
        net.busy()
    assert list(net.lines) != [first]
    assert net.states == ["fallback"]


@pytest.mark.parametrize("hindrance", ["a look for a WebSocket is under way", "the next stream does not begin"])
def test_a_stream_is_followed_by_the_next_although_the_first_try_comes_to_nothing(hindrance: str) -> None:
    net = on_http(jitter=0.4)  # with this jitter, a look that is swallowed lasts from 531 s to 546 s
    tries = 0
    while net.now < 590:
        net.tick()
        for conn, line in [*net.lines.items()]:
            if line.wanted.carrier == "http" and not line.opened:
                tries += 1
                if tries == 1 and hindrance.startswith("the next"):
                    net.refuse(conn, ConnectionLost("cut"))
                else:
                    net.open(conn)
            elif line.wanted.carrier == "ws" and hindrance.startswith("the next"):
                net.refuse(conn, BLOCKED)
        net.busy()
        assert net.states == ["fallback"]
    newer = [conn for conn, line in net.lines.items() if line.wanted.carrier == "http"]
    assert newer
    assert newer != [2], "the server is about to end this one for its age"


def test_whatever_is_cut_while_carriers_change_everything_happens_once() -> None:
    for seed in range(400):
        rng = random.Random(seed)
        net, sent = Lines(jitter=rng.random), []
        for _ in range(rng.randrange(20, 120)):
            conn = rng.choice(list(net.lines)) if net.lines else 0
            match rng.randrange(12):
                case 0 if len(sent) < 8:
                    sent.append(f"m{len(sent) + 1}")
                    net.submit(sent[-1])
                case 1 if conn:
                    net.refuse(conn, rng.choice([BLOCKED, ConnectionLost("cut"), Timeout("late")]))
                case 2:
                    net.tick()
                case 3:
                    net.client.reconnect(net.now)
                    net.drain()
                case 4 | 5 if conn:
                    net.open(conn)
                case 6 | 7 if conn:
                    net.carry_up(conn)
                case 8:
                    net.server.prefer_snapshot = rng.random() < 0.3
                case 9:
                    net.work()
                case 10 | 11 if conn:
                    for _ in range(rng.randrange(1, 6)):
                        net.carry_down(conn)
        net.settle()
        net.busy()
        try:
            net.check(sent)
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc


# ---------------------------------------------------------------------------------------------- the choice


def carriers_of(net: Lines, behave: Callable[[Lines, int, Line], None], seconds: float) -> list[str]:
    """Let a server, or what stands before it, behave so for some time; return the carriers tried."""
    tried = []
    end = net.now + seconds
    while net.now < end:
        for conn in list(net.lines):
            if conn in net.lines and not net.lines[conn].opened:
                tried.append(net.lines[conn].wanted.carrier)
                behave(net, conn, net.lines[conn])
        if net.client.deadline is None:
            break
        net.tick()
        net.busy()
    return tried


def only_http(way: Callable[[Lines, int], None]) -> Callable[[Lines, int, Line], None]:
    def behave(net: Lines, conn: int, line: Line) -> None:
        if line.wanted.carrier == "http":
            net.open(conn)
            net.busy()
        else:
            way(net, conn)

    return behave


def refuses(error: EdChatError) -> Callable[[Lines, int], None]:
    return lambda net, conn: net.refuse(conn, error)


def cuts(net: Lines, conn: int) -> None:
    net.open(conn)
    net.cut(conn)


def swallows(net: Lines, conn: int) -> None:
    net.open(conn)
    net.lines[conn].up.clear()


LOGIN_PAGE = b"<html>Log in</html>"


@pytest.mark.parametrize(("way", "within"), [
    (refuses(refusal(400, None, LOGIN_PAGE, carrier="ws")), 0),
    (refuses(refusal(404, None, LOGIN_PAGE, carrier="ws")), 0),
    (refuses(refusal(405, None, b"", carrier="ws")), 0),
    (refuses(refusal(426, None, b"", carrier="ws")), 0),
    (refuses(refusal(403, None, LOGIN_PAGE, carrier="ws")), 0),
    (refuses(refusal(401, None, LOGIN_PAGE, carrier="ws")), 0),
    (refuses(refusal(200, None, LOGIN_PAGE, carrier="ws")), 0),
    (refuses(refusal(302, None, b"", carrier="ws")), 0),
    (refuses(refusal(502, None, LOGIN_PAGE, carrier="ws")), 5),
    (refuses(ConnectError("cut while it was opened", blocked="perhaps")), 5),
    (cuts, 5),
    (swallows, 12),
], ids=["400", "404", "405", "426", "403", "401", "200", "302", "502", "cut before", "cut after", "swallowed"])
def test_where_no_websocket_gets_through_http_is_used_within_seconds(
    way: Callable[[Lines, int], None], within: float
) -> None:
    net = Lines(jitter=lambda: 1.0)
    net.submit("m1")
    carriers_of(net, only_http(way), 200)
    assert net.since["fallback"] <= within
    assert net.states == ["connecting", "reconnecting", "fallback"]
    net.check(["m1"])


def test_http_alone_is_used_where_the_websocket_is_switched_off() -> None:
    net = Lines(Policy(websocket=False))
    assert set(carriers_of(net, only_http(swallows), 1200)) == {"http"}


def greets_and_cuts(net: Lines, conn: int, line: Line) -> None:
    net.open(conn)
    net.busy()
    net.cut(conn)


def no_upgrade_and_http_that_cuts(net: Lines, conn: int, line: Line) -> None:
    if line.wanted.carrier == "ws":
        net.refuse(conn, BLOCKED)
    else:
        greets_and_cuts(net, conn, line)


def sends_away(net: Lines, conn: int, line: Line) -> None:
    net.open(conn)
    net.busy()
    net.client.frame(conn, encode(Goaway(data=GoawayData(retry_after_ms=0))), net.now)
    net.drain()
    net.cut(conn, 1012)


def is_a_stranger_each_time(net: Lines, conn: int, line: Line) -> None:
    net.server.store = f"store {conn}"
    net.open(conn)
    net.busy()


def is_impatiently_retried(net: Lines, conn: int, line: Line) -> None:
    net.cut(conn)
    net.client.reconnect(net.now)
    net.drain()


def closes(code: int) -> Callable[[Lines, int, Line], None]:
    def behave(net: Lines, conn: int, line: Line) -> None:
        net.open(conn)
        net.cut(conn, code)

    return behave


def refuses_all(error: EdChatError) -> Callable[[Lines, int, Line], None]:
    return lambda net, conn, _line: net.refuse(conn, error)


PATHOLOGICAL = {
    "accepts and closes": closes(1013), "greets and cuts": greets_and_cuts,
    "no upgrade, and HTTP is cut": no_upgrade_and_http_that_cuts, "sends away": sends_away,
    "is a stranger each time": is_a_stranger_each_time, "is retried without end": is_impatiently_retried,
    "closes 4409": closes(4409), "closes 4408": closes(4408), "closes 4501": closes(4501),
    "refuses TCP": refuses_all(ConnectError("nothing answers")), "404 on all": refuses_all(BLOCKED),
    "401 on all": refuses_all(refusal(401, None)), "503 at once": refuses_all(refusal(503, "0")),
    "cuts on all": closes(1006),
}


@pytest.mark.parametrize("name", list(PATHOLOGICAL))
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_no_server_makes_the_client_spin(name: str, jitter: float) -> None:
    net = Lines(Policy(interval=0.01, max_attempts=1000), jitter=lambda: jitter)
    for _ in range(40):
        carriers_of(net, PATHOLOGICAL[name], 0.25)
    for start in net.opens:
        assert sum(1 for at in net.opens if start <= at < start + 3) <= 10


# ------------------------------------------------------------------------------------------- codes and waits


def connected() -> Lines:
    net = Lines()
    net.open(1)
    net.busy()
    assert net.states[-1] == "connected"
    return net


@pytest.mark.parametrize("code", [4400, 4408, 4409])
def test_some_codes_are_met_by_one_more_attempt_and_then_by_none(code: int) -> None:
    net = connected()
    net.cut(net.newest, code)
    assert net.states[-1] == "reconnecting"
    net.tick()
    net.open(net.newest)
    net.busy()
    net.cut(net.newest, code)
    assert (net.states[-1], net.client.deadline) == ("disconnected", None)
    net.client.reconnect(net.now)
    net.settle()
    assert net.states[-1] == "connected"
    net.pass_time(1)
    net.busy()
    for _ in range(3):  # after ten good seconds it is a new story
        net.pass_time(11)
        net.busy()
    net.cut(net.newest, code)
    assert net.states[-1] == "reconnecting"


@pytest.mark.parametrize("error", [ConnectionLost("expired", close_code=4501), refusal(401, None)])
def test_a_refused_token_is_read_anew_once_and_then_it_is_final(error: EdChatError) -> None:
    net = connected()
    net.refuse(net.newest, error)
    assert net.states[-1] == "reconnecting"
    before = net.now
    net.tick()
    assert net.now == before
    assert net.lines[net.newest].wanted.renew
    net.refuse(net.newest, refusal(401, None))
    assert (net.states[-1], net.client.deadline) == ("disconnected", None)
    assert net.shown.connection.reason == "The server wants a valid token."
    assert "EDCHAT_TOKEN" in (net.shown.connection.hint or "")


def test_a_token_that_was_read_anew_serves_for_later_connections_too() -> None:
    net = connected()
    net.cut(net.newest, 4501)
    net.tick()
    net.open(net.newest)
    net.busy()
    net.client.configure(Policy(websocket=False), net.now)
    net.drain()
    net.tick()
    assert not net.lines[net.newest].wanted.renew, "it is the token that was just taken"
    net.settle()
    assert net.states[-1] == "fallback"


def test_a_fresh_token_does_not_wait_for_a_look_that_is_swallowed() -> None:
    net = on_http()
    old, look = net.newest, looking(net)
    expiring = StatusFrame(data=StatusData(status="auth_expiring"))
    net.client.frame(old, encode(expiring), net.now)
    net.drain()
    assert look not in net.lines
    assert net.lines[net.newest].wanted.renew
    net.open(net.newest)
    net.busy()
    assert old not in net.lines
    assert net.states == ["fallback"]


def test_a_stranger_that_greets_after_a_cut_is_shown_as_what_it_is() -> None:
    net = on_http()
    old, ws = net.newest, looking(net)
    net.open(ws)
    net.server.store = "another store"
    net.refuse(old, ConnectionLost("The event stream ended."))
    net.busy()
    assert net.shown.connection.state == "reconnecting"
    assert net.shown.connection.carrier is None
    net.settle()
    assert net.client.meter.report(net.now, queued=0).reconnects == 1


@pytest.mark.parametrize(("header", "wait"), [("7", 7), ("86400", 120), ("soon", 0), (None, 0)])
def test_the_server_says_how_long_to_stay_away_within_reason(header: str | None, wait: float) -> None:
    net = Lines(jitter=lambda: 0.0)
    net.refuse(1, refusal(503, header))
    net.tick()
    assert net.now == wait


def test_a_goaway_says_when_to_come_back() -> None:
    net = connected()
    net.client.frame(net.newest, encode(Goaway(data=GoawayData(retry_after_ms=3000))), net.now)
    net.cut(net.newest, 1012)
    net.tick()
    assert 3 <= net.now <= 4


# -------------------------------------------------------------------------------------------- sleep and wake


def test_attempts_that_failed_while_the_machine_slept_do_not_count() -> None:
    net = Lines(Policy(max_attempts=3))
    for _ in range(3):
        net.cut(net.newest)
        net.tick()
    net.client.wake(net.now)
    for _ in range(3):
        net.cut(net.newest)
        net.tick()
    assert net.states[-1] == "reconnecting"
    assert net.shown.connection.attempt == 3


def test_after_a_sleep_only_a_pong_is_proof_and_silence_is_noticed_in_three_seconds() -> None:
    net = connected()
    net.client.wake(net.now)
    net.tick()
    line = net.lines[net.newest]
    line.up.clear()
    net.client.frame(net.newest, encode(Goaway(data=GoawayData())), net.now)  # had come before the sleep
    net.drain()
    began = net.now
    while net.states[-1] == "connected":
        net.tick()
    assert net.now - began == 3


def test_a_process_that_was_stopped_asks_before_it_takes_the_server_for_dead() -> None:
    net = connected()
    net.tick()  # a ping is out
    net.lines[net.newest].up.clear()
    net.tick(600)
    assert net.states[-1] == "connected"
    net.busy()
    net.pass_time(5)
    net.busy()
    assert net.states[-1] == "connected"


# ------------------------------------------------------------------------------------------- what comes late


def test_a_snapshot_taken_before_what_is_shown_takes_nothing_back() -> None:
    net = on_http()
    net.submit("m1")
    net.busy()
    old, ws = net.newest, looking(net)
    net.server.prefer_snapshot = True
    net.open(ws)
    net.carry_up(ws)
    net.submit("m2")
    for _ in range(40):
        net.carry_up(old)
        net.carry_down(old)
        net.work()
    shown = len(net.shown.messages)
    assert shown == 4
    while net.lines[ws].down:
        net.carry_down(ws)
        assert len(net.shown.messages) == shown
    net.busy()
    net.check(["m1", "m2"])


def test_commands_refused_for_now_go_out_again_in_order_and_not_before_the_time() -> None:
    net = connected()
    for n in range(4):
        net.submit(f"m{n}")
    conn = net.newest
    line = net.lines[conn]
    line.up.clear()
    line.csn = 0
    for csn in (1, 2, 3, 4):
        wait = NackData(code="rate_limited", message="too many", final=False)
        net.client.frame(conn, encode(Nack(csn=csn, data=wait)), net.now)
        net.drain()
    assert not line.up
    net.pass_time(0.9)
    assert not [raw for raw in line.up if b'"message"' in raw]
    net.pass_time(0.2)
    again = [decode_up(raw) for raw in line.up]
    assert [frame.csn for frame in again if isinstance(frame, UserMessage)] == [1, 2, 3, 4]
    net.busy()
    net.check([f"m{n}" for n in range(4)])


def test_a_refusal_for_now_that_names_hours_holds_nobody_up_for_hours() -> None:
    net = connected()
    net.submit("m1")
    net.lines[net.newest].up.clear()
    net.lines[net.newest].csn = 0
    wait = NackData(code="rate_limited", message="too many", final=False, retry_after_ms=86_400_000)
    net.client.frame(net.newest, encode(Nack(csn=1, data=wait)), net.now)
    net.drain()
    for _ in range(26):
        net.pass_time(5)
        net.busy()
    assert net.states[-1] == "connected"
    net.check(["m1"])


def test_a_frame_that_the_server_found_too_large_to_read_is_not_sent_again() -> None:
    net = connected()
    for name, text in (("m1", "large" * 100), ("m2", "small")):
        row = net.client.draft_message(name, text, "t")
        assert row is not None
        net.client.submit(row, net.now)
        net.drain()
    net.lines[net.newest].up.popleft()
    # Too large to be parsed, so the answer names no message.
    too_large = ErrorFrame(data=ErrorData(error="a frame has 600000 bytes", message="", code="too_large"))
    net.client.frame(net.newest, encode(too_large), net.now)
    net.drain()
    net.settle()
    net.busy()
    assert net.server.contents == ["small"]
    states = {m.id: m.state for m in net.shown.messages if m.role == "user"}
    assert states == {"m1": "failed", "m2": "answered"}


def test_a_frame_that_ended_the_connection_by_its_size_is_not_sent_again() -> None:
    net = connected()
    for name, text in (("m1", "small"), ("m2", "large" * 100), ("m3", "small, too")):
        row = net.client.draft_message(name, text, "t")
        assert row is not None
        net.client.submit(row, net.now)
        net.drain()
    net.carry_up(net.newest)
    net.cut(net.newest, 1009)
    net.settle()
    net.busy()
    assert net.server.contents == ["small", "small, too"]
    states = {m.id: m.state for m in net.shown.messages if m.role == "user"}
    assert states == {"m1": "answered", "m2": "failed", "m3": "answered"}
    assert "too large" in {m.id: m.detail or "" for m in net.shown.messages}["m2"]


# ------------------------------------------------------------------------------------------ the origin's server


CONNECTED = b'{"type":"status","data":{"status":"connected","session_id":"s1"}}'
ANSWER = b'{"type":"message","data":{"content":"Created.","artifacts":[]}}'


def on_the_origins_http() -> Lines:
    """A conversation by the origin's HTTP routes."""
    net = Lines()
    net.refuse(1, BLOCKED)
    net.tick()
    origin(net, 2, "http")
    assert (net.states[-1], net.shown.connection.guaranteed) == ("fallback", False)
    net.states[:] = ["fallback"]
    return net


def origin(net: Lines, conn: int, way: Way) -> None:
    net.lines[conn].opened = True
    net.client.opened(conn, way, None, net.now)
    net.drain()
    net.client.frame(conn, CONNECTED, net.now)
    net.drain()


def next_look(net: Lines) -> None:
    began, end = set(net.lines), net.now + 200
    while set(net.lines) == began and net.now < end:
        net.tick()
        net.client.frame(min(net.lines), b'{"type":"pong"}', net.now)
        net.drain()


def test_the_origins_websocket_is_had_again_too_and_nothing_is_in_doubt() -> None:
    net = on_the_origins_http()
    next_look(net)
    ws = net.newest
    origin(net, ws, "ws")
    assert list(net.lines) == [ws]
    assert net.states == ["fallback", "connected"]
    assert not net.lines[ws].up, "the origin knows no hello"
    net.submit("m1")
    assert [decode_up(raw).data.content for raw in net.lines[ws].up] == ["text of m1"]  # type: ignore[union-attr]


def test_what_the_origin_works_on_is_not_left_for_a_better_carrier() -> None:
    net = on_the_origins_http()
    net.submit("m1")
    next_look(net)
    assert list(net.lines) == [2]
    net.client.frame(2, ANSWER, net.now)
    net.drain()
    next_look(net)
    ws = net.newest
    assert ws != 2
    net.submit("m2")
    origin(net, ws, "ws")
    assert list(net.lines) == [2], "a message went out meanwhile"
    net.client.frame(2, ANSWER, net.now)
    net.drain()
    assert [m.state for m in net.shown.messages if m.role == "user"] == ["answered", "answered"]


def test_a_server_of_another_kind_does_not_take_over() -> None:
    net = on_http()
    ws = looking(net)
    origin(net, ws, "ws")
    assert ws not in net.lines
    net.submit("m1")
    net.busy()
    net.check(["m1"])
    assert net.states == ["fallback"]


def test_the_history_for_the_origin_stays_within_what_a_server_takes() -> None:
    earlier = tuple(
        Message(id=f"m{n}", role="user", state="answered", parts=(TextPart(id="t", text=str(n) * 50_000),))
        for n in range(6))
    history = message_frame("s", "next", earlier, None).data.message_history
    assert [item.content[0] for item in history or ()] == ["4", "5"]
