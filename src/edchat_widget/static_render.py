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

from . import markdown
from .errors import sentences
from .view import View

_FONT = "font-family:system-ui,sans-serif;font-size:14px;line-height:1.45"
_CARD = "border:1px solid #8886;border-radius:12px;padding:12px 14px;margin:8px 0;max-width:44rem"
_SMALL = "font-size:12.5px;opacity:.8"
_WRITTEN = "white-space:pre-wrap;overflow-wrap:anywhere"
# No one colour reads well on a white page and on a black one. Text has the page's own; a badge brings its ground.
_COLORS = {"P0": "#b42318", "P1": "#a34708", "P2": "#1d4fd8", "P3": "#4d5562"}
_WORDS = {"P0": "Critical", "P1": "High", "P2": "Normal", "P3": "Low"}
_EMPTY = "No messages yet. Run this cell in Jupyter to open the chat."
_STATES = {
    "queued": "queued", "sent": "sent, not confirmed", "failed": "not delivered", "in_doubt": "delivery unknown",
    "streaming": "still answering", "incomplete": "incomplete", "requires_action": "waits for an answer",
}


LIMIT = 200_000
"""How large, in bytes, a text for a notebook's file may be. What is older is left out."""
_TOO_LONG = TextPart(id="too-long", text="(This message is too long to be shown here.)")


# --------------------------------------------------------------------------------------------------- HTML


def bundle(view: View) -> dict[str, str]:
    """Return the conversation for each kind of place where no widget can live."""
    return {"text/html": to_html(view), "text/markdown": to_markdown(view), "text/plain": to_text(view)}


def to_html(view: View) -> str:
    """Return the conversation as HTML with inline styles."""
    shown, left_out = _newest(view, message_html)
    messages = "".join(shown)
    if trouble := _trouble(view):
        messages += f"<p style='{_SMALL}'>{escape(trouble)}</p>"
    if left_out:
        messages = f"<p style='{_SMALL}'>{_left_out(left_out)}</p>{messages}"
    if not shown:
        messages = f"<p>{_EMPTY}</p>{messages}"
    return f"<div style='{_FONT};max-width:52rem'>{messages}</div>"


def message_html(message: Message) -> str:
    """Return one message as HTML: the user's text as written, the agent's Markdown rendered."""
    if message.role == "note":
        return f"<p style='{_SMALL};text-align:center;margin:12px 0'>— {escape(message.text)} —</p>"
    mine = message.role == "user"
    look = "background:#1d4fd8;color:#fff;margin-left:20%" if mine else "border:1px solid #8886"
    body = "".join(_written(p.text) if mine and isinstance(p, TextPart) else part_html(p) for p in message.parts)
    note = _note(message)
    small = f"<div style='font-size:12px;opacity:.9'>{escape(note)}</div>" if note else ""
    return (
        f"<div style='{look};border-radius:12px;padding:8px 14px;margin-top:8px'>"
        f"<div style='font-size:12px;opacity:.9'>{escape(_who(message))}</div>{body}{small}</div>"
    )


def part_html(part: AnyPart) -> str:
    """Return one part of the agent's as HTML."""
    match part:
        case TextPart():
            return markdown.to_html(part.text)
        case ReasoningPart():
            return f"<details><summary>Reasoning</summary>{_written(part.text)}</details>"
        case ToolCallPart():
            return f"<div style='{_SMALL}'>{escape(_tool_line(part))}</div>"
        case ErrorPart():
            return f"<div style='{_CARD}'>{_badge('Error', '#b42318')} {escape(_error_line(part))}</div>"
        case ArtifactPart(artifact="story"):
            return story_html(part.data)
        case ArtifactPart(artifact="stories"):
            return stories_html(_stories_in(part.data))
        case ArtifactPart():
            return f"<pre style='overflow:auto'>{escape(part.artifact)} {escape(_json(part.data))}</pre>"


def story_html(story: Mapping[str, Any]) -> str:
    """Return a story's card, from its JSON fields."""
    status, user_story = _text(story, "status"), _text(story, "userStory")
    facts = " · ".join(escape(t) for t in (_text(story, "epic"), _points(story), _text(story, "assignee")) if t)
    criteria, labels = _items(story, "acceptanceCriteria"), _items(story, "labels")
    head = [f"<span style='{_SMALL}'>{escape(_text(story, 'id'))}</span>", _priority(story, word=True)]
    if status:
        head.append(f"<span style='border:1px solid #8886;border-radius:5px;padding:0 7px;font-size:12px'>"
                    f"{escape(status)}</span>")
    parts = [
        f"<div>{' '.join(head)}</div>",
        f"<div style='font-size:16px;font-weight:600;margin-top:6px;overflow-wrap:anywhere'>{_link(story)}</div>",
        f"<div style='{_SMALL}'>{facts}</div>" if facts else "",
        f"<div style='margin-top:10px;padding-left:11px;border-left:2px solid #8886'>{escape(user_story)}</div>"
        if user_story else "",
        markdown.to_html(_text(story, "description")),
        f"<div style='margin-top:10px'><b>Acceptance criteria</b> {len(criteria)}</div>{_list_html(criteria)}"
        if criteria else "",
        _folded("Definition of done", _list_html(_items(story, "definitionOfDone"))),
        _folded("Technical details", markdown.to_html(_text(story, "technicalDetails"))),
        f"<div style='{_SMALL};margin-top:6px'>{escape(' · '.join(labels))}</div>" if labels else "",
    ]
    return f"<div style='{_FONT};{_CARD}'>{''.join(parts)}</div>"


def _written(text: str) -> str:
    return f"<div style='{_WRITTEN}'>{escape(text)}</div>"


def _badge(text: str, color: str) -> str:
    return (f"<span style='background:{color};color:#fff;border-radius:5px;padding:0 7px;font-size:12px;"
            f"font-weight:600;white-space:nowrap'>{escape(text)}</span>")


def _priority(story: Mapping[str, Any], *, word: bool = False) -> str:
    priority = _text(story, "priority")
    text = f"{priority} {_WORDS.get(priority, '')}".strip() if word else priority
    return _badge(text, _COLORS.get(priority, "#4d5562")) if text else ""


def _folded(title: str, html: str) -> str:
    return f"<details><summary>{title}</summary>{html}</details>" if html else ""


def _list_html(texts: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(t)}</li>" for t in texts)
    return f"<ul style='margin:2px 0;padding-left:22px'>{items}</ul>" if items else ""


def stories_html(stories: Sequence[Mapping[str, Any]], *, total: int | None = None) -> str:
    """Return stories as a table, from their JSON fields."""
    if not stories:
        return f"<div style='{_FONT}'>No stories.</div>"
    head = "".join(
        f"<th scope='col' style='text-align:left'>{t}</th>"
        for t in ("Id", "Priority", "Title", "Epic", "Status", "Points"))
    rows = "".join(
        f"<tr><td>{escape(_text(s, 'id'))}</td>"
        f"<td>{_priority(s)}</td>"
        f"<td style='text-align:left'>{_link(s)}</td><td>{escape(_text(s, 'epic'))}</td>"
        f"<td>{escape(_text(s, 'status'))}</td><td>{escape(_text(s, 'points'))}</td></tr>"
        for s in stories)
    more = ""
    if total is not None and total > len(stories):
        more = f"<div style='font-size:12px'>{len(stories)} of {total} stories</div>"
    table = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"<div style='{_FONT}'><table style='color:inherit;font-size:inherit'>{table}</table>{more}</div>"


# ----------------------------------------------------------------------------------------- Markdown, plain


def to_markdown(view: View) -> str:
    """Return the conversation as Markdown."""
    return _conversation(
        view, lambda m: f"**{markdown.inline(_who(m))}**", message_markdown, lambda note: f"({markdown.inline(note)})")


def to_text(view: View) -> str:
    """Return the conversation as plain text."""
    return _conversation(view, lambda m: f"{_who(m)}:", message_text, lambda note: f"({note})")


def _conversation(
    view: View, head: Callable[[Message], str], body: Callable[[Message], str], aside: Callable[[str], str]
) -> str:
    def block(message: Message) -> str:
        if message.role == "note":
            return aside(message.text)
        note = _note(message)
        return "\n\n".join(t for t in (head(message), body(message), aside(note) if note else "") if t)

    shown, left_out = _newest(view, block)
    blocks = [_left_out(left_out), *shown] if left_out else shown
    trouble = _trouble(view)
    return "\n\n".join([*(blocks or [_EMPTY]), *([aside(trouble)] if trouble else [])])


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
    """Return one message as Markdown: the user's text as written, the agent's without HTML and images."""
    mine = message.role == "user"
    texts = (
        markdown.literal(p.text) if mine and isinstance(p, TextPart) else _part_markdown(p) for p in message.parts)
    return "\n\n".join(t for t in texts if t)


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
        case TextPart():
            return markdown.tamed(part.text)
        case ToolCallPart():
            return f"*{markdown.inline(_tool_line(part))}*"
        case ErrorPart():
            return f"> **Error:** {markdown.inline(_error_line(part))}"
        case ArtifactPart(artifact="story"):
            criteria = "".join(f"\n> - {markdown.inline(i)}" for i in _items(part.data, "acceptanceCriteria"))
            return f"> **{markdown.inline(_story_line(part.data))}**{criteria}"
        case ArtifactPart(artifact="stories"):
            return "\n".join(f"- {markdown.inline(_story_line(s))}" for s in _stories_in(part.data))
        case ArtifactPart():
            return f"```\n{part_text(part).replace('```', '` ` `')}\n```"
        case _:
            return part_text(part)


# -------------------------------------------------------------------------------------------------- pieces


def _who(message: Message) -> str:
    return (message.author or "You") if message.role == "user" else "Agent"


def _note(message: Message) -> str:
    if message.role == "user" and message.state == "failed" and message.run and message.detail is None:
        return ""  # it was delivered; what failed is its run, and the answer says so
    state = _STATES.get(message.state, "")
    if message.role == "user" and message.detail and state:
        return f"{state}: {message.detail}"
    return message.detail or state


def _trouble(view: View) -> str:
    """Return what there is to know of the connection; nothing where all is well or nothing is tried yet."""
    connection = view.connection
    well = connection.state in ("connected", "connecting", "fallback")
    if well and connection.notice is None and connection.offer is None:
        return ""
    count = view.queued
    waits = f"{count} {'message waits' if count == 1 else 'messages wait'} for the server." if count else None
    return sentences(str(connection), waits)


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


def _points(story: Mapping[str, Any]) -> str:
    points = _text(story, "points")
    return "1 point" if points == "1" else f"{points} points" if points else ""


def _items(story: Mapping[str, Any], key: str) -> list[str]:
    value = story.get(key)
    return [str(i) for i in value] if isinstance(value, list | tuple) else []


def _stories_in(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = data.get("stories")
    return [s for s in found if isinstance(s, Mapping)] if isinstance(found, list | tuple) else []


def _link(story: Mapping[str, Any]) -> str:
    title, url = escape(_text(story, "title")), _text(story, "url")
    if markdown.is_safe(url):
        style = "color:inherit;text-decoration:underline"
        return f"<a href='{escape(url, quote=True)}' rel='noopener noreferrer' style='{style}'>{title}</a>"
    return title


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, default=str)
