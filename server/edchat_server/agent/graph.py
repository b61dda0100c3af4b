"""The agent's graph: model, tools, model, until the model has nothing more to call."""

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer

from .errors import ModelGuard, ToolGuard
from .prompts import SYSTEM_PROMPT
from .scope import RunScope
from .tools import backlog_tools

MAX_STEPS = 60
"""Supersteps in one run: some thirty rounds of model and tools, then `GraphRecursionError`."""

AgentGraph = CompiledStateGraph[Any, Any, Any, Any]


def build_agent(model: BaseChatModel, *, checkpointer: Checkpointer) -> AgentGraph:
    """Return the graph that answers one user message.

    Run it with ``context=`` a `RunScope`, ``durability="sync"`` and ``configurable={"thread_id": session}``:
    with any other durability a crash can repeat an effect under another tool_call_id.
    """
    agent = create_agent(
        model,
        backlog_tools(),
        system_prompt=SYSTEM_PROMPT,
        middleware=[ModelGuard(), ToolGuard()],
        context_schema=RunScope,
        checkpointer=checkpointer,
    )
    return agent.with_config({"recursion_limit": MAX_STEPS})
