"""The agent: a graph, its tools, its models. It knows no web framework and no frames."""

from .external import Blind, EffectUncertain, External, Keyed, Marked, NotDone
from .graph import AgentGraph, build_agent
from .models import ModelBrief, ModelError, ModelFailure, describe_model, explain_model_failure, load_model
from .scope import RunScope, RunStopped

__all__ = [
    "AgentGraph",
    "Blind",
    "EffectUncertain",
    "External",
    "Keyed",
    "Marked",
    "ModelBrief",
    "ModelError",
    "ModelFailure",
    "NotDone",
    "RunScope",
    "RunStopped",
    "build_agent",
    "describe_model",
    "explain_model_failure",
    "load_model",
]
