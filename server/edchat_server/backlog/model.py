"""What is wished of the backlog: a draft, a change, a query."""

from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

DEFAULT_EPIC = "Engineering Tasks"
DEFAULT_PRIORITY = "P2"

Text: TypeAlias = str | UnsetType
Texts: TypeAlias = tuple[str, ...] | UnsetType


class StoryDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A story to be. Only the title is needed; what is empty gets a default that fits the title.

    Values are checked by `Backlog.create_story`, in any letter case: priority P0 to P3, status, type, and
    points (1, 2, 3, 5, 8 or 13; None: estimated). `language` is that of the defaults: ``de`` for German, else English
    unless the title looks German.
    """

    title: str
    epic: str = ""
    priority: str = ""
    status: str = ""
    type: str = ""
    user_story: str = ""
    description: str = ""
    acceptance_criteria: tuple[str, ...] = ()
    definition_of_done: tuple[str, ...] = ()
    points: int | None = None
    labels: tuple[str, ...] = ()
    assignee: str = ""
    technical_details: str = ""
    url: str = ""
    language: str = ""


class StoryChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in a story; a field that is UNSET stays.

    A list replaces the list that was there; the fields named ``add_…`` append to it, and ``remove_labels``
    takes out. An empty assignee, url or description clears the field; points None means not estimated.
    """

    title: Text = UNSET
    epic: Text = UNSET
    priority: Text = UNSET
    status: Text = UNSET
    type: Text = UNSET
    user_story: Text = UNSET
    description: Text = UNSET
    acceptance_criteria: Texts = UNSET
    definition_of_done: Texts = UNSET
    points: int | UnsetType | None = UNSET
    labels: Texts = UNSET
    assignee: Text = UNSET
    technical_details: Text = UNSET
    url: Text = UNSET
    add_acceptance_criteria: tuple[str, ...] = ()
    add_definition_of_done: tuple[str, ...] = ()
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()


class StoryQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which stories; empty fields do not filter, all others must hold.

    Letter case does not matter. `status` may also be ``open``: all but Done. `text`: every word must occur
    somewhere in the story. `limit` is 1 to 500. The order is by priority, then by number.
    """

    priority: str = ""
    status: str = ""
    epic: str = ""
    type: str = ""
    assignee: str = ""
    label: str = ""
    text: str = ""
    limit: int = 50
    offset: int = 0
