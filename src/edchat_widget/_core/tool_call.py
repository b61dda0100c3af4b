"""A tool_execution frame as the part that shows it."""

from collections.abc import Sequence

import msgspec

from edchat_protocol.frames import ToolDetails, ToolExecution
from edchat_protocol.messages import ToolCallPart, ToolState

_FINAL: tuple[ToolState, ...] = ("output-available", "output-error", "output-denied")
_STATES: dict[str, ToolState] = {
    "pending": "input-available",
    "running": "input-available",
    "completed": "output-available",
    "success": "output-available",
    "error": "output-error",
}


def finished(call: ToolCallPart) -> bool:
    """Return whether nothing more is to come of this call."""
    return call.state in _FINAL


def interrupted(call: ToolCallPart) -> ToolCallPart:
    """Return the call as it stands after its run ended without it."""
    return msgspec.structs.replace(
        call, state="output-error", error="The run ended before this was done.", progress=None)


def tool_call(frame: ToolExecution, known: Sequence[ToolCallPart]) -> ToolCallPart:
    """Return what the frame says of its call. `known`: the calls of the same run so far."""
    step = frame.step or _step_by_name(frame.data.tool, known)
    before = next((c for c in known if c.id == step), None)
    details = frame.data.details
    failed = frame.data.status == "error"
    if isinstance(details, str):
        details = ToolDetails(error=details) if failed else ToolDetails(output=details)
    elif details is None:
        details = ToolDetails()
    started = details.started_at or (before.started_at if before else None)
    if frame.data.status == "running" and started is None:
        started = frame.timestamp or ""
    return ToolCallPart(
        id=step,
        tool=frame.data.tool,
        title=details.title or (before.title if before else ""),
        state=_STATES[frame.data.status],
        input=details.input or (before.input if before else {}),
        output=details.output,
        error=(details.error or "The tool failed.") if failed else None,
        started_at=started,
        duration_ms=details.duration_ms,
        progress=None if frame.data.status in ("completed", "success", "error") else details.progress,
    )


def _step_by_name(tool: str, known: Sequence[ToolCallPart]) -> str:
    # A version 1 peer names no step. Its calls come one after the other: an unfinished call of this tool
    # is the one meant, anything else is a new call.
    unfinished = [c.id for c in known if c.tool == tool and not finished(c)]
    return unfinished[-1] if unfinished else f"{tool}-{len(known) + 1}"
