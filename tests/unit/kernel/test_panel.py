"""The widget against a comm that records, and the static texts."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edchat_protocol.messages import ArtifactPart, ErrorPart, Message, TextPart
from edchat_widget import Chat, static_render
from edchat_widget.stories import Story, StoryList
from edchat_widget.view import ConnectionView, OfferView, Patch, SnapshotMessage, View
from edchat_widget.widget import ChatWidget

EVIL = "<script>alert(1)</script>"


class Panel:
    """A chat that can reach no server, and its widget with a recording front-end."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.widget = chat.widget
        self.sent: list[dict[str, Any]] = []
        self.arrived = threading.Condition()
        self.widget.send = self._record

    def _record(self, content: dict[str, Any], buffers: object = None) -> None:
        with self.arrived:
            self.sent.append(content)
            self.arrived.notify_all()

    def receive(self, content: Any) -> None:
        self.widget._handle_custom_msg(content, [])

    def wait_for(
        self, kind: str, fits: Callable[[dict[str, Any]], bool] = lambda _message: True
    ) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((m for m in self.sent if m["type"] == kind and fits(m)), None)

        with self.arrived:
            message = self.arrived.wait_for(found, 10)
            assert message, f"no such {kind}"
            return message


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[Panel]:
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s", token="sesame") as chat:
        yield Panel(chat)


def test_a_patch_between_ready_and_the_snapshot_is_not_sent() -> None:
    widget = ChatWidget(lambda _intent: None)
    sent: list[str] = []
    widget.send = lambda content, buffers=None: sent.append(content["type"])  # type: ignore[method-assign]
    view = View(rev=2, session="s", connection=ConnectionView(state="connecting"))
    widget._handle_custom_msg({"intent": "ready"}, [])
    widget.deliver(Patch(rev=2, ops=()))
    widget.deliver(SnapshotMessage(view=view))
    widget.deliver(Patch(rev=3, ops=()))
    assert sent == ["snapshot", "patch"]


def test_nothing_is_sent_before_a_front_end_is_ready_and_then_the_snapshot_comes_first(panel: Panel) -> None:
    panel.chat.send("before")
    assert panel.sent == []
    panel.receive({"intent": "ready"})
    view = panel.wait_for("snapshot")["view"]
    assert [m["parts"][0]["text"] for m in view["messages"]] == ["before"]
    panel.receive({"intent": "submit", "id": "m1", "text": "from the panel"})
    panel.wait_for("patch", lambda patch: any(op.get("message", {}).get("id") == "m1" for op in patch["ops"]))
    assert panel.chat.messages[-1].text == "from the panel"
    # other patches (the connection's) may come in between; all follow the snapshot without a gap
    assert panel.sent[0]["type"] == "snapshot"
    revs = [m["rev"] for m in panel.sent[1:] if m["type"] == "patch"]
    assert revs == [view["rev"] + 1 + n for n in range(len(revs))]


def test_what_cannot_be_taken_comes_back_with_its_id(panel: Panel) -> None:
    panel.receive({"intent": "ready"})
    panel.receive({"intent": "submit", "id": "m1", "text": "x" * 70_000})
    refusal = panel.wait_for("refusal")
    assert (refusal["id"], refusal["code"]) == ("m1", "too_large")


def test_nonsense_from_the_panel_changes_nothing(panel: Panel) -> None:
    for content in (None, {}, {"intent": "launch"}, [1], {"intent": "submit"}):
        panel.receive(content)
    assert panel.chat.messages == ()


def test_two_chats_of_one_session_share_one_panel(panel: Panel, tmp_path: Path) -> None:
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s", token="sesame") as again:
        assert again.widget is panel.widget


def test_no_trait_and_no_text_has_the_token_or_the_conversation(panel: Panel) -> None:
    panel.chat.send("a confidential sentence")
    state = repr(panel.widget.get_state())
    assert "sesame" not in state
    assert "confidential" not in state
    bundle, _ = panel.chat._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert all("a confidential sentence" in bundle[k] for k in ("text/html", "text/markdown", "text/plain"))
    assert "sesame" not in repr(bundle)


def evil_view() -> View:
    story = {"id": EVIL, "title": EVIL, "epic": EVIL, "priority": EVIL, "url": "javascript:alert(1)",
             "acceptanceCriteria": [EVIL], "points": EVIL, "status": EVIL}
    parts = (
        TextPart(id="t", text=EVIL), ErrorPart(id="e", code="x", message=EVIL, hint=EVIL),
        ArtifactPart(id="s", artifact="story", data=story),
        ArtifactPart(id="l", artifact="stories", data={"stories": [story, 1]}),
        ArtifactPart(id="o", artifact=EVIL, data={"x": EVIL}),
    )
    return View(rev=1, session="s", connection=ConnectionView(state="connected"), messages=(
        Message(id="m", role="user", author=EVIL, state="failed", detail=EVIL, parts=parts),))


def test_whatever_is_written_stays_text() -> None:
    html = static_render.to_html(evil_view())
    assert "<script" not in html
    assert "javascript:" not in html
    assert "&lt;script&gt;" in html


def test_a_list_of_stories_is_a_table_and_a_data_frame() -> None:
    stories = StoryList([Story(id="STORY-1", title=EVIL, epic="E", priority="P0")], total=7)
    assert "1 of 7 stories" in stories._repr_html_()
    assert "<script" not in stories._repr_html_() + stories[0]._repr_html_()
    assert list(stories.df["id"]) == ["STORY-1"]


@pytest.mark.parametrize("render", [static_render.to_html, static_render.to_markdown, static_render.to_text])
def test_a_notebook_keeps_the_newest_of_a_long_conversation(render: Callable[[View], str]) -> None:
    def view(count: int, text: str) -> View:
        return View(rev=1, session="s", connection=ConnectionView(state="connected"), messages=tuple(
            Message(id=f"m{n}", role="user", state="answered", parts=(TextPart(id="t", text=f"{text} {n}."),))
            for n in range(count)))

    assert "not shown" not in render(view(10, "short"))
    for text in ("<é漢>" * 200, "x" * 30_000):
        long = render(view(1000, text))
        assert len(long.encode()) <= static_render.LIMIT
        assert " 999." in long
        assert " 0." not in long
        assert "earlier messages are not shown here" in long
    huge = render(view(3, "<" * 65_536 * 4))
    assert len(huge.encode()) <= static_render.LIMIT
    assert huge.count("too long to be shown") == 3


def test_the_panel_of_a_closed_chat_says_so_and_still_reads(panel: Panel) -> None:
    panel.chat.send("before")
    panel.receive({"intent": "ready"})
    panel.wait_for("snapshot")
    panel.chat.close()
    panel.sent.clear()
    panel.receive({"intent": "submit", "id": "m1", "text": "after"})
    refusal = panel.wait_for("refusal")
    assert (refusal["id"], refusal["message"]) == ("m1", "This chat is closed. Run its cell again.")
    panel.receive({"intent": "ready"})
    view = panel.wait_for("snapshot")["view"]
    assert view["connection"]["state"] == "disconnected"
    assert [m["parts"][0]["text"] for m in view["messages"]] == ["before"]
    bundle, _ = panel.chat._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/markdown", "text/plain"}
    assert "before" in bundle["text/html"]


def test_the_panel_of_a_closed_chat_says_so_while_other_chats_go_on(panel: Panel, tmp_path: Path) -> None:
    panel.receive({"intent": "ready"})
    panel.wait_for("snapshot")
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="other"):
        panel.chat.close()
        panel.receive({"intent": "submit", "id": "m1", "text": "after"})
        assert panel.wait_for("refusal")["message"] == "This chat is closed. Run its cell again."


def test_a_panel_that_the_user_closed_is_replaced(panel: Panel) -> None:
    panel.widget.close()
    assert panel.chat.widget is not panel.widget
    assert panel.chat.widget.comm is not None


def in_trouble(**connection: Any) -> View:
    view = ConnectionView(state="reconnecting", attempt=2, retry_in_ms=4200.0, reason="The line was cut")
    said = Message(id="m", role="user", parts=(TextPart(id="t", text="hello"),), state="in_doubt", detail="Who knows.")
    note = Message(id="n", role="note", parts=(TextPart(id="t", text="From here on elsewhere"),), state="complete")
    taken = Message(id="t", role="user", parts=said.parts, state="failed", run="r")
    return View(
        rev=1, session="s", connection=msgspec.structs.replace(view, **connection), messages=(said, note, taken),
        queued=2)


@pytest.mark.parametrize("render", [static_render.to_html, static_render.to_text])
def test_a_saved_text_tells_of_trouble_as_the_badge_does(render: Callable[[View], str]) -> None:
    text = render(in_trouble())
    assert "Reconnecting (attempt 2, next try in 4 s). The line was cut. 2 messages wait for the server." in text
    assert "delivery unknown: Who knows." in text
    assert "From here on elsewhere" in text
    assert "not delivered" not in text
    offered = OfferView(kind="failover", text="Go on here?")
    text = render(in_trouble(state="disconnected", offer=offered))
    assert "Disconnected. The line was cut. Go on here? 2 messages wait" in text
    assert "Connected" not in render(in_trouble(state="connected", carrier="ws", latency_ms=3.0, reason=None))


def test_the_connection_reads_as_a_sentence() -> None:
    assert str(ConnectionView(state="fallback", carrier="poll", latency_ms=210.4)) == (
        "Connected (210 ms) over HTTP, polling.")
    assert str(ConnectionView(state="connected", carrier="ws", notice="Another answers.")) == (
        "Connected. Another answers.")
    assert str(ConnectionView(state="connecting")) == "Connecting."


def test_a_retry_that_comes_twice_is_one_message_and_a_refused_one_names_it(panel: Panel) -> None:
    panel.chat.send("once more")
    first = panel.chat.view.messages[0].id
    for intent in ({"intent": "ready"}, *[{"intent": "retry", "id": first, "new_id": "again"}] * 2):
        panel.receive(intent)
    panel.receive({"intent": "retry", "id": "nobody", "new_id": "n2"})
    assert panel.wait_for("refusal")["id"] == "n2"
    assert [m["code"] for m in panel.sent if m["type"] == "refusal"] == ["unknown_message"]
    assert [m.id for m in panel.chat.messages if m.role == "user"] == [first, "again"]
