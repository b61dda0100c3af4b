"""The offline planner as a chat model: rules in place of a language model, the same tool calls and tokens."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from msgspec import json

from .planner import Asked, Call, Conversation, Outcome, Plan, StoryRef, look_wider, understand, write_answer

DEFAULT_PACE = 60.0
"""Words per second: fast to read along, slow enough to be seen streaming."""

_MEMORY = "edchat_planner"
_WORDS = re.compile(r"\s*\S+\s*")
_ID = re.compile(r"\bSTORY-[0-9]{1,9}\b")


def new_call_id() -> str:
    """Return an id that no other tool call has.

    It is random, not derived from the message: the same sentence sent twice is two wishes. A call that was
    planned and then lost in a crash had no effect under its old id, since the id is stored before the tool
    runs.
    """
    return f"call_{uuid.uuid4().hex}"


class OfflinePlanner(BaseChatModel):
    """Understands a product manager's sentences by rules; needs neither key nor network.

    `pace` is in words per second; 0 means at once. It plans from the messages alone and keeps no state.
    """

    pace: float = DEFAULT_PACE
    new_id: Callable[[], str] = new_call_id

    @property
    def _llm_type(self) -> str:
        return "edchat-offline-planner"

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: str | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model; it calls only those of its tools that are bound."""
        names = [t.name if isinstance(t, BaseTool) else str(getattr(t, "__name__", t)) for t in tools]
        return self.bind(tool_names=names, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages, **kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._reply(messages, **kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk
            if self.pace > 0:
                time.sleep(1 / self.pace)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._reply(messages, **kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk
            await asyncio.sleep(1 / self.pace if self.pace > 0 else 0)

    def _reply(
        self, messages: Sequence[BaseMessage], tool_names: Sequence[str] | None = None, **_: Any
    ) -> AIMessage:
        earlier, text, answers = _turn(messages)
        plan = understand(text, conversation_of(earlier))
        if answers:
            outcomes = outcomes_of(answers)
            wider = look_wider(plan, tuple(o.total for o in outcomes))
            if wider:
                return self._calling(wider)
            return AIMessage(write_answer(plan, outcomes), additional_kwargs=_remember_failed(outcomes))
        missing = {c.tool for c in plan.calls} - set(tool_names) if tool_names is not None else set()
        if missing:
            return AIMessage(f"I would need the tool {', '.join(sorted(missing))}; nothing was changed.")
        if not plan.calls:
            return AIMessage(plan.say, additional_kwargs=_remember(plan))
        return self._calling(plan.calls)

    def _calling(self, calls: tuple[Call, ...]) -> AIMessage:
        made = [{"name": c.tool, "args": c.args, "id": self.new_id(), "type": "tool_call"} for c in calls]
        return AIMessage("", tool_calls=made)


def conversation_of(messages: Sequence[BaseMessage]) -> Conversation:
    """Return what the finished part of a conversation has shown and asked."""
    shown: tuple[StoryRef, ...] = ()
    listed: tuple[StoryRef, ...] = ()
    known: dict[str, StoryRef] = {}
    for turn in _turns(messages):
        refs = _shown_in(turn, known)
        known.update({r.id: r for r in refs})
        if refs:
            shown = refs
            listed = refs if len(refs) > 1 else listed
    latest = tuple(known[r.id] for r in listed)
    return Conversation(shown, latest, tuple(known.values()), _asked(messages))


def outcomes_of(messages: Sequence[BaseMessage]) -> tuple[Outcome, ...]:
    """Return what the tools gave, in the order in which they were called."""
    answers = {m.tool_call_id: m for m in messages if isinstance(m, ToolMessage)}
    found = []
    for message in messages:
        for call in message.tool_calls if isinstance(message, AIMessage) else ():
            answer = answers.get(call["id"] or "")
            if answer is not None:
                artifact = answer.artifact if isinstance(answer.artifact, dict) else None
                ok = answer.status != "error"
                found.append(Outcome(call["name"], call["args"], ok, str(answer.text), artifact))
    return tuple(found)


def _turn(messages: Sequence[BaseMessage]) -> tuple[Sequence[BaseMessage], str, Sequence[BaseMessage]]:
    """Split into what was before the last user message, its text, and what came since."""
    for n in range(len(messages) - 1, -1, -1):
        if isinstance(messages[n], HumanMessage):
            return messages[:n], str(messages[n].text), messages[n + 1 :]
    return messages, "", ()


def _turns(messages: Sequence[BaseMessage]) -> Iterator[list[BaseMessage]]:
    turn: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, HumanMessage) and turn:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _shown_in(turn: Sequence[BaseMessage], known: dict[str, StoryRef]) -> tuple[StoryRef, ...]:
    refs: dict[str, StoryRef] = {}
    for outcome in outcomes_of(turn):
        payload = outcome.artifact["data"] if outcome.ok and outcome.artifact else {}
        for story in payload.get("stories", [payload] if "id" in payload else []):
            refs[story["id"]] = _ref(story)
    if not refs:
        # A conversation that was handed over as plain text has no artifacts, only ids in the answers.
        texts = (str(m.text) for m in turn if isinstance(m, AIMessage) and _MEMORY not in m.additional_kwargs)
        refs = {i: known.get(i, StoryRef(i)) for t in texts for i in _ID.findall(t)}
    return tuple(refs.values())


def _ref(story: dict[str, Any]) -> StoryRef:
    return StoryRef(*(str(story.get(key, "")) for key in ("id", "title", "epic", "priority", "status")))


def _remember(plan: Plan) -> dict[str, Any]:
    # As text, so that merging stream chunks cannot rearrange it. Its presence also says that the ids in the
    # answer are examples or questions, and were not shown as results.
    return {_MEMORY: json.encode(plan.asked).decode()}


def _remember_failed(outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    """Remember a change whose story was named by words that fit none or several, for the id in the next message."""
    failed = [o for o in outcomes if not o.ok and o.tool == "update_story" and not _ID.fullmatch(str(o.args.get("id")))]
    if len(outcomes) != 1 or not failed:
        return {}
    args = {k: v for k, v in failed[0].args.items() if k != "id"}
    return {_MEMORY: json.encode(Asked("which", args)).decode()}


def _asked(messages: Sequence[BaseMessage]) -> Asked | None:
    last = messages[-1] if messages else None
    memory = last.additional_kwargs.get(_MEMORY) if isinstance(last, AIMessage) else None
    return json.decode(memory, type=Asked | None) if isinstance(memory, str) else None


def _chunks(message: AIMessage) -> list[ChatGenerationChunk]:
    """Return the message in the pieces in which a language model would stream it."""
    chunks = [AIMessageChunk(content=word) for word in _WORDS.findall(str(message.content))]
    for index, call in enumerate(message.tool_calls):
        head = tool_call_chunk(name=call["name"], args="", id=call["id"], index=index)
        body = tool_call_chunk(name=None, args=json.encode(call["args"]).decode(), id=None, index=index)
        chunks += [
            AIMessageChunk(content="", tool_call_chunks=[head]),
            AIMessageChunk(content="", tool_call_chunks=[body]),
        ]
    chunks.append(
        AIMessageChunk(content="", additional_kwargs=message.additional_kwargs, chunk_position="last")
    )
    return [ChatGenerationChunk(message=chunk) for chunk in chunks]
