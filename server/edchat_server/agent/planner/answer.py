"""The words after the tools have answered: short Markdown that names what was done."""

import re
from dataclasses import dataclass
from typing import Any

from .plan import Plan
from .text import escape

MAX_ROWS = 50


@dataclass(frozen=True)
class Outcome:
    """What one tool call gave: its text for people, and its artifact if it succeeded."""

    tool: str
    args: dict[str, Any]
    ok: bool
    content: str
    artifact: dict[str, Any] | None = None

    @property
    def story(self) -> dict[str, Any]:
        """The story of the artifact; empty if there is none."""
        return self.artifact["data"] if self.ok and self.artifact and self.artifact["type"] == "story" else {}


def write_answer(plan: Plan, outcomes: tuple[Outcome, ...]) -> str:
    """Return the answer to the user."""
    good = [o for o in outcomes if o.ok]
    parts = [plan.say] if plan.say and good else []
    created = [o.story for o in good if o.tool == "create_story"]
    updated = [o for o in good if o.tool == "update_story"]
    looked_up = [o.story for o in good if o.tool == "get_story"]
    lists = [o for o in good if o.tool == "list_stories"]
    if created:
        parts.append(_created(created))
    if updated:
        parts.append("\n".join(_updated(o) for o in updated))
    if looked_up:
        parts.append("\n\n".join(_one(s) for s in looked_up))
    if lists:
        parts.append(_epics(lists) if plan.kind == "epics" else _listed(plan, lists))
    parts.extend(_failed(o) for o in outcomes if not o.ok)
    return (
        "\n\n".join(parts)
        or "Nothing came back from the tools, so I cannot say whether anything was changed."
    )


def _created(stories: list[dict[str, Any]]) -> str:
    if len(stories) == 1:
        story = stories[0]
        criteria = len(story.get("acceptanceCriteria", ()))
        extras = [f"{criteria} acceptance {'criterion' if criteria == 1 else 'criteria'}"]
        if story.get("points"):
            extras.append(_points(story["points"]))
        if story.get("assignee"):
            extras.append(f"assigned to {escape(story['assignee'])}")
        return f"Created {_name(story)}, with {', '.join(extras)}."
    return f"Created {len(stories)} stories:\n\n{_table(stories)}"


def _updated(outcome: Outcome) -> str:
    story = outcome.story
    _, found, changes = outcome.content.partition(f" · {story['epic']}: ")
    if outcome.content.startswith("Updated") and found:
        return f"Updated {_name(story)}: {escape(changes)}."
    return f"{_name(story)} was like that already; nothing was changed."


def _one(story: dict[str, Any]) -> str:
    lines = [f"{_name(story)} is **{story['status']}**"]
    if story.get("points"):
        lines[0] += f", {_points(story['points'])}"
    if story.get("assignee"):
        lines[0] += f", assigned to {escape(story['assignee'])}"
    lines[0] += "."
    if story.get("userStory"):
        lines.append(escape(story["userStory"]))
    return "\n\n".join(lines)


def _listed(plan: Plan, lists: list[Outcome]) -> str:
    stories: list[dict[str, Any]] = []
    total = 0
    for outcome in lists:
        if outcome.artifact:
            stories += outcome.artifact["data"]["stories"]
            total += int(outcome.artifact["data"]["total"])
    what = _filters(lists)
    opened = "open " if lists[0].args.get("status") == "open" else ""
    if not total:
        epics = re.search(r"^Epics that exist: .*$", lists[0].content, re.MULTILINE)
        known = f" {escape(epics[0])}." if epics and lists[0].args.get("epic") else ""
        return f"I found no {opened}story{what}.{known}"
    plural = "story" if total == 1 else "stories"
    head = f"**{total}** {opened}{plural}{what}"
    if plan.kind == "count" and total > 10:
        return f"{head}."
    shown = stories[:MAX_ROWS]
    more = f" (the first {len(shown)} are shown)" if len(shown) < total else ""
    return f"{head}{more}:\n\n{_table(shown)}"


def _filters(lists: list[Outcome]) -> str:
    args = lists[0].args
    words = []
    priorities = [str(o.args["priority"]) for o in lists if o.args.get("priority")]
    if priorities:
        words.append(f"priority {' or '.join(priorities)}")
    names = ("status", "type", "epic", "assignee", "label")
    words += [f"{name} {escape(str(args[name]))}" for name in names if args.get(name) not in {None, "", "open"}]
    if args.get("text"):
        words.append(f"the words “{escape(str(args['text']))}”")
    return f" with {', '.join(words)}" if words else ""


def _epics(lists: list[Outcome]) -> str:
    counts: dict[str, int] = {}
    for outcome in lists:
        for story in outcome.artifact["data"]["stories"] if outcome.artifact else ():
            counts[story["epic"]] = counts.get(story["epic"], 0) + 1
    if not counts:
        return "There are no epics yet: the backlog is empty."
    rows = "\n".join(f"| {escape(name)} | {count} |" for name, count in sorted(counts.items()))
    return f"| Epic | Stories |\n|---|---|\n{rows}"


def _failed(outcome: Outcome) -> str:
    wish = {
        "create_story": f"The story{_quoted(outcome.args.get('title'))} was not created",
        "update_story": f"{outcome.args.get('id', 'The story')} was not changed",
        "get_story": f"I could not look up {outcome.args.get('id', 'the story')}",
        "list_stories": "I could not list the stories",
    }.get(outcome.tool, f"{outcome.tool} failed")
    why = outcome.content.removeprefix("id: ").rstrip(".")
    return f"**{escape(wish)}**: {escape(why)}."


def _quoted(title: object) -> str:
    return f" “{str(title)[:80]}”" if title else ""


def _name(story: dict[str, Any]) -> str:
    return f"**{story['id']}** · {story['priority']} · {escape(story['title'])} · {escape(story['epic'])}"


def _points(points: int) -> str:
    return f"{points} point" if points == 1 else f"{points} points"


def _table(stories: list[dict[str, Any]]) -> str:
    cells = (
        (
            s["id"],
            s["priority"],
            escape(s["title"]),
            escape(s["epic"]),
            s["status"],
            f"{s.get('points') or '–'}",
        )
        for s in stories
    )
    rows = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    return f"| Id | Priority | Title | Epic | Status | Points |\n|---|---|---|---|---|---|\n{rows}"
