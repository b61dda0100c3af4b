"""A stop at every moment of a run: one end, and never between what a tool did and the card that shows it."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults import oracle
from tests.server_fixtures import Client, ServerProcess, server
from websockets.exceptions import ConnectionClosed

EVENTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server(tmp_path_factory.mktemp("stopped"), "--pause", "0.01") as process:
        yield process


def stop(client: Client) -> dict[str, object]:
    client.csn += 1
    frame: dict[str, object] = {"type": "cancel", "id": uuid.uuid4().hex, "csn": client.csn, "data": {}}
    client.send(frame)
    return frame


def titles(name: str) -> list[str]:
    return [f"Import {name}", f"Export {name}"]


def one_end(running: ServerProcess, session: str, name: str, stayed: Client | None = None) -> str:
    """Check that the run has one end, and that its stories are those that its cards show; return the end."""
    (ends,) = oracle.endings(oracle.whole_log(running, session)).values()
    view = oracle.check_session(running, session, states=[ends[0]], stayed=stayed)
    assert ends[0] in ("cancelled", "completed")
    there = [title for title in oracle.stories(running) if title in titles(name)]
    assert len(there) == len(set(there)), "a story was made twice"
    assert len(oracle.made(view)) == len(there), "a story without its card, or a card without its story"
    return ends[0]


def goes_on(client: Client) -> None:
    """The conversation is not broken: the model is given what it takes."""
    before = client.csn
    client.say("make Anything else")
    run = None
    while run is None or run not in oracle.endings(client.log):
        frame = client.recv()
        if frame["type"] == "ack" and frame["ack"] > before:
            run = frame["data"]["run"]
    assert oracle.endings(client.log)[run] == ["completed"]


@pytest.mark.fault("F22", "a stop after each event of a run")
@pytest.mark.parametrize("after", EVENTS)
def test_a_stop_at_any_event_leaves_one_end(running: ServerProcess, after: int) -> None:
    name = f"at {after}"
    client = Client(running, session=f"at-{after}").open()
    client.say("make " + " | ".join(titles(name)))
    # A busy machine joins tokens, so that the run may have fewer events than that.
    while client.cursor < after and not oracle.endings(client.log):
        client.recv()
    stop(client)
    client.until("ack", run=client.log[1]["run"])
    oracle.until_over(client)
    one_end(running, client.session, name, client)
    goes_on(client)
    client.close()


@pytest.mark.fault("F22", "two stops, from two tabs, and one of a run that is over")
def test_more_stops_than_one_are_one(running: ServerProcess) -> None:
    one = Client(running, session="twice", client="one").open()
    two = Client(running, session="twice", client="two").open()
    one.say("make " + " | ".join(titles("twice")))
    two.until("tool_execution", status="running")
    stop(two)
    stop(one)
    stop(two)
    oracle.until_over(one)
    assert one_end(running, "twice", "twice", one) == "cancelled"
    stop(one)
    one.send({"type": "ping", "data": {}})
    one.until("pong")
    assert one_end(running, "twice", "twice", one) == "cancelled"
    goes_on(two)
    one.close()
    two.close()


@pytest.mark.fault("F22", "the line is cut right after a stop was sent")
def test_a_stop_that_nobody_acknowledged_is_sent_again_and_is_one(running: ServerProcess) -> None:
    client = Client(running, session="cut").open()
    client.say("make " + " | ".join(titles("cut")))
    client.until("tool_execution", status="completed")
    frame = stop(client)
    client.close()
    client.open()
    if client.welcome["accepted_csn"] < client.csn:
        client.send(frame)
    oracle.until_over(client)
    one_end(running, "cut", "cut", client)
    goes_on(client)
    client.close()


def read_to_the_cut_or_the_end(client: Client) -> oracle.Log:
    """Read until the server dies, or until the stop was quicker."""
    with suppress(ConnectionClosed, OSError):
        oracle.until_over(client)
    client.close()
    return dict(client.log)


@pytest.mark.fault("F22", "kill -9 at a named place, a stop on its way or accepted")
@pytest.mark.parametrize(
    ("point", "after"),
    [
        ("accept_written:2", 4), ("accept_committed:2", 2), ("accept_committed:2", 5), ("accept_committed:2", 9),
        ("claimed", 1), ("effect_before", 1), ("effect_written", 3), ("effect_committed", 3), ("effect_committed:2", 5),
        ("part_messages:4", 3), ("finish_written", 6), ("finish_committed", 6),
    ],
)
def test_a_stop_and_a_crash_leave_one_end(tmp_path: Path, point: str, after: int) -> None:
    data = tmp_path / "data"
    message = {"type": "message", "id": "m-1", "csn": 1, "data": {"content": "make " + " | ".join(titles("x"))}}
    halt = {"type": "cancel", "id": "c-1", "csn": 2, "data": {}}
    with server(data, "--pause", "0.01", EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        with suppress(ConnectionClosed, OSError):
            client.send(message)
            while client.cursor < after:
                client.recv()
            client.send(halt)
        shown = read_to_the_cut_or_the_end(client)
    with server(data, "--pause", "0.01") as second:
        client.server = second
        client.open()
        for frame in (message, halt):
            if client.welcome["accepted_csn"] < frame["csn"]:  # type: ignore[operator]
                client.send(frame)
        oracle.until_over(client)
        one_end(second, "s1", "x", client)
        oracle.check_session(second, shown=[shown], states=[oracle.endings(client.log).popitem()[1][0]])
        client.csn = 2
        goes_on(client)
        client.close()
