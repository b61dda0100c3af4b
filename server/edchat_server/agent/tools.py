"""The tools of the agent. Their effects go through the run's scope, so that each happens once."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from langchain.tools import BaseTool, ToolRuntime, tool
from langchain_core.tools import ToolException
from msgspec import UNSET
from pydantic import ValidationError

from edchat_protocol.artifacts import Story
from edchat_server.backlog import Backlog, StoryChange, StoryDraft, StoryQuery, differences

from .scope import RunScope

TITLES = {
    "create_story": "Create story",
    "update_story": "Update story",
    "get_story": "Look up story",
    "list_stories": "List stories",
}

Runtime = ToolRuntime[RunScope, Any]
Outcome = tuple[str, dict[str, Any]]

_PRIORITY = "P0 (critical), P1 (high), P2 (normal) or P3 (low)"
_STATUS = "Backlog, Ready, In Progress, In Review, Done or Blocked"
_TYPE = "story, bug, task or spike"
_POINTS = "estimate in story points: 1, 2, 3, 5, 8 or 13"


@tool("create_story", response_format="content_and_artifact")
async def create_story(
    *,
    title: Annotated[str, "what is to be achieved, 3 to 200 characters"],
    runtime: Runtime,
    epic: Annotated[str | None, "name of the epic; leave out for Engineering Tasks"] = None,
    priority: Annotated[str | None, _PRIORITY] = None,
    status: Annotated[str | None, _STATUS] = None,
    type: Annotated[str | None, _TYPE] = None,  # noqa: A002
    user_story: Annotated[str | None, "As a …, I want … so that …"] = None,
    description: Annotated[str | None, "problem, outcome, what is out of scope"] = None,
    acceptance_criteria: Annotated[list[str] | None, "testable sentences; leave out for defaults"] = None,
    definition_of_done: Annotated[list[str] | None, "leave out for the team's default"] = None,
    points: Annotated[int | None, _POINTS] = None,
    labels: list[str] | None = None,
    assignee: Annotated[str | None, "who does it"] = None,
    technical_details: str | None = None,
    language: Annotated[str | None, "of the defaults: en or de"] = None,
) -> Outcome:
    """Create one story in the backlog. Call it once for each story; several calls may go out together."""
    draft = StoryDraft(
        title=title,
        epic=epic or "",
        priority=priority or "",
        status=status or "",
        type=type or "",
        user_story=user_story or "",
        description=description or "",
        acceptance_criteria=tuple(acceptance_criteria or ()),
        definition_of_done=tuple(definition_of_done or ()),
        points=points,
        labels=tuple(labels or ()),
        assignee=assignee or "",
        technical_details=technical_details or "",
        language=language or "",
    )
    scope = runtime.context

    def work(backlog: Backlog) -> dict[str, Any]:
        return _json(backlog.create_story(draft, run_id=scope.run_id, actor=_actor(scope)))

    story = await _effect(runtime, work)
    return f"Created {story_line(story)}", {"type": "story", "data": story}


@tool("update_story", response_format="content_and_artifact")
async def update_story(
    *,
    id: Annotated[str, "the story's id, like STORY-12"],  # noqa: A002
    runtime: Runtime,
    title: Annotated[str | None, "3 to 200 characters"] = None,
    epic: str | None = None,
    priority: Annotated[str | None, _PRIORITY] = None,
    status: Annotated[str | None, _STATUS] = None,
    type: Annotated[str | None, _TYPE] = None,  # noqa: A002
    user_story: str | None = None,
    description: str | None = None,
    acceptance_criteria: Annotated[list[str] | None, "replaces all of them"] = None,
    definition_of_done: Annotated[list[str] | None, "replaces all of it"] = None,
    add_acceptance_criteria: Annotated[list[str] | None, "is appended"] = None,
    add_definition_of_done: Annotated[list[str] | None, "is appended"] = None,
    points: Annotated[int | None, _POINTS] = None,
    labels: Annotated[list[str] | None, "replaces all of them"] = None,
    add_labels: list[str] | None = None,
    remove_labels: list[str] | None = None,
    assignee: Annotated[str | None, "an empty text means nobody"] = None,
    technical_details: str | None = None,
    expected_version: Annotated[int | None, "refuse the change if the story is not at this version"] = None,
) -> Outcome:
    """Change one story; what is left out stays as it is."""
    change = StoryChange(
        title=_or_unset(title),
        epic=_or_unset(epic),
        priority=_or_unset(priority),
        status=_or_unset(status),
        type=_or_unset(type),
        user_story=_or_unset(user_story),
        description=_or_unset(description),
        acceptance_criteria=_or_unset(_tuple(acceptance_criteria)),
        definition_of_done=_or_unset(_tuple(definition_of_done)),
        points=_or_unset(points),
        labels=_or_unset(_tuple(labels)),
        assignee=_or_unset(assignee),
        technical_details=_or_unset(technical_details),
        add_acceptance_criteria=tuple(add_acceptance_criteria or ()),
        add_definition_of_done=tuple(add_definition_of_done or ()),
        add_labels=tuple(add_labels or ()),
        remove_labels=tuple(remove_labels or ()),
    )
    scope = runtime.context

    def work(backlog: Backlog) -> dict[str, Any]:
        before = backlog.get_story(id)
        after = backlog.update_story(
            before.id, change, run_id=scope.run_id, actor=_actor(scope), expected_version=expected_version
        )
        return {"story": _json(after), "changes": list(differences(before, after))}

    done = await _effect(runtime, work)
    story, changes = done["story"], "; ".join(done["changes"])
    text = f"Updated {story_line(story)}: {changes}" if changes else f"{story_line(story)} was so already"
    return text, {"type": "story", "data": story}


@tool("get_story", response_format="content_and_artifact")
async def get_story(
    *,
    id: Annotated[str, "the story's id, like STORY-12, or its title"],  # noqa: A002
    runtime: Runtime,
) -> Outcome:
    """Look up one story with all its fields."""
    story = _json(await runtime.context.read(lambda backlog: backlog.get_story(id)))
    text = f"{story_line(story)}\n{msgspec.json.encode(story).decode()}"
    return text, {"type": "story", "data": story}


@tool("list_stories", response_format="content_and_artifact")
async def list_stories(
    *,
    runtime: Runtime,
    priority: Annotated[str | None, _PRIORITY] = None,
    status: Annotated[str | None, _STATUS + ", or open for all but Done"] = None,
    epic: Annotated[str | None, "name of the epic"] = None,
    type: Annotated[str | None, _TYPE] = None,  # noqa: A002
    assignee: str | None = None,
    label: str | None = None,
    text: Annotated[str | None, "words that must occur in the story"] = None,
    limit: Annotated[int, "1 to 500"] = 50,
    offset: int = 0,
) -> Outcome:
    """List the stories that fit all filters, by priority; also says how many fit in all."""
    query = StoryQuery(
        priority=priority or "",
        status=status or "",
        epic=epic or "",
        type=type or "",
        assignee=assignee or "",
        label=label or "",
        text=text or "",
        limit=limit,
        offset=offset,
    )
    (stories, total), epics = await runtime.context.read(lambda b: (b.list_stories(query), b.epics()))
    listed = [_json(story) for story in stories]
    lines = [f"{total} stories fit; {len(listed)} are listed:" if listed else "No story fits."]
    lines += [f"{story_line(s)} · {s['status']}" for s in listed]
    if not listed and epics:
        lines.append("Epics that exist: " + ", ".join(name for name, _ in epics[:30]))
    data = {"stories": listed, "total": total, "query": msgspec.to_builtins(query)}
    return "\n".join(lines), {"type": "stories", "data": data}


def backlog_tools() -> list[BaseTool]:
    """Return the tools, ready for an agent."""
    return [create_story, update_story, list_stories, get_story]


def story_line(story: dict[str, Any]) -> str:
    """Return ``STORY-1 · P1 · User authentication · Security``."""
    return " · ".join(str(story[key]) for key in ("id", "priority", "title", "epic"))


def _wrong_arguments(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()[:5]]
    return "The tool was called with wrong arguments. " + "; ".join(problems)


for _tool in backlog_tools():
    _tool.handle_validation_error = _wrong_arguments  # type: ignore[assignment]


async def _effect(runtime: Runtime, work: Callable[[Backlog], dict[str, Any]]) -> dict[str, Any]:
    if runtime.tool_call_id is None:
        raise ToolException("The call has no id, so it cannot be kept from happening twice.")
    return await runtime.context.effect(runtime.tool_call_id, work)


def _actor(scope: RunScope) -> str:
    return f"ws-{scope.session}"


def _json(story: Story) -> dict[str, Any]:
    return msgspec.to_builtins(story)  # type: ignore[no-any-return]


def _tuple(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value
