"""A conversation without a widget: for saved notebooks, GitHub, nbconvert and terminals.

Everything that people or models wrote is escaped. Nothing in a view is secret: it holds no token.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from edchat_protocol.messages import (
    AnyPart,
    ArtifactPart,
    ErrorPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)

from .errors import sentences
from .view import View

_FONT = "font-family:system-ui,sans-serif;font-size:14px;line-height:1.45"
_CARD = (
    "border:1px solid #8884;border-left:4px solid {color};border-radius:8px;"
    "padding:8px 12px;margin:8px 0;max-width:44rem"
)
_COLORS = {"P0": "#b3261e", "P1": "#b25e00", "P2": "#1f6feb", "P3": "#57606a"}
_STATES = {
    "queued": "queued", "sent": "sent", "failed": "not delivered", "in_doubt": "delivery unknown",
    "streaming": "still answering", "incomplete": "incomplete", "requires_action": "waits for an answer",
}


LIMIT = 200_000
"""How large, in bytes, a text for a notebook's file may be. What is older is left out."""
_TOO_LONG = TextPart(id="too-long", text="(This message is too long to be shown here.)")


# --------------------------------------------------------------------------------------------------- HTML


def to_html(view: View) -> str:
    """Return the conversation as HTML with inline styles."""
    shown, left_out = _newest(view, message_html)
    messages = "".join(shown)
    if left_out:
        messages = f"<p style='opacity:.7'>{_left_out(left_out)}</p>{messages}"
    if not messages:
        messages = "<p style='opacity:.7'>No messages yet.</p>"
    return f"<div style='{_FONT};max-width:52rem'>{messages}</div>"


def message_html(message: Message) -> str:
    """Return one message as HTML."""
    mine = message.role == "user"
    look = "background:#0969da;color:#fff;margin-left:20%" if mine else "border:1px solid #8884"
    body = "".join(part_html(p) for p in message.parts)
    note = _note(message)
    small = f"<div style='font-size:12px;opacity:.75'>{escape(note)}</div>" if note else ""
    who = escape(_who(message))
    return (
        f"<div style='{look};border-radius:10px;padding:8px 12px;margin-top:8px'>"
        f"<div style='font-size:12px;opacity:.75'>{who}</div>{body}{small}</div>"
    )


def part_html(part: AnyPart) -> str:
    """Return one part as HTML. Markdown stays as its author wrote it."""
    match part:
        case TextPart():
            return f"<div style='white-space:pre-wrap;overflow-wrap:anywhere'>{escape(part.text)}</div>"
        case ReasoningPart():
            return f"<details><summary>Reasoning</summary>{escape(part.text)}</details>"
        case ToolCallPart():
            return f"<div style='font-size:12px;opacity:.85'>{escape(_tool_line(part))}</div>"
        case ErrorPart():
            style = _CARD.format(color="#b3261e")
            return f"<div style='{style}'><b>Error</b> {escape(_error_line(part))}</div>"
        case ArtifactPart(artifact="story"):
            return story_html(part.data)
        case ArtifactPart(artifact="stories"):
            return stories_html(_stories_in(part.data))
        case ArtifactPart():
            return f"<pre style='overflow:auto'>{escape(part.artifact)} {escape(_json(part.data))}</pre>"


def story_html(story: Mapping[str, Any]) -> str:
    """Return a story's card, from its JSON fields."""
    priority = _text(story, "priority")
    color = _color(story)
    line = " · ".join(
        escape(t) for t in (_text(story, "epic"), _text(story, "status"), _points(story)) if t)
    parts = [
        f"<div style='font-size:12px;opacity:.8'>{escape(_text(story, 'id'))} "
        f"<b style='color:{color}'>{escape(priority)}</b> {line}</div>",
        f"<div style='font-weight:600'>{_link(story)}</div>",
    ]
    parts += [
        f"<div style='margin:4px 0'>{escape(_text(story, key))}</div>"
        for key in ("userStory", "description") if _text(story, key)
    ]
    parts.append(_list_html("Acceptance criteria", _items(story, "acceptanceCriteria")))
    parts.append(_list_html("Definition of done", _items(story, "definitionOfDone")))
    return f"<div style='{_FONT};{_CARD.format(color=color)}'>{''.join(parts)}</div>"


def _list_html(title: str, texts: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(t)}</li>" for t in texts)
    return f"<b>{title}</b><ul style='margin:2px 0'>{items}</ul>" if items else ""


def stories_html(stories: Sequence[Mapping[str, Any]], *, total: int | None = None) -> str:
    """Return stories as a table, from their JSON fields."""
    if not stories:
        return f"<div style='{_FONT}'>No stories.</div>"
    head = "".join(
        f"<th scope='col' style='text-align:left'>{t}</th>"
        for t in ("Id", "Priority", "Title", "Epic", "Status", "Points"))
    rows = "".join(
        f"<tr><td>{escape(_text(s, 'id'))}</td>"
        f"<td style='color:{_color(s)}'>{escape(_text(s, 'priority'))}</td>"
        f"<td style='text-align:left'>{_link(s)}</td><td>{escape(_text(s, 'epic'))}</td>"
        f"<td>{escape(_text(s, 'status'))}</td><td>{escape(_text(s, 'points'))}</td></tr>"
        for s in stories)
    more = ""
    if total is not None and total > len(stories):
        more = f"<div style='font-size:12px'>{len(stories)} of {total} stories</div>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div style='{_FONT}'>{table}{more}</div>"


# ----------------------------------------------------------------------------------------- Markdown, plain


def to_markdown(view: View) -> str:
    """Return the conversation as Markdown."""
    return _conversation(view, lambda m: f"**{_mark(_who(m))}**", _part_markdown)


def to_text(view: View) -> str:
    """Return the conversation as plain text."""
    return _conversation(view, lambda m: f"{_who(m)}:", part_text)


def _conversation(view: View, head: Callable[[Message], str], body: Callable[[AnyPart], str]) -> str:
    def block(message: Message) -> str:
        note = _note(message)
        return "\n\n".join(
            [head(message), *(t for p in message.parts if (t := body(p))), *([f"({note})"] if note else [])])

    shown, left_out = _newest(view, block)
    blocks = [_left_out(left_out), *shown] if left_out else shown
    return "\n\n".join(blocks) or "No messages yet."


def _newest(view: View, render: Callable[[Message], str]) -> tuple[list[str], int]:
    """Return the newest messages that fit within the limit, and how many are left out."""
    room = LIMIT - 1000
    shown: list[str] = []
    for message in reversed(view.messages):
        text = render(message)
        if len(text.encode("utf-8", "replace")) > LIMIT // 2:
            text = render(msgspec.structs.replace(message, parts=(_TOO_LONG,), detail=None))
        room -= len(text.encode("utf-8", "replace")) + 2
        if room < 0:
            break
        shown.append(text)
    return shown[::-1], len(view.messages) - len(shown)


def _left_out(count: int) -> str:
    return f"({count} earlier {'message is' if count == 1 else 'messages are'} not shown here.)"


def message_text(message: Message) -> str:
    """Return one message as plain text."""
    return "\n\n".join(t for p in message.parts if (t := part_text(p)))


def message_markdown(message: Message) -> str:
    """Return one message as Markdown."""
    return "\n\n".join(t for p in message.parts if (t := _part_markdown(p)))


def part_text(part: AnyPart) -> str:
    """Return one part as plain text."""
    match part:
        case TextPart():
            return part.text
        case ReasoningPart():
            return ""
        case ToolCallPart():
            return f"[{_tool_line(part)}]"
        case ErrorPart():
            return f"Error: {_error_line(part)}"
        case ArtifactPart(artifact="story"):
            return _story_line(part.data)
        case ArtifactPart(artifact="stories"):
            return "\n".join(_story_line(s) for s in _stories_in(part.data))
        case ArtifactPart():
            return f"{part.artifact}: {_json(part.data)}"


def _part_markdown(part: AnyPart) -> str:
    match part:
        case ToolCallPart():
            return f"*{_mark(_tool_line(part))}*"
        case ErrorPart():
            return f"> **Error:** {_mark(_error_line(part))}"
        case ArtifactPart(artifact="story"):
            criteria = "".join(f"\n> - {_mark(i)}" for i in _items(part.data, "acceptanceCriteria"))
            return f"> **{_mark(_story_line(part.data))}**{criteria}"
        case ArtifactPart(artifact="stories"):
            return "\n".join(f"- {_mark(_story_line(s))}" for s in _stories_in(part.data))
        case ArtifactPart():
            return f"```\n{part_text(part).replace('```', '` ` `')}\n```"
        case _:
            return part_text(part)


# -------------------------------------------------------------------------------------------------- pieces


def _who(message: Message) -> str:
    return (message.author or "You") if message.role == "user" else "Agent"


def _note(message: Message) -> str:
    return message.detail or _STATES.get(message.state, "")


def _tool_line(call: ToolCallPart) -> str:
    name = call.title or call.tool
    match call.state:
        case "output-available":
            time = f" in {call.duration_ms / 1000:.1f} s" if call.duration_ms is not None else ""
            return f"{name}: done{time}"
        case "output-error":
            return f"{name}: failed: {call.error or 'no reason given'}"
        case "output-denied":
            return f"{name}: declined"
        case _:
            return f"{name}: running" if call.started_at is not None else f"{name}: waiting"


def _error_line(part: ErrorPart) -> str:
    return sentences(part.message, part.hint)


def _story_line(story: Mapping[str, Any]) -> str:
    return " · ".join(t for k in ("id", "priority", "title", "epic", "status") if (t := _text(story, k)))


def _text(story: Mapping[str, Any], key: str) -> str:
    value = story.get(key)
    return "" if value is None else str(value)


def _color(story: Mapping[str, Any]) -> str:
    return _COLORS.get(_text(story, "priority"), "#57606a")


def _points(story: Mapping[str, Any]) -> str:
    points = _text(story, "points")
    return f"{points} points" if points else ""


def _items(story: Mapping[str, Any], key: str) -> list[str]:
    value = story.get(key)
    return [str(i) for i in value] if isinstance(value, list | tuple) else []


def _stories_in(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = data.get("stories")
    return [s for s in found if isinstance(s, Mapping)] if isinstance(found, list | tuple) else []


def _link(story: Mapping[str, Any]) -> str:
    title, url = escape(_text(story, "title")), _text(story, "url")
    if url.startswith(("https://", "http://")):
        return f"<a href='{escape(url, quote=True)}' rel='noopener noreferrer'>{title}</a>"
    return title


def _mark(text: str) -> str:
    for char in "\\`*_{}[]<>#|":
        text = text.replace(char, "\\" + char)
    return " ".join(text.split())


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, default=str)
