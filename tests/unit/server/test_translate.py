"""The pure translation from LangGraph's stream to frames."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from edchat_protocol.artifacts import Artifact
from edchat_protocol.codec import encode
from edchat_protocol.errors import MAX_FRAME_BYTES
from edchat_protocol.frames import (
    HistoryItem,
    MessageFrame,
    StatusFrame,
    Token,
    TokenData,
    ToolExecution,
)
from edchat_server.thread import opening
from edchat_server.translate import Translation, roll_up, run_messages
from edchat_server.v1 import Projection

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def call(call_id: str, tool: str = "create_story", **args: object) -> dict[str, object]:
    return {"id": call_id, "name": tool, "args": args, "type": "tool_call"}


def update(*messages: object, node: str = "model") -> dict[str, object]:
    return {node: {"messages": list(messages)}}


def done(text: str, call_id: str, artifact: object) -> dict[str, object]:
    return update(ToolMessage(text, tool_call_id=call_id, artifact=artifact), node="tools")


def story(number: int) -> dict[str, object]:
    return {"type": "story", "data": {"id": f"STORY-{number}"}}


def running(call_id: str, progress: dict[str, object] | None = None) -> dict[str, object]:
    return {
        "kind": "tool", "tool_call_id": call_id, "tool": "create_story", "title": "Create story",
        "status": "running", "progress": progress,
    }


def a_run(translation: Translation) -> list[object]:
    """Two calls of one tool, then an answer."""
    later = NOW + timedelta(milliseconds=250)
    parts = [
        ("messages", (AIMessageChunk(content="One ", id="m1"), {}), NOW),
        ("messages", (AIMessageChunk(content="moment 😀", id="m1"), {}), NOW),
        ("updates", update(AIMessage(content="One moment 😀", id="m1",
                                     tool_calls=[call("a", title="A"), call("b", title="B")])), NOW),
        ("custom", running("a"), NOW),
        ("custom", running("b", {"percent": 50, "step": "half"}), NOW),
        ("updates", done("B it is", "b", story(2)), later),
        ("updates", done("A it is", "a", [story(1)]), later),
        ("messages", (AIMessageChunk(content="Done", id="m2"), {}), later),
        ("updates", update(AIMessage(content="Done", id="m2")), later),
    ]
    return [frame for mode, payload, now in parts for frame in translation.feed(mode, payload, now)]


def test_two_calls_of_one_tool_stay_apart() -> None:
    frames = a_run(Translation(run="r", attempt=1))
    tools = [f for f in frames if isinstance(f, ToolExecution)]
    assert [(f.step, f.data.status) for f in tools] == [
        ("a", "pending"), ("b", "pending"), ("a", "running"), ("b", "running"),
        ("b", "completed"), ("a", "completed"),
    ]
    assert tools[-1].data.details.input == {"title": "A"}  # type: ignore[union-attr]
    assert tools[-1].data.details.duration_ms == 250.0  # type: ignore[union-attr]
    assert tools[3].data.details.progress.percent == 50  # type: ignore[union-attr]


def test_a_tools_input_is_shown_only_when_its_call_is_in_the_checkpoint() -> None:
    translation = Translation(run="r", attempt=1)
    shown = translation.feed("updates", update(AIMessage(content="", id="m", tool_calls=[call("a")])), NOW)
    assert shown == []
    assert [f.data.status for f in translation.feed("custom", running("a"), NOW)] == ["pending", "running"]


def test_offsets_count_code_points_and_the_last_message_repeats_all_artifacts() -> None:
    frames = a_run(Translation(run="r", attempt=1))
    tokens = [f for f in frames if isinstance(f, Token)]
    assert [(f.mid, f.off) for f in tokens] == [("m1", 0), ("m1", 4), ("m2", 0)]
    messages = [f for f in frames if isinstance(f, MessageFrame)]
    assert [len(f.data.artifacts) for f in messages] == [0, 2]
    assert {a.data["id"] for a in messages[-1].data.artifacts} == {"STORY-1", "STORY-2"}


def test_a_failed_tool_keeps_its_reason() -> None:
    translation = Translation(run="r", attempt=1)
    failed = ToolMessage("no such epic", tool_call_id="a", name="create_story", status="error")
    (frame,) = translation.feed("updates", update(failed, node="tools"), NOW)
    assert frame.data.status == "error"  # type: ignore[union-attr]
    assert frame.data.details.error == "no such epic"  # type: ignore[union-attr]


def test_a_provider_that_names_its_message_late_gives_one_bubble() -> None:
    translation = Translation(run="r", attempt=1)
    (token,) = translation.feed("messages", (AIMessageChunk(content="Hi", id="lc_run--1"), {}), NOW)
    (message,) = translation.feed("updates", update(AIMessage(content="Hi", id="resp_9")), NOW)
    assert message.mid == token.mid == "lc_run--1"  # type: ignore[union-attr]


def test_a_model_call_that_was_repeated_leaves_no_second_text() -> None:
    translation = Translation(run="r", attempt=1)
    for mid in ("first", "second"):
        translation.feed("messages", (AIMessageChunk(content="Hi", id=mid), {}), NOW)
    status, message = translation.feed("updates", update(AIMessage(content="Hi", id="second")), NOW)
    assert isinstance(status, StatusFrame)
    assert status.data.supersedes == ("first",)
    assert message.mid == "second"  # type: ignore[union-attr]


def test_every_cut_of_the_log_is_mended_from_the_checkpoint() -> None:
    """Cut after each event; whatever LangGraph had committed, the folded view comes out whole."""
    whole = a_run(Translation(run="r", attempt=1))
    user = HumanMessage("go", id="u")
    first = AIMessage(content="One moment 😀", id="m1", tool_calls=[call("a"), call("b")])
    tools = [ToolMessage("A it is", tool_call_id="a", artifact=story(1)),
             ToolMessage("B it is", tool_call_id="b", artifact=story(2))]
    last = AIMessage(content="Done", id="m2")
    for committed in ([], [user], [user, first], [user, first, *tools], [user, first, *tools, last]):
        for cut in range(len(whole) + 1):
            translation = Translation(run="r", attempt=2)
            translation.recall(whole[:cut])  # type: ignore[arg-type]
            mine = run_messages(committed, "u")
            void, missing = translation.reconcile(mine, NOW)
            ids = {m.id for m in mine}
            assert not ids & set(void)
            both = [*whole[:cut], *missing]
            shown = [f for f in both if isinstance(f, MessageFrame) and f.mid not in void]
            assert sorted(f.mid for f in shown) == sorted(i for i in ids if i in ("m1", "m2"))
            over = [f.step for f in both if isinstance(f, ToolExecution) and f.data.status == "completed"]
            assert len(over) == len(set(over)), "a tool's end was shown twice"
            if last in committed and missing and isinstance(missing[-1], MessageFrame):
                assert len(missing[-1].data.artifacts) == 2


def test_stopping_ends_what_nobody_will_finish() -> None:
    translation = Translation(run="r", attempt=1)
    translation.feed("updates", update(AIMessage(content="", id="m", tool_calls=[call("a")])), NOW)
    translation.feed("custom", running("a"), NOW)
    (frame,) = translation.stop(NOW)
    assert frame.data.status == "error"  # type: ignore[union-attr]
    assert not translation.busy_steps


def test_what_is_too_large_for_a_frame_is_cut_to_fit() -> None:
    translation = Translation(run="r", attempt=1)
    (message,) = translation.feed("updates", update(AIMessage(content="\x01" * 200_000, id="m")), NOW)
    assert len(encode(message)) <= MAX_FRAME_BYTES
    (message,) = translation.feed("updates", update(AIMessage(content="é" * 400_000, id="n")), NOW)
    assert MAX_FRAME_BYTES - 8192 <= len(encode(message)) <= MAX_FRAME_BYTES, "more was cut than had to be"
    huge = {"type": "story", "data": {"text": "x" * 300_000}}
    (tool,) = translation.feed(
        "updates", update(ToolMessage("ok", tool_call_id="a", name="t", artifact=huge), node="tools"), NOW
    )
    assert len(encode(tool)) <= MAX_FRAME_BYTES


def test_a_character_that_a_model_cuts_in_two_is_whole_again() -> None:
    translation = Translation(run="r", attempt=1)
    frames: list[object] = []
    for piece in ("a\ud83d", "\ude00b", "\ud83d", "c\ude00", "\ud83d"):
        frames += translation.feed("messages", (AIMessageChunk(content=piece, id="m"), {}), NOW)
    tokens = [f for f in frames if isinstance(f, Token)]
    assert [(t.off, t.data.token) for t in tokens] == [(0, "a"), (1, "😀b"), (3, "\ufffdc\ufffd")]
    whole = AIMessage(
        content="a\ud83d\ude00b\ud83dc\ude00\ud83d", id="m", tool_calls=[call("t", title="\ud83d\ude00\ud83d")]
    )
    frames = translation.feed("updates", update(whole), NOW)
    frames += translation.feed("custom", running("t"), NOW)
    frames += translation.feed("updates", done("\ud83d", "t", None), NOW)
    assert [encode(f) for f in frames]  # type: ignore[arg-type]
    message = next(f for f in frames if isinstance(f, MessageFrame))
    assert message.data.content == "a😀b\ufffdc\ufffd\ufffd"


def test_a_text_that_comes_at_once_is_several_tokens() -> None:
    frames = Translation(run="r", attempt=1).feed(
        "messages", (AIMessageChunk(content="😀" * 100_000, id="m"), {}), NOW
    )
    assert len(frames) > 1
    for made in (frames, roll_up(frames)):
        assert "".join(f.data.token for f in made) == "😀" * 100_000  # type: ignore[union-attr]
        assert all(len(encode(f)) <= MAX_FRAME_BYTES for f in made)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=3)), max_size=20))
def test_rolled_up_tokens_say_the_same(pieces: list[tuple[str, str]]) -> None:
    frames, offsets = [], {"a": 0, "b": 0}
    for mid, text in pieces:
        frames.append(Token(mid=mid, off=offsets[mid], data=TokenData(token=text)))
        offsets[mid] += len(text)
    rolled = roll_up(frames)
    for mid in "ab":
        texts = [f for f in rolled if f.mid == mid]  # type: ignore[union-attr]
        assert "".join(f.data.token for f in texts) == "".join(t for m, t in pieces if m == mid)  # type: ignore
        for before, after in pairwise(texts):
            assert after.off == before.off + len(before.data.token)  # type: ignore
    assert all(a.mid != b.mid for a, b in pairwise(rolled))  # type: ignore[union-attr]


def test_calls_that_a_stopped_run_left_open_are_answered_with_what_happened() -> None:
    before = a_run(Translation(run="r0", attempt=1))
    present = [HumanMessage("x", id="u"), AIMessage(content="", id="m", tool_calls=[call("a"), call("z")])]
    found = opening(present, content="next", input_id="u2", before=before)["messages"]  # type: ignore[arg-type]
    assert [(type(m).__name__, m.content) for m in found] == [
        ("ToolMessage", "A it is"), ("ToolMessage", "Stopped."), ("HumanMessage", "next"),
    ]


def test_history_seeds_only_an_empty_thread() -> None:
    said = [("user", "earlier"), ("assistant", "yes"), ("user", "now")]
    history = [HistoryItem(role=role, content=content) for role, content in said]
    fresh = opening([], content="now", input_id="u", history=history)["messages"]
    assert [m.content for m in fresh] == ["earlier", "yes", "now"]
    again = opening([HumanMessage("x")], content="now", input_id="u", history=history)["messages"]
    assert [m.content for m in again] == ["now"]


def test_version_1_gets_one_message_a_run_and_only_the_origins_keys() -> None:
    projection = Projection()
    translation = Translation(run="r", attempt=1)
    begin, end = translation.status("processing", NOW), translation.status("completed", NOW)
    events = [begin, *a_run(translation), end]
    sent = [frame for event in events for frame in projection.frames(event)]  # type: ignore[arg-type]
    messages = [f for f in sent if isinstance(f, MessageFrame)]
    assert len(messages) == 1
    assert messages[0].data.content == "One moment 😀\n\nDone"
    assert len(messages[0].data.artifacts) == 2
    for frame in sent:
        keys = set(msgspec.json.decode(encode(frame)))
        assert keys <= {"type", "data", "timestamp", "step"}, keys


def test_a_cancelled_run_ends_a_version_1_turn_too() -> None:
    projection = Projection()
    translation = Translation(run="r", attempt=1)
    events = [*translation.feed("messages", (AIMessageChunk(content="Par", id="m"), {}), NOW),
              translation.status("cancelled", NOW)]
    sent = [frame for event in events for frame in projection.frames(event)]
    assert [f.data.content for f in sent if isinstance(f, MessageFrame)] == ["Par"]


def test_artifacts_of_strange_shape_are_left_out() -> None:
    translation = Translation(run="r", attempt=1)
    odd = ToolMessage("ok", tool_call_id="a", name="t", artifact=[None, {"type": "story"}, story(1)])
    (frame,) = translation.feed("updates", update(odd, node="tools"), NOW)
    assert frame.data.artifacts == (Artifact(type="story", data={"id": "STORY-1"}),)  # type: ignore[union-attr]
