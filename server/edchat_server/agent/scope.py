"""What a run gives to its tools: who asks, and a way to the backlog that acts exactly once."""

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar, runtime_checkable

from edchat_server.backlog import Backlog

from .external import External

T = TypeVar("T")


class RunStopped(Exception):
    """This run must not act any more (another owner has it, or it was cancelled).

    An implementation of `RunScope` raises it, or a subclass of it, from `effect` and `read`; it passes
    through the tools untouched and ends the graph. Every other exception becomes a tool's error message.
    """


@runtime_checkable
class RunScope(Protocol):
    """The run that a tool call belongs to.

    `session` names the conversation, `run_id` the run. `effect` and `read` pass on what `work` raises, unchanged,
    after the transaction was rolled back.
    """

    @property
    def run_id(self) -> str:
        """The run's id."""
        ...

    @property
    def session(self) -> str:
        """The session's id."""
        ...

    @property
    def acted(self) -> Collection[str]:
        """The tool calls that have had an effect, or may have had one."""
        ...

    async def effect(self, tool_call_id: str, work: Callable[[Backlog], dict[str, Any]]) -> dict[str, Any]:
        """Do `work` in one transaction, exactly once for this run and tool call, and return its result.

        A second call with the same id returns the stored result and does nothing. `work` depends on the
        backlog alone and returns what JSON can hold.
        """
        ...

    async def external(self, tool_call_id: str, call: External) -> dict[str, Any]:
        """Have an effect outside the database, at most once for this run and tool call, and return its result.

        A second call with the same id returns the stored result, or finds out first what became of the first.

        Raises:
            NotDone: it certainly did not happen, and the model may try something else.
            EffectUncertain: nobody knows. The run ends.
        """
        ...

    async def read(self, work: Callable[[Backlog], T]) -> T:
        """Return what `work` finds; it must not write."""
        ...
