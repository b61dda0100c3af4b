"""Typed domain objects that tools make. The JSON keys are the origin's: camelCase."""

from typing import Any, Literal

import msgspec

Priority = Literal["P0", "P1", "P2", "P3"]
Status = Literal["Backlog", "Ready", "In Progress", "In Review", "Done", "Blocked"]
StoryType = Literal["story", "bug", "task", "spike"]

PRIORITIES: tuple[Priority, ...] = ("P0", "P1", "P2", "P3")
STATUSES: tuple[Status, ...] = ("Backlog", "Ready", "In Progress", "In Review", "Done", "Blocked")
STORY_TYPES: tuple[StoryType, ...] = ("story", "bug", "task", "spike")
POINTS: tuple[int, ...] = (1, 2, 3, 5, 8, 13)


class Story(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One story of the backlog.

    `id` is like ``STORY-12``. `points` is one of 1, 2, 3, 5, 8, 13 or None (not estimated).
    `version` counts the changes, from 1. Times are ISO 8601 in UTC.
    """

    id: str
    title: str
    epic: str
    priority: Priority
    status: Status = "Backlog"
    type: StoryType = "story"
    user_story: str = ""
    description: str = ""
    acceptance_criteria: tuple[str, ...] = ()
    definition_of_done: tuple[str, ...] = ()
    points: int | None = None
    labels: tuple[str, ...] = ()
    assignee: str | None = None
    technical_details: str = ""
    url: str | None = None
    version: int = 1
    created_at: str = ""
    updated_at: str = ""
    run_id: str | None = None

    def __str__(self) -> str:
        """Return one line for people: ``STORY-1 · P1 · User authentication · Security``."""
        return f"{self.id} · {self.priority} · {self.title} · {self.epic}"


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact as it travels: `type` is ``story``, ``stories`` (`{"stories": [Story]}`), or one that
    a newer peer knows; `data` is its JSON object."""

    type: str
    data: dict[str, Any]


def story_of(artifact: Artifact) -> Story | None:
    """Return the story in an artifact, or None where there is none to read.

    A peer that knows only the origin's frames may leave out all but id, title, epic and priority.
    """
    if artifact.type != "story":
        return None
    try:
        return msgspec.convert(artifact.data, Story, strict=False)
    except msgspec.ValidationError:
        return None
