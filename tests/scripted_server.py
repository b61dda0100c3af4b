"""A server process with a scripted model: ``python scripted_server.py`` takes the server's own options.

The model follows the text of the last user message, with other words at each call, so that a repeated call
shows:

``make A | B``   calls create_story once for each title, then reports in many tokens
``push KIND TITLE`` calls push_KIND, and create_story beside it, where EXTERNAL_API names the API to push to
``slow N``       streams N tokens, one every 20 ms
``big N``        streams one answer of N characters
``history``      answers with all user texts that it was given
``fail TEXT``    raises TEXT
"""

import argparse
import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver
from tests import external_api

from edchat_server.__main__ import add_options, serve
from edchat_server.agent.graph import build_agent
from edchat_server.app import BuiltAgent
from edchat_server.serving import Ready, serve_until_told
from edchat_server.settings import Settings


class ScriptedModel(BaseChatModel):
    """Follows the script in the user's message."""

    pause: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> "ScriptedModel":
        return self

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for part in self._parts(messages):
            await asyncio.sleep(self.pause)
            yield ChatGenerationChunk(message=part)

    def _parts(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        script = next(str(m.content) for m in reversed(messages) if isinstance(m, HumanMessage))
        verb, _, rest = script.partition(" ")
        flavour = uuid.uuid4().hex[:6]
        if verb == "fail":
            raise RuntimeError(rest)
        if verb == "make" and isinstance(messages[-1], HumanMessage):
            titles = [title.strip() for title in rest.split("|")]
            calls = [
                {
                    "name": "create_story", "args": json.dumps({"title": title}),
                    "id": f"call_{flavour}_{n}", "index": n,
                }
                for n, title in enumerate(titles)
            ]
            return [
                AIMessageChunk(content=f"Let me see ({flavour})."),
                AIMessageChunk(content="", tool_call_chunks=calls),
            ]
        if verb == "push" and isinstance(messages[-1], HumanMessage):
            kind, _, title = rest.partition(" ")
            names = (f"push_{kind}", "create_story")
            return [AIMessageChunk(content="", tool_call_chunks=[
                {"name": name, "args": json.dumps({"title": title}), "id": f"call_{flavour}_{n}", "index": n}
                for n, name in enumerate(names)
            ])]
        if verb in ("make", "push"):
            return [AIMessageChunk(content=f"word{n}-{flavour} ") for n in range(10)]
        if verb == "slow":
            return [AIMessageChunk(content=f"t{n} ") for n in range(int(rest))]
        if verb == "big":
            return [AIMessageChunk(content="x" * int(rest))]
        if verb == "history":
            texts = [str(m.content) for m in messages if isinstance(m, HumanMessage)]
            return [AIMessageChunk(content=json.dumps(texts))]
        return [AIMessageChunk(content=f"You said: {script}")]


def main() -> int:
    parser = argparse.ArgumentParser()
    add_options(parser)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--open", action="store_true", help="no token, as when a person starts the server")
    given = parser.parse_args()

    def build(name: str | None, checkpointer: BaseCheckpointSaver[str]) -> BuiltAgent:
        if name == "missing":
            return BuiltAgent(agent=None, name="nobody", reason="there is no model")
        model = ScriptedModel(pause=given.pause)
        api = os.environ.get("EXTERNAL_API")
        agent = build_agent(model, checkpointer=checkpointer, more_tools=external_api.tools(api) if api else ())
        return BuiltAgent(agent=agent, name="scripted", offline=True)

    if not given.open:
        return serve(given, build=build)
    settings = Settings.from_env(port=given.port, data_dir=given.data_dir, model=given.model)
    asyncio.run(serve_until_told(settings, ready=Ready(fd=given.ready_fd), build=build))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
