"""Directories and files of ours, in which others may neither look nor write."""

import os
import secrets
from pathlib import Path


def make_private(directory: Path) -> None:
    """Make a directory and what is missing above it, for its owner alone; leave what is there as it is.

    Raises:
        OSError: it cannot be made.
    """
    if not directory.parent.is_dir():  # `parents=True` would make these for everybody to read
        make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file's content, all of it or nothing.

    Raises:
        OSError: it was not replaced.
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
