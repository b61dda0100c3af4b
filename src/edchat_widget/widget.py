"""The panel: what a notebook displays. It shows a view and passes on what a person asks for, no more.

No part of the conversation is in a trait: traits are saved into notebooks, and every change would send all
of it again. Patches stream as custom messages; whoever comes late asks for the snapshot.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import msgspec

from .errors import EdChatError
from .view import AnyIntent, Patch, ReadyIntent, Refusal, SnapshotMessage

_log = logging.getLogger("edchat.client.widget")
FRONT_END = Path(__file__).parent / "static" / "widget.js"
_intents: msgspec.json.Decoder[AnyIntent] = msgspec.json.Decoder(AnyIntent)


def _front_end() -> Path:
    if not FRONT_END.is_file():
        raise EdChatError(
            "The panel's front-end is not built.", code="no_front_end", hint="Build it: python3 run.py build."
        )
    return FRONT_END


class ChatWidget(anywidget.AnyWidget):
    """One panel, with any number of views.

    `post` takes what a person asked for. It is called in whatever thread the front-end's message came in
    (the main thread, a subshell, the control thread) and must return at once.
    """

    _esm = _front_end()

    def __init__(self, post: Callable[[AnyIntent], None]) -> None:
        super().__init__()
        self._post = post
        self._ready = False
        self._shown = False
        self._free_replies()
        self.on_msg(self._received)

    def deliver(self, message: Patch | SnapshotMessage | Refusal) -> None:
        """Send a message to all views. For the I/O thread alone, so that patches keep their order."""
        # Before a front-end has its snapshot, it could apply no patch; it asks for the snapshot when it is there.
        self._shown = self._shown or (self._ready and isinstance(message, SnapshotMessage))
        if self._shown or (self._ready and isinstance(message, Refusal)):
            self.send(msgspec.to_builtins(message))

    def _received(self, _widget: object, content: Any, _buffers: object) -> None:
        try:
            intent = _intents.decode(msgspec.json.encode(content))
        except (msgspec.DecodeError, TypeError) as exc:
            _log.warning("the panel sent something unreadable: %s", type(exc).__name__)
            return
        if isinstance(intent, ReadyIntent):
            self._ready = True
            self._free_replies()
        self._post(intent)

    def _free_replies(self) -> None:
        """Let messages from the panel be handled while a cell runs.

        ipykernel 7.4 sends a comm's messages to the shell that published last on it, which is a busy
        cell's; without this private hook it follows the message's own header. Other versions have no such
        attribute, or ignore it.
        """
        comm = getattr(self, "comm", None)
        if comm is not None and hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = None
