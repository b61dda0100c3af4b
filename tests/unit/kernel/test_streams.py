"""The event stream's bytes, and what its pace says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edchat_widget._core.buffering import REMEMBERED, REMEMBERED_AT_FIRST, Heartbeats, HeldStreams
from edchat_widget._core.sse import EventParser, EventTooLong

LINE_ENDS = ["\n", "\r\n", "\r"]


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    return [stream[a:b] for a, b in pairwise(at)]


@given(
    st.lists(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8")), min_size=1, max_size=3),
             max_size=5),
    st.sampled_from(LINE_ENDS), st.lists(st.integers(0, 10_000), max_size=40), st.booleans(), st.booleans())
def test_events_are_the_same_wherever_the_stream_is_cut(
    events: list[list[str]], end: str, cuts: list[int], mark: bool, padded: bool
) -> None:
    text = "\ufeff" if mark else ""
    for n, lines in enumerate(events):
        text += f": comment{end}id: e:{n}{end}retry: 1{end}event: x{end}"
        text += "".join(f"data:{' ' if padded or line.startswith(' ') else ''}{line}{end}" for line in lines) + end
    parser = EventParser()
    found = [e for piece in pieces(text.encode() + b"data: half", cuts) for e in parser.feed(piece)]
    assert found == ["\n".join(lines).encode() for lines in events]


def test_comments_blank_lines_and_events_without_data_are_nothing() -> None:
    assert EventParser().feed(b":\n\n\n: x\nid: 1\n\nretry: 5\n\ndata\n\ndata:\n\n") == [b"", b""]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 200, b"data: xxxxxxxxxx\n" * 20, b"nonsense" * 30])
def test_an_event_without_an_end_takes_no_more_memory_than_allowed(stream: bytes) -> None:
    parser = EventParser(limit=100)

    def read() -> None:
        for byte in stream:
            parser.feed(bytes([byte]))

    with pytest.raises(EventTooLong):
        read()
    assert len(parser._pending) <= 101


def test_a_long_line_in_many_pieces_is_read_once_not_once_for_each_piece() -> None:
    parser, count = EventParser(), 20_000
    for _ in range(count):
        parser.feed(b"y" * 100)
    assert parser._searched == count * 100


def clumps(times: list[float]) -> int:
    heartbeats = Heartbeats(0.0)
    return sum(heartbeats.heard(at, heartbeat=True) for at in times)


@pytest.mark.parametrize(("times", "found"), [
    ([10, 20, 30, 40], 0),
    ([10, 20, 31, 40.5], 0),
    ([20, 20.1, 40, 40.2], 2),
    ([30, 30, 30], 1),
    ([14, 14.1, 28, 28.1], 0),
    ([16, 17.5, 34], 0),
    ([10, 10.1, 20, 20.1], 0),
])
def test_heartbeats_that_come_in_clumps_after_a_silence_are_told_from_others(
    times: list[float], found: int
) -> None:
    assert clumps(times) == found


def test_other_frames_in_a_burst_are_no_heartbeats() -> None:
    heartbeats = Heartbeats(0.0)
    assert not any(heartbeats.heard(20.0, heartbeat=False) for _ in range(5))


def test_one_suspicion_is_not_enough_and_what_is_found_is_forgotten() -> None:
    held = HeldStreams()
    held.suspect("a", 0)
    assert not held.known("a", 0)
    held.suspect("a", 700)
    assert not held.known("a", 700), "the first one was too long ago"
    held.suspect("a", 800)
    assert held.known("a", 800)
    assert not held.known("b", 800)
    assert held.known("a", 800 + REMEMBERED_AT_FIRST - 1)
    assert not held.known("a", 800 + REMEMBERED_AT_FIRST)


def test_one_slow_moment_costs_minutes_and_only_what_comes_back_costs_an_hour() -> None:
    held = HeldStreams()
    held.found("a", 0)
    assert not held.known("a", REMEMBERED_AT_FIRST)
    held.found("a", 200)
    assert held.known("a", 200 + REMEMBERED - 1)
    assert not held.known("a", 200 + REMEMBERED)
    held.found("a", 200 + 2 * REMEMBERED)
    assert not held.known("a", 200 + 2 * REMEMBERED + REMEMBERED_AT_FIRST), "that was long ago"
