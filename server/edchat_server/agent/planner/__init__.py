"""The offline planner's rules, pure: from a message and its conversation to a plan, and to an answer."""

from .answer import Outcome, write_answer
from .plan import Asked, Call, Conversation, Plan, StoryRef
from .query import look_wider
from .understand import understand

__all__ = ["Asked", "Call", "Conversation", "Outcome", "Plan", "StoryRef", "look_wider", "understand", "write_answer"]
