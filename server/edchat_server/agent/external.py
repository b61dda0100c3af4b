"""Effects outside our database: made once where the other side lets us know, and never repeated blindly.

A tool says which of three kinds its API is, by the value that it gives to `RunScope.external`:

- `Keyed`: the API takes an idempotency key. Asked again with the same key it does nothing new.
- `Marked`: what it makes can carry a mark of ours and be searched for it. Before a second call there is a search.
- `Blind`: neither. When the outcome of the one call is not known, the run ends as `uncertain`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

Result = dict[str, Any]

_log = logging.getLogger("edchat.agent.external")


class NotDone(Exception):
    """The API refused, and certainly did nothing: raised by `perform`. The text is for the conversation.

    Raise it for an answer like 400 or 404, and for a connection that could not be opened. Everything else that
    `perform` raises means that nobody knows. It speaks of this one call: where an earlier one with the same key may
    have arrived, it settles nothing.
    """


class Unknown(Exception):
    """Whether the effect happened is not known, and cannot be found out."""


class EffectUncertain(Exception):
    """A tool call's effect may or may not exist. The run ends; the text says what a person can do."""


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """A call of an API that takes an idempotency key, which `perform` is given.

    `unknown`: a sentence for people, like "Whether the invoice was sent is not known." `timeout` in seconds.
    """

    perform: Callable[[str], Awaitable[Result]]
    unknown: str
    timeout: float = 30.0
    pauses: tuple[float, ...] = (0.5, 2.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A call of an API in which `find` finds, by the mark, what `perform` made with it.

    `lag`: seconds after which a search is sure to find what was made before. Too short, and it is made twice.
    """

    perform: Callable[[str], Awaitable[Result]]
    find: Callable[[str], Awaitable[Result | None]]
    unknown: str
    lag: float = 60.0
    timeout: float = 30.0
    calls: int = 3


@dataclass(frozen=True, kw_only=True)
class Blind:
    """A call of an API that has no key and no search: it is made at most once."""

    perform: Callable[[], Awaitable[Result]]
    unknown: str
    timeout: float = 30.0


External = Keyed | Marked | Blind


async def carry_out(call: External, key: str, *, again: bool) -> Result:
    """Have the effect once and return its result. `again`: it may have been begun before.

    Raises:
        NotDone: it certainly did not happen.
        Unknown: nobody knows.
    """
    match call:
        case Keyed():
            return await _keyed(call, key, again=again)
        case Marked():
            return await _marked(call, key, again=again)
        case Blind():
            if again:
                raise Unknown
            return await _once(call.perform, call.timeout)


async def _keyed(call: Keyed, key: str, *, again: bool) -> Result:
    for pause in (0.0, *call.pauses):
        await asyncio.sleep(pause)
        try:
            return await _once(partial(call.perform, key), call.timeout)
        except NotDone:
            # That this call did nothing says nothing about one before it, whose answer was lost.
            if not again:
                raise
        except Unknown:
            again = True
    raise Unknown


async def _marked(call: Marked, key: str, *, again: bool) -> Result:
    for _ in range(call.calls):
        if again:
            found = await _search(call, key)
            if found is not None:
                return found
        try:
            return await _once(partial(call.perform, key), call.timeout)
        except Unknown:
            again = True
    found = await _search(call, key)
    if found is None:
        raise Unknown
    return found


async def _search(call: Marked, key: str) -> Result | None:
    """Search until what was made before now would be found. Raises `Unknown` if the search itself fails."""
    loop = asyncio.get_running_loop()
    sure = loop.time() + call.lag
    while True:
        late = loop.time() >= sure
        try:
            async with asyncio.timeout(call.timeout):
                found = await call.find(key)
            msgspec.json.encode(found)
        except Exception as exc:
            # Whatever a foreign API throws: an answer that did not come says nothing about the effect.
            _log.warning("a search for what a tool may have made failed: %s", type(exc).__name__)
            if late:
                raise Unknown from exc
        else:
            if found is not None or late:
                return found
        await asyncio.sleep(max(0.0, min(call.lag / 10, 5.0, sure - loop.time())))


async def _once(perform: Callable[[], Awaitable[Result]], timeout: float) -> Result:
    try:
        async with asyncio.timeout(timeout):
            result = await perform()
        msgspec.json.encode(result)  # what cannot be recorded is as good as lost
    except NotDone:
        raise
    except Exception as exc:
        # Whatever a foreign API throws, it may have acted before.
        _log.warning("the outcome of a tool's call is not known: %s", type(exc).__name__)
        raise Unknown from exc
    return result
