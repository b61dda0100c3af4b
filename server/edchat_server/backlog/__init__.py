"""The product manager's domain: stories and epics, their rules and history. It knows no agent, no wire."""

from .backlog import Backlog, Revision, differences
from .errors import AmbiguousStory, BacklogError, InvalidField, StoryNotFound, VersionConflict
from .model import DEFAULT_EPIC, DEFAULT_PRIORITY, StoryChange, StoryDraft, StoryQuery
from .schema import prepare
from .themes import suggest_epic

__all__ = [
    "DEFAULT_EPIC",
    "DEFAULT_PRIORITY",
    "AmbiguousStory",
    "Backlog",
    "BacklogError",
    "InvalidField",
    "Revision",
    "StoryChange",
    "StoryDraft",
    "StoryNotFound",
    "StoryQuery",
    "VersionConflict",
    "differences",
    "prepare",
    "suggest_epic",
]
