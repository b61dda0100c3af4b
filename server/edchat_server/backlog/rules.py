"""The rules of each field: a wished value in, the stored value out, or an error that names the field."""

import re
import unicodedata
from collections.abc import Iterable

from edchat_protocol.artifacts import POINTS, PRIORITIES, STATUSES, STORY_TYPES, Priority, Status, StoryType

from .errors import InvalidField, shorten
from .model import DEFAULT_EPIC

TITLE_MIN, TITLE_MAX = 3, 200
EPIC_MAX = 100
TEXT_MAX = 20_000
ITEM_MAX, ITEMS_MAX = 1_000, 50
LABEL_MAX, LABELS_MAX = 50, 20

_SPACE = re.compile(r"\s+")
_STORY_ID = re.compile(r"(?:story[\s_-]{0,3}|#)?([0-9]{1,9})", re.IGNORECASE)


def key_of(text: str) -> str:
    """Return what two spellings of one name have in common."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def clean_line(text: str) -> str:
    """Return the text as one line: NFC, no control characters, single spaces."""
    return _SPACE.sub(" ", clean_block(text)).strip()


def clean_block(text: str) -> str:
    """Return the text in NFC without control characters and lone surrogates; line breaks stay."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"}).strip()


def title_of(text: str) -> str:
    """Return a title of 3 to 200 characters."""
    title = clean_line(text)
    if not TITLE_MIN <= len(title) <= TITLE_MAX:
        problem = f"“{shorten(title)}” has {len(title)}" if title else "this one is empty"
        raise InvalidField("title", f"A title needs {TITLE_MIN} to {TITLE_MAX} characters; {problem}.")
    return title


def epic_of(text: str) -> str:
    """Return an epic's name of up to 100 characters; empty gives the default epic."""
    epic = clean_line(text) or DEFAULT_EPIC
    if len(epic) > EPIC_MAX:
        raise InvalidField("epic", f"The name of an epic has at most {EPIC_MAX} characters; this one has {len(epic)}.")
    return epic


def priority_of(text: str) -> Priority:
    """Return the priority in its own spelling."""
    for priority in PRIORITIES:
        if key_of(text) == priority.casefold():
            return priority
    raise _not_one_of("priority", text, PRIORITIES)


def status_of(text: str) -> Status:
    """Return the status in its own spelling; ``in_progress`` and ``in-progress`` count too."""
    wanted = key_of(text.replace("_", " ").replace("-", " ")).replace(" ", "")
    for status in STATUSES:
        if wanted == status.casefold().replace(" ", ""):
            return status
    raise _not_one_of("status", text, STATUSES)


def type_of(text: str) -> StoryType:
    """Return the story type in its own spelling."""
    for story_type in STORY_TYPES:
        if key_of(text) == story_type:
            return story_type
    raise _not_one_of("type", text, STORY_TYPES)


def points_of(points: int | None) -> int | None:
    """Return the estimate, which is on the scale or None."""
    if points is None or (points in POINTS and not isinstance(points, bool)):
        return points
    raise InvalidField("points", f"Points are one of {', '.join(map(str, POINTS))}; {points} is not.")


def block_of(field: str, text: str) -> str:
    """Return a text of several lines, up to 20,000 characters."""
    block = clean_block(text)
    if len(block) > TEXT_MAX:
        raise InvalidField(field, f"The {_plain(field)} has at most {TEXT_MAX} characters; this one has {len(block)}.")
    return block


def items_of(
    field: str, items: Iterable[str], *, longest: int = ITEM_MAX, most: int = ITEMS_MAX
) -> tuple[str, ...]:
    """Return the list without empty and repeated items."""
    found = {key_of(line): line for line in reversed([clean_line(i) for i in items]) if line}
    lines = tuple(reversed(found.values()))
    if len(lines) > most:
        raise InvalidField(field, f"A story has at most {most} items in {_plain(field)}; these are {len(lines)}.")
    for line in lines:
        if len(line) > longest:
            raise InvalidField(
                field, f"Each item in {_plain(field)} has at most {longest} characters; one has {len(line)}."
            )
    return lines


def labels_of(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels, without their leading #."""
    return items_of("labels", (label.lstrip("# ") for label in labels), longest=LABEL_MAX, most=LABELS_MAX)


def assignee_of(text: str) -> str | None:
    """Return who does it, without a leading @; None for nobody."""
    name = clean_line(text).lstrip("@")
    if len(name) > EPIC_MAX:
        raise InvalidField("assignee", f"An assignee has at most {EPIC_MAX} characters; this one has {len(name)}.")
    return name or None


def url_of(text: str) -> str | None:
    """Return a web address; None for none."""
    url = clean_line(text)
    if not url:
        return None
    if len(url) > ITEM_MAX or not url.lower().startswith(("https://", "http://")):
        raise InvalidField("url", f"A link starts with http:// or https://; “{shorten(url)}” does not.")
    return url


def number_of(reference: str) -> int | None:
    """Return the number in ``STORY-12``, ``story 12``, ``#12`` or ``12``; None if it is no such thing."""
    found = _STORY_ID.fullmatch(reference.strip())
    return int(found[1]) if found else None


def _not_one_of(field: str, given: str, allowed: tuple[str, ...]) -> InvalidField:
    return InvalidField(field, f"There is no {field} “{shorten(given)}”; use one of {', '.join(allowed)}.")


def _plain(field: str) -> str:
    return field.replace("_", " ")
