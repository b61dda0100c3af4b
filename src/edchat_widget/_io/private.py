"""Directories of ours, in which others may neither look nor write."""

from pathlib import Path


def make_private(directory: Path) -> None:
    """Make a directory and what is missing above it, for its owner alone; leave what is there as it is.

    Raises:
        OSError: it cannot be made.
    """
    if not directory.parent.is_dir():  # `parents=True` would make these for everybody to read
        make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
