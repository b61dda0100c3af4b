"""The words after the tools have answered: short Markdown that names what was done."""

import re
from dataclasses import dataclass
from typing import Any

from .plan import Plan
from .text import escape

MAX_NAMED = 3


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

    @property
    def total(self) -> int:
        """How many stories fit in all; 1 where nothing was listed."""
        data = self.artifact["data"] if self.ok and self.artifact else {}
        return int(data.get("total", 1))


def write_answer(plan: Plan, outcomes: tuple[Outcome, ...]) -> str:
    """Return the answer to the user. What the cards show is not said again."""
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
        parts.append(_epics(lists) if plan.kind == "epics" else _answered(plan, lists))
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
    ids = [str(s["id"]) for s in stories]
    named = _and(ids) if len(ids) <= MAX_NAMED else f"{ids[0]} to {ids[-1]}"
    return f"Created **{len(stories)} stories**: {named}."


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


def _answered(plan: Plan, lists: list[Outcome]) -> str:
    wider = lists[len(plan.calls) :] if plan.guess else []
    if not wider:
        return _listed(plan, lists)
    lost = f"I did not understand “{escape(plan.guess)}”, and no story has these words."
    return f"{lost} Without them: {_listed(plan, wider)}"


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
    head = f"**{total}** {opened}{'story' if total == 1 else 'stories'}{what}"
    if plan.kind == "points":
        return _sum_of_points(head, stories, total)
    if len(stories) < total:
        return f"{head}; the first {len(stories)} are shown."
    return f"{head}: {_and([s['id'] for s in stories])}." if total <= MAX_NAMED else f"{head}."


def _sum_of_points(head: str, stories: list[dict[str, Any]], total: int) -> str:
    estimated = [s["points"] for s in stories if s.get("points")]
    none = len(stories) - len(estimated)
    notes = f", {none} of them without an estimate" if none else ""
    notes += f", of which I counted the first {len(stories)}" if len(stories) < total else ""
    return f"**{_points(sum(estimated))}** in {head}{notes}."


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
    named = [f"{escape(name)} ({count})" for name, count in sorted(counts.items())]
    epics = "epic" if len(counts) == 1 else "epics"
    return f"**{len(counts)}** {epics}, with the number of stories: {', '.join(named)}."


def _failed(outcome: Outcome) -> str:
    wish = {
        "create_story": f"The story{_quoted(outcome.args.get('title'))} was not created",
        "update_story": f"{outcome.args.get('id', 'The story')} was not changed",
        "get_story": f"I could not look up {outcome.args.get('id', 'the story')}",
        "list_stories": "I could not list the stories",
    }.get(outcome.tool, f"{outcome.tool} failed")
    why = outcome.content.rstrip(".")
    code = outcome.artifact["data"].get("code") if outcome.artifact else ""
    if outcome.tool == "update_story" and code in {"not_found", "ambiguous"}:
        return f"{escape(why)}. Nothing was changed; which story do you mean? Tell me its id, like STORY-3."
    return f"**{escape(wish)}**: {escape(why)}."


def _quoted(title: object) -> str:
    return f" “{str(title)[:80]}”" if title else ""


def _name(story: dict[str, Any]) -> str:
    return f"**{story['id']}** · {story['priority']} · {escape(story['title'])} · {escape(story['epic'])}"


def _points(points: int) -> str:
    return f"{points} point" if points == 1 else f"{points} points"


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
