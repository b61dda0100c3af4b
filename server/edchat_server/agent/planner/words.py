# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)

"""The planner's vocabulary."""

import re

PRIORITY_WORDS = {
    "critical": "P0", "blocker": "P0", "urgent": "P0", "highest": "P0", "asap": "P0", "showstopper": "P0",
    "kritisch": "P0", "dringend": "P0", "kritische": "P0", "dringende": "P0",
    "high": "P1", "important": "P1", "hoch": "P1", "hohe": "P1", "hoher": "P1", "wichtig": "P1", "wichtige": "P1",
    "normal": "P2", "medium": "P2", "moderate": "P2", "regular": "P2", "mittel": "P2", "mittlere": "P2",
    "normale": "P2", "mittlerer": "P2",
    "low": "P3", "lowest": "P3", "minor": "P3", "trivial": "P3", "nice to have": "P3", "nice-to-have": "P3",
    "niedrig": "P3", "niedrige": "P3", "gering": "P3", "niedriger": "P3",
}  # fmt: skip

STATUS_WORDS = {
    "backlog": "Backlog", "to do": "Backlog", "todo": "Backlog", "not started": "Backlog",
    "ready": "Ready", "ready for development": "Ready", "bereit": "Ready",
    "in progress": "In Progress", "in-progress": "In Progress", "in_progress": "In Progress", "wip": "In Progress",
    "doing": "In Progress", "started": "In Progress", "in arbeit": "In Progress", "inprogress": "In Progress",
    "being worked on": "In Progress",
    "in review": "In Review", "in-review": "In Review", "in_review": "In Review", "review": "In Review",
    "under review": "In Review", "ready for review": "In Review", "im review": "In Review",
    "done": "Done", "finished": "Done", "complete": "Done", "completed": "Done", "closed": "Done",
    "resolved": "Done", "erledigt": "Done", "fertig": "Done", "abgeschlossen": "Done",
    "blocked": "Blocked", "stuck": "Blocked", "on hold": "Blocked", "blockiert": "Blocked",
}  # fmt: skip

OPEN_WORDS = ("open", "unfinished", "not done", "outstanding", "remaining", "offen", "offene", "offenen")

TYPE_WORDS = {
    "bug": "bug", "bugs": "bug", "defect": "bug", "defects": "bug", "bugreport": "bug", "bug report": "bug", "fehler": "bug",
    "task": "task", "tasks": "task", "chore": "task", "aufgabe": "task", "aufgaben": "task",
    "spike": "spike", "spikes": "spike",
}  # fmt: skip

NUMBER_WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "zwei": 2, "drei": 3, "vier": 4, "fünf": 5,
}  # fmt: skip

ORDINALS = {
    "first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "4th": 3, "fifth": 4, "5th": 4,
    "sixth": 5, "6th": 5, "seventh": 6, "7th": 6, "eighth": 7, "8th": 7, "ninth": 8, "9th": 8, "tenth": 9,
    "10th": 9, "last": -1, "erste": 0, "ersten": 0, "zweite": 1, "zweiten": 1, "dritte": 2, "dritten": 2,
    "letzte": -1, "letzten": -1,
}  # fmt: skip


def either(*groups: object) -> str:
    """Return a regular expression of all the words, the longest first, so that none hides another."""
    words = sorted({str(w) for group in groups for w in group}, key=len, reverse=True)  # type: ignore[attr-defined]
    return "|".join(re.escape(w).replace(r"\ ", r"\s") for w in words)


PRIORITY = either(PRIORITY_WORDS)
STATUS = either(STATUS_WORDS)
ORDINAL = either(ORDINALS)
SINGULAR = r"(?:user[\s-])?(?:story|ticket|task|bug(?:\sreport)?|spike|item|card|issue|defect|chore|aufgabe|fehler)"
PLURAL = r"(?:user[\s-])?(?:stories|storys|tickets|tasks|bugs|spikes|items|cards|issues|defects|chores|aufgaben|fehler)"
NOUN = f"(?:{PLURAL}|{SINGULAR})"
STORY_ID = r"(?:stor(?:y|ies)[\s_-]{0,2}#?|ticket[\s_-]?#?|#)(?P<n>[0-9]{1,9})\b"
