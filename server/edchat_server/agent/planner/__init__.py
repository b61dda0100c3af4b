"""The offline planner's rules, pure: from a message and its conversation to a plan, and to an answer."""

from .answer import Outcome, write_answer
from .plan import Asked, Call, Conversation, Plan, StoryRef
from .understand import understand

__all__ = ["Asked", "Call", "Conversation", "Outcome", "Plan", "StoryRef", "understand", "write_answer"]
