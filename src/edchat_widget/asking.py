"""A question and what comes of it. The coroutines belong to the I/O thread."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

from ._io.conversation import Talk
from .errors import EdChatError, ServerStartError, Timeout, TransportError, sentences
from .events import ChatEvent
from .reply import Reply, check_reachable, is_over, reply_in
from .stories import story_from
from .view import View

EventName = Literal["message", "token", "tool", "story", "connection"]


async def outcome(driver: Talk, message_id: str, *, timeout: float | None = None) -> Reply:
    """Wait for the answer to a message.

    A message that was submitted as `asked` and never written to a socket is taken back where this raises:
    whoever is told of a failure tries again, and must not have asked twice then.

    Raises:
        EdChatError: there will be none, or nobody tries to get it now. The text says what became of the message.
    """
    def over(view: View) -> bool:
        if is_over(view, message_id):
            return True
        check_reachable(view, driver.last_error)
        return False

    error: EdChatError
    try:
        async with asyncio.timeout(timeout):
            view = await driver.until(over)
    except TimeoutError:
        error = Timeout(f"No answer within {timeout:g} s.")
    except (TransportError, ServerStartError) as exc:
        error = exc
    else:
        driver.answered(message_id)
        return reply_in(view, message_id)
    told = copy.copy(error)  # several may wait, and each gets what became of its own message
    told.args = (sentences(error.reason, _fate(driver, message_id, error)),)
    raise told


def _fate(driver: Talk, message_id: str, error: EdChatError) -> str:
    if driver.take_back(message_id, f"Not sent. {error.reason}"):
        return "The message was not sent."
    live = driver.view.connection.state in ("connected", "fallback")
    match driver.delivery(message_id):
        case "queued":
            return "The message is kept and goes out when the server is back; chat.stop() takes it back."
        case "written" if not live:
            return ("The message was sent, but the server did not confirm it: it is kept and goes out again when "
                    "the server is back, and is answered once; chat.stop() stops it.")
        case _ if live:
            return "The run goes on."
        case _:
            return "The server has the message; its answer shows when the connection is back."


async def follow(
    driver: Talk, message_id: str, text: str, put: Callable[[ChatEvent | EdChatError | None], object]
) -> None:
    """Send a message and `put` what happens until it is answered: events, perhaps an error, then None.

    Raises:
        OutboxFull, StorageError: it was not taken.
    """
    def tell(event: ChatEvent) -> None:
        own = event.message is not None and event.message.id == message_id
        if own or (event.run_id is not None and event.run_id == driver.run_of(message_id)):
            put(event)

    stop = driver.listen(tell)

    async def finish() -> None:
        try:
            await outcome(driver, message_id)
        except EdChatError as exc:
            put(exc)
        finally:
            stop()
            put(None)

    try:
        driver.submit(message_id, text, asked=True)
    except EdChatError:
        stop()
        raise
    driver.spawn(finish())


def listener(event: EventName, callback: Callable[[Any], object]) -> Callable[[ChatEvent], None]:
    """Return what calls `callback` with the values of the events of one name.

    Raises:
        ValueError: there is no such event.
    """
    names = get_args(EventName)
    if event not in names:
        raise ValueError(f"There is no event {event!r}; there are {', '.join(names)}.")

    def tell(happened: ChatEvent) -> None:
        if happened.type == event and (value := _value_of(happened)) is not None:
            callback(value)

    return tell


def _value_of(event: ChatEvent) -> object:
    match event.type:
        case "message":
            return event.message
        case "token":
            return event.text
        case "tool":
            return event.tool
        case "story":
            return story_from(event.artifact) if event.artifact else None
        case "connection":
            return event.connection
        case _:
            return None
