"""One connection on its way or open, with its queue of outgoing frames."""

import asyncio
import contextlib
import logging

from edchat_widget._core.effects import Close
from edchat_widget.errors import TransportError

from .transport import Transport

_log = logging.getLogger("edchat.client.connection")
FAREWELL = 0.5


class Link:
    """A connection, from the decision to open it to its end."""

    def __init__(self) -> None:
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self.writer: asyncio.Task[None] | None = None

    async def write(self, transport: Transport) -> None:
        """Write what is queued, for as long as it lasts."""
        try:
            while True:
                await transport.send(await self.outgoing.get())
                self.outgoing.task_done()
        except TransportError as exc:
            # The reader sees the same loss and reports it.
            _log.debug("writing ended: %s", exc.reason)

    def drop(self) -> None:
        """Write nothing more."""
        if self.writer is not None:
            self.writer.cancel()

    async def close(self, effect: Close) -> None:
        """End it as the core asked."""
        if self.writer is not None and not self.writer.done() and not effect.abort:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.outgoing.join(), FAREWELL)
        self.drop()
        transport = self.transport
        if self.task is not None:
            self.task.cancel()
        if transport is None:
            return
        if effect.abort:
            transport.abort()
        await transport.close(effect.code, effect.reason)
