"""Stories as a notebook shows them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from edchat_protocol.artifacts import Artifact
from edchat_protocol.artifacts import Story as StoryFields

from . import static_render
from .errors import EdChatError, RemoteProtocolError

if TYPE_CHECKING:
    import pandas as pd

    from ._io.transport import Endpoint

__all__ = ["Story", "StoryList"]


class Story(StoryFields, frozen=True, kw_only=True, rename="camel"):
    """One story of the backlog, shown as a card.

    `id` is like ``STORY-12``; `priority` P0 to P3; `points` one of 1, 2, 3, 5, 8, 13 or None. Times are
    ISO 8601 in UTC.
    """

    def _repr_html_(self) -> str:
        return static_render.story_html(msgspec.to_builtins(self))

    def __str__(self) -> str:
        return f"{self.id} · {self.priority} · {self.title} · {self.epic}"


class StoryList(list[Story]):
    """Stories, shown as a table. `total`: how many fit, where more fit than were asked for."""

    def __init__(self, stories: Iterable[Story] = (), *, total: int | None = None) -> None:
        super().__init__(stories)
        self.total = len(self) if total is None else total

    @property
    def df(self) -> "pd.DataFrame":
        """The stories as a pandas DataFrame, a row each.

        Raises:
            EdChatError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise EdChatError(
                "StoryList.df needs pandas.", code="no_pandas",
                hint='Install it: pip install "edchat-widget[pandas]".',
            ) from None
        columns = [f.name for f in msgspec.structs.fields(Story)]
        return pd.DataFrame([msgspec.structs.asdict(s) for s in self], columns=columns)

    def _repr_html_(self) -> str:
        return static_render.stories_html([msgspec.to_builtins(s) for s in self], total=self.total)

    def __str__(self) -> str:
        return "\n".join(str(s) for s in self) if self else "No stories."


def story_from(artifact: Artifact) -> Story | None:
    """Return the story in an artifact, or None."""
    if artifact.type != "story":
        return None
    return story_from_fields(artifact.data)


def story_from_fields(fields: dict[str, Any]) -> Story | None:
    """Return the story with these JSON fields, or None where it is none."""
    try:
        return msgspec.convert(fields, Story, strict=False)
    except msgspec.ValidationError:
        return None


class _StoriesBody(msgspec.Struct):
    stories: list[dict[str, Any]]
    total: int | None = None


async def fetch_stories(endpoint: "Endpoint", params: dict[str, str]) -> StoryList:
    """Return the server's stories that fit the filters.

    Raises:
        TransportError, RemoteProtocolError
    """
    from ._io.http import get_json

    try:
        found = msgspec.json.decode(await get_json(endpoint, "/api/stories", params), type=_StoriesBody)
    except msgspec.DecodeError as exc:
        raise RemoteProtocolError("The server's list of stories cannot be read.") from exc
    stories = [story_from_fields(s) for s in found.stories]
    return StoryList((s for s in stories if s is not None), total=found.total)
