"""The real server with a scripted model (a fake at the outermost seam): `python -m tests.bench.scripted_server ARGS`.

The message "stream N RATE" is answered with N marker tokens at RATE tokens per second; anything else with a short
sentence. The moment at which each marker is handed over is appended to the file that BENCH_STAMPS names.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver

from edchat_server.app import BuiltAgent, create_app
from edchat_server.limits import Caps
from edchat_server.settings import Settings

SHORT = ["The", "story", "is", "in", "the", "backlog:", "Sign", "in", "with", "a", "passkey,", "P2,", "Security."]


def marker(number: int) -> str:
    return f"m{number:05d}x"


class ScriptedModel(BaseChatModel):
    stamps: str

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=" ".join(SHORT)))])

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        words = str(messages[-1].content).split()
        if words[:1] != ["stream"]:
            for word in SHORT:
                yield _chunk(word + " ")
            return
        count, rate = int(words[1]), float(words[2])
        stamps = []
        start = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
            stamps.append(time.time() * 1000)
            yield _chunk(marker(number) + " ")
        Path(self.stamps).write_text(json.dumps(stamps), encoding="utf-8")


def _chunk(text: str) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def build(_: str | None, checkpointer: BaseCheckpointSaver[str]) -> BuiltAgent:
    agent = create_agent(ScriptedModel(stamps=os.environ["BENCH_STAMPS"]), tools=[], checkpointer=checkpointer)
    return BuiltAgent(agent=agent, name="scripted", offline=True)


if __name__ == "__main__":
    much = 10**6  # one client is a crowd here
    no_limits = Caps(
        commands_per_10s=much, command_burst=much, user_commands_per_10s=much, user_command_burst=much,
        frames_per_second=much, hellos_per_second=much, hello_burst=much, connections_per_address=much)
    settings = Settings(data_dir=Path(sys.argv[2]), port=int(sys.argv[1]), caps=no_limits)
    uvicorn.run(
        create_app(settings, build=build), host="127.0.0.1", port=settings.port, ws="websockets-sansio",
        ws_per_message_deflate=False, log_level="warning", timeout_graceful_shutdown=3,
    )
