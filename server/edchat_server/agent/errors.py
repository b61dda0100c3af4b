"""Turns failures of tools and models into words in the conversation, and says when a tool starts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, ExtendedModelResponse, ModelRequest, ModelResponse
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from edchat_server.backlog import BacklogError

from .external import EffectUncertain, NotDone
from .models import ModelError
from .scope import RunScope, RunStopped
from .text import whole_json
from .tool_calls import WrittenCalls, written_calls
from .tools import TITLES

logger = logging.getLogger("edchat.agent")

Result = ToolMessage | Command[Any]

_REASONS = ("finish_reason", "stop_reason", "done_reason", "status")
_SAY_WHY = frozenset({"openai", "anthropic", "ollama"})
"""Providers whose every whole answer says why it ended."""
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "content_filter", "incomplete"})


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
        except EffectUncertain as exc:
            return _failure(call, str(exc), {"code": "uncertain"})
        except (ToolException, NotDone) as exc:
            return _failure(call, str(exc), {"code": "tool_error"})
        except Exception:
            # Whatever a tool can throw, the user must read that it failed, and the model must be able to
            # say so; the cause goes to the log, not to the conversation, since it may hold anything.
            logger.exception("tool %s failed (call %s)", name, call["id"])
            acted = call["id"] in cast(RunScope, request.runtime.context).acted
            what = "after it may have changed something; look before it is done again" if acted else (
                "unexpectedly; nothing was changed by it"
            )
            return _failure(call, f"{name} failed {what}", {"code": "internal"})


class ModelGuard(AgentMiddleware[Any, Any, Any]):
    """Refuses an answer of the model that would otherwise end the run without a word.

    `silence`: seconds without a part of the answer after which the model is given up; None: its client sees to that.
    """

    def __init__(self, silence: float | None = None) -> None:
        super().__init__()
        self._silence = silence

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]:
        """Ask the model once. Raises `ModelError` for a cut answer or tool call, and for no answer at all."""
        with written_calls() as calls:
            response = await self._patiently(calls, handler(request))
        whole = calls.whole()
        response.result = [
            _usable(m, request.messages, whole=whole) if isinstance(m, AIMessage) else m for m in response.result
        ]
        return response

    async def _patiently(self, calls: WrittenCalls, answering: Awaitable[ModelResponse[Any]]) -> ModelResponse[Any]:
        silence = self._silence
        if silence is None:
            return await answering
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(silence) as patience:

                def heard() -> None:
                    if not patience.expired():
                        patience.reschedule(loop.time() + silence)

                calls.heard = heard
                return await answering
        except TimeoutError as exc:
            if not patience.expired():
                raise
            raise ModelError("The model did not answer in time.", "Ask again.", retryable=True) from exc


def _usable(answer: AIMessage, before: list[Any], *, whole: bool) -> AIMessage:
    if answer.invalid_tool_calls or (answer.tool_calls and (not whole or _cut(answer.response_metadata))):
        raise ModelError(
            "The model's call of a tool was cut off or malformed; nothing was done.", "Ask again.", retryable=True
        )
    if answer.text and not answer.tool_calls and _unfinished(answer.response_metadata):
        raise ModelError("The model's answer broke off.", "Ask again.", retryable=True)
    if not answer.tool_calls and not answer.text and not _acted(before):
        raise ModelError("The model gave no answer.", "Ask again, or in other words.", retryable=True)
    mended = whole_json(answer.content), whole_json(answer.tool_calls)
    if mended == (answer.content, answer.tool_calls):
        return answer
    return answer.model_copy(update={"content": mended[0], "tool_calls": mended[1]})


def _cut(metadata: dict[str, Any]) -> bool:
    """Whether the model was stopped inside its answer: LangChain completes half a tool call as best it can."""
    reasons = {str(metadata.get(key)).casefold() for key in _REASONS}
    return bool(reasons & _CUT) or _unfinished(metadata) or set(metadata) == {"model_provider"}


def _unfinished(metadata: dict[str, Any]) -> bool:
    """Whether the stream ended without the reason that a provider gives at its end."""
    return metadata.get("model_provider") in _SAY_WHY and not any(metadata.get(key) for key in _REASONS)


def _acted(messages: list[BaseMessage]) -> bool:
    last = next((m for m in reversed(messages) if isinstance(m, HumanMessage | ToolMessage)), None)
    return isinstance(last, ToolMessage)


def _failure(call: Any, text: str, detail: dict[str, Any]) -> ToolMessage:
    return ToolMessage(
        content=text,
        name=call["name"],
        tool_call_id=call["id"],
        status="error",
        artifact={"type": "error", "data": {**detail, "message": text}},
    )
