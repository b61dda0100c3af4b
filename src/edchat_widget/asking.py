"""A question and what comes of it. The coroutines belong to the I/O thread."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from ._io.driver import Driver
from .errors import EdChatError
from .events import ChatEvent
from .reply import Reply, check_reachable, is_over, reply_in
from .stories import story_from
from .view import View

EventName = Literal["message", "token", "tool", "story", "connection"]


async def outcome(driver: Driver, message_id: str) -> Reply:
    """Wait for the answer to a message.

    Raises:
        EdChatError: there will be none, or nobody tries to get it now.
    """
    def over(view: View) -> bool:
        if is_over(view, message_id):
            return True
        check_reachable(view, driver.last_error)
        return False

    return reply_in(await driver.until(over), message_id)


async def follow(
    driver: Driver, message_id: str, text: str, put: Callable[[ChatEvent | EdChatError | None], object]
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
        driver.submit(message_id, text)
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
