"""What the planner is given and what it decides: values only."""

from dataclasses import dataclass, field
from typing import Any, Literal

PlanKind = Literal["create", "update", "get", "list", "count", "points", "epics", "ask", "talk", "unknown"]


@dataclass(frozen=True)
class StoryRef:
    """A story as the conversation last showed it. Fields are empty where only the id is known."""

    id: str
    title: str = ""
    epic: str = ""
    priority: str = ""
    status: str = ""


@dataclass(frozen=True)
class Asked:
    """What the planner asked in its last answer, and what it will do with the reply.

    `what` is ``title`` (of a story to create), ``which`` (story to change) or ``confirm`` (many changes);
    `args` are the fields known, or the calls that wait.
    """

    what: Literal["title", "which", "confirm"]
    args: dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """The conversation so far, as far as it matters for what comes next.

    `shown`: the stories of the last answer that showed any, in its order. `listed`: the last answer that
    showed at least two. `known`: every story seen, the latest state of each. `asked`: only if the very last
    answer asked something.
    """

    shown: tuple[StoryRef, ...] = ()
    listed: tuple[StoryRef, ...] = ()
    known: tuple[StoryRef, ...] = ()
    asked: Asked | None = None

    @property
    def epics(self) -> tuple[str, ...]:
        """The names of the epics seen."""
        return tuple(dict.fromkeys(ref.epic for ref in self.known if ref.epic))


@dataclass(frozen=True)
class Call:
    """One tool call."""

    tool: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to do about one message: tool calls, or something to say.

    `say` is the answer where there are no calls, and a remark before the answer where there are some. `guess`: the
    words of a question that fit nothing else and were searched for in the stories.
    """

    kind: PlanKind
    calls: tuple[Call, ...] = ()
    say: str = ""
    asked: Asked | None = field(default=None)
    guess: str = ""
