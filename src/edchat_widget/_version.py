"""The package's version."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Return the installed version; ``0+unknown`` where the package runs from a bare folder."""
    try:
        return installed("edchat-widget")
    except PackageNotFoundError:
        return "0+unknown"
