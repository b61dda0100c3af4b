"""The door of the wire: every text becomes a frame or an error that names the field."""

import contextlib
import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edchat_protocol import frames
from edchat_protocol.artifacts import Artifact, Story, story_of
from edchat_protocol.codec import Unknown, decode_down, decode_up, encode
from edchat_protocol.errors import MAX_FRAME_BYTES, FrameError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("raw", "code", "names"),
    [
        ("{", "not_json", "JSON object"),
        ("[]", "not_json", "JSON object"),
        ('"message"', "not_json", "JSON object"),
        (b"\xff\xfe", "not_json", "JSON object"),
        ("[" * 100_000, "not_json", "JSON object"),
        ("{}", "unknown_type", "None"),
        ('{"type": 7}', "unknown_type", "7"),
        ('{"type": {}}', "unknown_type", "{}"),
        ('{"type": "shout"}', "unknown_type", "message"),
        ('{"type": "message"}', "bad_frame", "data"),
        ('{"type": "message", "data": null}', "bad_frame", "$.data"),
        ('{"type": "message", "data": {"content": 3}}', "bad_frame", "$.data.content"),
        ('{"type": "message", "id": "no spaces", "data": {"content": "x"}}', "bad_frame", "$.id"),
        ('{"type": "message", "id": "a-line\\n", "data": {"content": "x"}}', "bad_frame", "$.id"),
        ('{"type": "cancel", "id": "x", "csn": 0}', "bad_frame", "$.csn"),
        ('{"type": "hello", "data": {"proto": 2, "session": "a/b", "client": "c", "conn": 1}}', "bad_frame", "session"),
        ("x" * (MAX_FRAME_BYTES + 1), "too_large", str(MAX_FRAME_BYTES)),
        ("é" * (MAX_FRAME_BYTES // 2 + 1), "too_large", str(MAX_FRAME_BYTES)),
    ],
)
def test_bad_frames_are_refused_with_the_field(raw: str | bytes, code: str, names: str) -> None:
    with pytest.raises(FrameError) as refusal:
        decode_up(raw)
    assert refusal.value.code == code
    assert names in str(refusal.value)


def test_a_refusal_says_which_command_it_is_about() -> None:
    with pytest.raises(FrameError) as refusal:
        decode_up('{"type": "message", "id": "m-1", "data": {}}')
    assert refusal.value.ref == "m-1"


@given(st.text() | st.binary() | json_values.map(json.dumps) | st.fixed_dictionaries({
    "type": st.sampled_from(["hello", "message", "cancel", "ack", "ping", "pong", "x"]), "data": json_values,
    "csn": json_values, "id": json_values,
}).map(json.dumps))
def test_any_text_is_a_frame_or_a_frame_error(raw: str | bytes) -> None:
    for decode in (decode_up, decode_down):
        with contextlib.suppress(FrameError):
            assert isinstance(decode(raw), msgspec.Struct)


def test_unknown_events_keep_their_place_in_the_log() -> None:
    assert decode_down('{"type": "applause", "seq": 9, "data": {"claps": 3}}') == Unknown(type="applause", seq=9)


def test_the_origins_frames_are_understood() -> None:
    """Each frame as the origin's documentation shows it, `data` absent or null included."""
    up: list[dict[str, Any]] = [
        {"type": "ping"}, {"type": "pong", "data": None},
        {"type": "message", "timestamp": "2026-01-01T00:00:00Z", "data": {
            "content": "hi", "session_id": "s", "message_history": [{"role": "user", "content": "x", "id": 3}]}},
    ]
    down: list[dict[str, Any]] = [
        {"type": "status", "data": {"status": "connected", "session_id": "s", "message": "m"}},
        {"type": "token", "data": {"token": "a", "done": False}},
        {"type": "tool_execution", "data": {"tool": "create_story", "status": "success", "details": "made it"}},
        {"type": "tool_execution", "data": {"tool": "create_story", "status": "running", "details": {"x": 1}}},
        {"type": "message", "data": {"content": "done", "artifacts": [
            {"type": "story", "data": {"id": "1", "title": "Sign in", "epic": "E", "priority": "P1"}}]}},
        {"type": "error", "data": {"error": "no"}}, {"type": "ping"}, {"type": "pong"},
    ]
    for frame in up:
        assert decode_up(json.dumps(frame)).__struct_config__.tag == frame["type"]
    for frame in down:
        assert decode_down(json.dumps(frame)).__struct_config__.tag == frame["type"]
    message = decode_down(json.dumps(down[4]))
    assert isinstance(message, frames.MessageFrame)
    story = story_of(message.data.artifacts[0])
    assert story is not None
    assert str(story) == "1 · P1 · Sign in · E"


def test_what_is_no_story_is_not_read_as_one() -> None:
    assert story_of(Artifact(type="story", data={"id": "1"})) is None
    assert story_of(Artifact(type="issue", data=msgspec.to_builtins(
        Story(id="1", title="t", epic="e", priority="P1")))) is None


def test_every_frame_survives_the_wire() -> None:
    frame = frames.Token(seq=4, id="e:4", run="r", mid="m", off=0, data=frames.TokenData(token="ü\u2028</script>"))
    assert decode_down(encode(frame)) == frame
    tags = [t.__struct_config__.tag for t in get_args(frames.Down)]
    assert len(tags) == len(set(tags))
