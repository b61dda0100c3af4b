"""The chat that turns a product manager's sentence into a story, inside the notebook.

>>> from edchat_widget import Chat
>>> chat = Chat()
>>> chat.ask("Create a P1 story for user authentication").stories[0]
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundled import BundledServer, launch
    from .chat import Chat
    from .diagnosis import Report, doctor
    from .errors import (
        AgentError,
        ConnectError,
        ConnectionLost,
        EdChatError,
        LocalProtocolError,
        MessageError,
        OutboxFull,
        PortalClosed,
        ProtocolError,
        Refused,
        RemoteProtocolError,
        ServerStartError,
        SettingsError,
        StorageError,
        Timeout,
        TransportError,
        WrongThread,
    )
    from .events import ChatEvent
    from .metrics import Metrics
    from .reply import PendingRun, Reply
    from .sessions import SessionEntry
    from .settings import Settings
    from .stories import Story, StoryList

    __version__: str

__all__ = [
    "AgentError",
    "BundledServer",
    "Chat",
    "ChatEvent",
    "ConnectError",
    "ConnectionLost",
    "EdChatError",
    "LocalProtocolError",
    "MessageError",
    "Metrics",
    "OutboxFull",
    "PendingRun",
    "PortalClosed",
    "ProtocolError",
    "Refused",
    "RemoteProtocolError",
    "Reply",
    "Report",
    "ServerStartError",
    "SessionEntry",
    "Settings",
    "SettingsError",
    "StorageError",
    "Story",
    "StoryList",
    "Timeout",
    "TransportError",
    "WrongThread",
    "__version__",
    "doctor",
    "launch",
    "load_ipython_extension",
]

_HOME = {
    "BundledServer": "bundled", "Chat": "chat", "ChatEvent": "events", "Metrics": "metrics", "PendingRun": "reply",
    "Reply": "reply",
    "Report": "diagnosis", "Settings": "settings", "Story": "stories", "StoryList": "stories",
    "SessionEntry": "sessions", "doctor": "diagnosis", "launch": "bundled",
}


def __getattr__(name: str) -> Any:
    # Nothing is imported before it is asked for: `import edchat_widget` takes milliseconds.
    if name == "__version__":
        from ._version import version

        return version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ipython: Any) -> None:
    """Register ``%edchat`` and ``%%edchat``; called by ``%load_ext edchat_widget``."""
    from .magics import EdChatMagics

    ipython.register_magics(EdChatMagics)
