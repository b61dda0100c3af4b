"""What LangGraph's thread of a session holds, and what a new run puts into it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage

from edchat_protocol.frames import HistoryItem, Logged, ToolDetails, ToolExecution

from .translate import STOPPED

HISTORY_LIMIT = 10


def messages_of(state: Any) -> list[BaseMessage]:
    """Return the messages of a state snapshot, those of finished tasks of an open superstep included."""
    found = list(state.values.get("messages", ()))
    known = {message.id for message in found}
    for task in state.tasks:
        result = task.result if isinstance(task.result, Mapping) else {}
        pending = result.get("messages", ())
        items = pending if isinstance(pending, list | tuple) else [pending]
        found += [m for m in items if isinstance(m, BaseMessage) and m.id not in known]
    return found


def opening(
    present: Sequence[BaseMessage],
    *,
    content: str,
    input_id: str,
    history: Sequence[HistoryItem] = (),
    before: Iterable[Logged] = (),
) -> dict[str, list[AnyMessage]]:
    """Return the input of a run.

    `present` is what the thread holds and `before` the events of the run before. An empty thread begins
    with `history`. Tool calls that a stopped run left open are answered with what the log says of them,
    because models refuse a conversation with open calls.
    """
    messages: list[AnyMessage] = []
    if not present:
        messages += _seed(history, content)
    messages += _unanswered(present, before)
    messages.append(HumanMessage(content=content, id=input_id))
    return {"messages": messages}


def _seed(history: Sequence[HistoryItem], content: str) -> list[AnyMessage]:
    items = [item for item in history[-HISTORY_LIMIT:] if item.content.strip()]
    if items and items[-1].role == "user" and items[-1].content == content:
        items.pop()  # some clients send the message itself as the last of the history
    return [
        AIMessage(content=item.content) if item.role == "assistant" else HumanMessage(content=item.content)
        for item in items
        if item.role in ("user", "assistant")
    ]


def _unanswered(present: Sequence[BaseMessage], before: Iterable[Logged]) -> list[ToolMessage]:
    answered = {m.tool_call_id for m in present if isinstance(m, ToolMessage)}
    last = next((m for m in reversed(present) if isinstance(m, AIMessage)), None)
    shown = {frame.step: frame for frame in before if isinstance(frame, ToolExecution)}
    return [
        _answer(call["id"], call["name"], shown.get(call["id"]))
        for call in (last.tool_calls if last else ())
        if call["id"] and call["id"] not in answered
    ]


def _answer(call: str, tool: str, frame: ToolExecution | None) -> ToolMessage:
    details = frame.data.details if frame else None
    if frame is not None and frame.data.status == "completed" and isinstance(details, ToolDetails):
        return ToolMessage(content=details.output or "Done.", tool_call_id=call, name=tool)
    return ToolMessage(content=STOPPED, tool_call_id=call, name=tool, status="error")
