"""The view as others see it: numbered patches, at most 60 a second, and events."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from edchat_widget._core.merge import merged
from edchat_widget.events import ChatEvent
from edchat_widget.view import AnyOp, Patch, SnapshotMessage, View

_log = logging.getLogger("edchat.client.view")
PATCH_INTERVAL = 1 / 60

OnPatch = Callable[[Patch | SnapshotMessage], None]
OnEvent = Callable[[ChatEvent], None]


class Publisher:
    """Gathers operations and gives them out. `make_view(rev)` returns the view as it is now.

    `view` may be read in any thread: it is replaced whole and never changed.
    """

    def __init__(self, make_view: Callable[[int], View]) -> None:
        self._loop = asyncio.get_running_loop()
        self._make_view = make_view
        self._rev = 0
        self._ops: list[AnyOp] = []
        self._due: asyncio.Handle | None = None
        self._last = 0.0
        self._on_patch: list[OnPatch] = []
        self._on_event: list[OnEvent] = []
        self._changed = asyncio.Event()
        self.view: View = make_view(0)

    def subscribe(self, on_patch: OnPatch) -> Callable[[], None]:
        """Call `on_patch` with every patch; return what ends it."""
        self._on_patch.append(on_patch)
        return lambda: self._on_patch.remove(on_patch) if on_patch in self._on_patch else None

    def listen(self, on_event: OnEvent) -> Callable[[], None]:
        """Call `on_event` with every event; return what ends it."""
        self._on_event.append(on_event)
        return lambda: self._on_event.remove(on_event) if on_event in self._on_event else None

    def add(self, ops: Iterable[AnyOp]) -> None:
        """Take in changes: given out at once when idle; what gathers meanwhile goes together."""
        self._ops += ops
        if self._due is not None:
            return
        wait = self._last + PATCH_INTERVAL - self._loop.time()
        if wait <= 0:
            self._due = self._loop.call_soon(self.flush)
        else:
            self._due = self._loop.call_later(wait, self.flush)

    def flush(self) -> None:
        """Give out what has gathered."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if not self._ops:
            return
        ops, self._ops = merged(self._ops), []
        self._last = self._loop.time()
        self._rev += 1
        self.view = self._make_view(self._rev)
        self._tell(Patch(rev=self._rev, ops=tuple(ops)))

    def replace(self) -> None:
        """Give out the whole view, for nothing of the last one is left."""
        self._ops.clear()
        self._rev += 1
        self.view = self._make_view(self._rev)
        self._tell(SnapshotMessage(view=self.view))

    def emit(self, event: ChatEvent) -> None:
        """Tell who listens."""
        for on_event in tuple(self._on_event):
            try:
                on_event(event)
            except Exception:  # noqa: BLE001 - a callback is foreign code; it must not end the conversation
                _log.exception("a callback failed (%s)", event.type)

    async def change(self) -> None:
        """Wait until the view is another one, or `wake`."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let everybody who waits for a change look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _tell(self, message: Patch | SnapshotMessage) -> None:
        for on_patch in tuple(self._on_patch):
            try:
                on_patch(message)
            except Exception:  # noqa: BLE001 - a front-end that fails must not end the conversation
                _log.exception("a panel could not be updated")
        self.wake()
