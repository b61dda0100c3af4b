"""What a model wrote as the arguments of its tool calls, before anybody completed it.

LangChain reads half a JSON object as best it can: `{"title": "Log` becomes a call with the title "Log", and a story of
that name. Only the text itself says that it was cut.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.tracers.context import register_configure_hook


class WrittenCalls(BaseCallbackHandler):
    """Gathers the arguments of each call, as they stream. `heard` is called for each part of the answer."""

    run_inline = True

    def __init__(self) -> None:
        self.heard: Callable[[], None] = lambda: None
        self._arguments: defaultdict[object, str] = defaultdict(str)

    def on_llm_new_token(self, token: object, *, chunk: Any = None, **_: Any) -> None:  # noqa: ARG002 - LangChain's
        """Take one part of the stream."""
        self.heard()
        message = getattr(chunk, "message", None)
        if not isinstance(message, AIMessageChunk):
            return
        for number, call in enumerate(message.tool_call_chunks):
            place = call.get("index")
            key = (message.id, number, len(self._arguments)) if place is None else place
            self._arguments[key] += call.get("args") or ""

    def whole(self) -> bool:
        """Return whether every call is one whole JSON value. A call without arguments is."""
        return all(_is_json(text) for text in self._arguments.values() if text.strip())


_gathering: ContextVar[WrittenCalls | None] = ContextVar("edchat_written_calls", default=None)
register_configure_hook(_gathering, inheritable=True)


@contextmanager
def written_calls() -> Iterator[WrittenCalls]:
    """Gather the calls that models write while the block runs."""
    calls = WrittenCalls()
    token = _gathering.set(calls)
    try:
        yield calls
    finally:
        _gathering.reset(token)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
