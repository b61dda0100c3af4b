"""The agent's graph: model, tools, model, until the model has nothing more to call."""

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.tools import BaseTool
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


def build_agent(
    model: BaseChatModel, *, checkpointer: Checkpointer, more_tools: Sequence[BaseTool] = (),
    silence: float | None = None,
) -> AgentGraph:
    """Return the graph that answers one user message.

    `more_tools` are added to those of the backlog. One that acts outside our database does so through
    `RunScope.external`, or a crash can make it act twice.

    `silence`: after how many seconds without a word the model is given up, where its client does not do so itself.

    Run it with ``context=`` a `RunScope`, ``durability="sync"`` and ``configurable={"thread_id": session}``:
    with any other durability a crash can repeat an effect under another tool_call_id.
    """
    agent = create_agent(
        model,
        [*backlog_tools(), *more_tools],
        system_prompt=SYSTEM_PROMPT,
        middleware=[ModelGuard(silence), ToolGuard()],
        context_schema=RunScope,
        checkpointer=checkpointer,
    )
    return agent.with_config({"recursion_limit": MAX_STEPS})
