"""The agent server: sessions, runs and the backlog behind one WebSocket and a few routes."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app as create_app
    from .settings import Settings as Settings

try:
    __version__ = version("edchat-widget")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+source"

__all__ = ["Settings", "__version__", "create_app"]


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from .app import create_app

        return create_app
    if name == "Settings":
        from .settings import Settings

        return Settings
    raise AttributeError(name)
