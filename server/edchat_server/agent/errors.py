"""Turns a tool's failure into words in the conversation, and says when a tool starts."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from edchat_server.backlog import BacklogError

from .scope import RunStopped
from .tools import TITLES

logger = logging.getLogger("edchat.agent")

Result = ToolMessage | Command[Any]


class ToolGuard(AgentMiddleware[Any, Any, Any]):
    """Announces each tool call on the custom stream, and gives its failure back as an error message.

    The announcement is ``{"kind": "tool", "tool_call_id", "tool", "title", "status": "running",
    "progress": None | {"percent", "step", "seconds_left"}}``. What ends the run (`RunStopped`, interrupts,
    cancellation) passes.
    """

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]
    ) -> Result:
        """Run one tool call."""
        call = request.tool_call
        name = call["name"]
        request.runtime.stream_writer(
            {
                "kind": "tool",
                "tool_call_id": call["id"],
                "tool": name,
                "title": TITLES.get(name, name.replace("_", " ").capitalize()),
                "status": "running",
                "progress": None,
            }
        )
        try:
            return await handler(request)
        except (RunStopped, GraphBubbleUp):
            raise
        except BacklogError as exc:
            return _failure(call, str(exc), {"code": exc.code, "field": exc.field})
        except ToolException as exc:
            return _failure(call, str(exc), {"code": "tool_error"})
        except Exception:
            # Whatever a tool can throw, the user must read that it failed, and the model must be able to
            # say so; the cause goes to the log, not to the conversation, since it may hold anything.
            logger.exception("tool %s failed (call %s)", name, call["id"])
            return _failure(
                call, f"{name} failed unexpectedly; nothing was changed by it", {"code": "internal"}
            )


def _failure(call: Any, text: str, detail: dict[str, Any]) -> ToolMessage:
    return ToolMessage(
        content=text,
        name=call["name"],
        tool_call_id=call["id"],
        status="error",
        artifact={"type": "error", "data": {**detail, "message": text}},
    )
