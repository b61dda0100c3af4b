"""What can be wrong with a wish about the backlog, in words for people."""

from collections.abc import Iterable
from typing import Literal

from edchat_protocol.artifacts import Story

BacklogErrorCode = Literal["invalid", "not_found", "ambiguous", "conflict"]


class BacklogError(ValueError):
    """A wish that cannot be met; nothing was changed. `str()` is a sentence for people."""

    code: BacklogErrorCode = "invalid"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidField(BacklogError):
    """A value outside the rules of its field; the sentence says what is allowed."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence, field=field)


class StoryNotFound(BacklogError):
    """No story has this id or title."""

    code = "not_found"

    def __init__(self, wanted: str) -> None:
        super().__init__(
            f"There is no story “{shorten(wanted)}”; list the stories to see which there are.", field="id"
        )


class AmbiguousStory(BacklogError):
    """Several stories fit a title; `candidates` holds them."""

    code = "ambiguous"

    def __init__(self, wanted: str, candidates: Iterable[Story]) -> None:
        self.candidates = tuple(candidates)
        names = ", ".join(f"{s.id} ({shorten(s.title, 40)})" for s in self.candidates[:5])
        super().__init__(
            f"{len(self.candidates)} stories fit “{shorten(wanted)}”: {names}. Use one of these ids.",
            field="id",
        )


class VersionConflict(BacklogError):
    """The story changed after the version that the change was made for.

    `current` is the story as it is now, `seen` as it was at the expected version (None: no such version).
    """

    code = "conflict"

    def __init__(self, current: Story, seen: Story | None, expected: int, differences: Iterable[str]) -> None:
        self.current = current
        self.seen = seen
        what = "; ".join(differences) or "no field that is shown"
        super().__init__(
            f"{current.id} is at version {current.version}, the change was made for version "
            f"{expected}. Changed since: {what}. Look at the story again, then repeat the change.",
            field="version",
        )


def shorten(text: str, limit: int = 60) -> str:
    """Return the text, cut to `limit` characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
