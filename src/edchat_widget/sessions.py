"""Which session a chat belongs to when nobody says: the notebook's own, the same in its next run."""

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path


def implicit_session(notebook: str | None, names: Mapping[str, object] | None = None) -> str:
    """Return the session of the notebook or script that this process runs.

    `names` are the user's variables, in which VS Code leaves the notebook's path; `notebook` is the path
    that Jupyter's server told the kernel.
    """
    vscode = (names or {}).get("__vsc_ipynb_file__")
    path = vscode if isinstance(vscode, str) and vscode else notebook or _script()
    return session_for(path) if path else "default"


def session_for(path: str) -> str:
    """Return a readable name that stands for this path alone."""
    full = str(Path(path).expanduser().absolute())
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(path).stem).strip("-").lower()[:40]
    return f"{slug or 'notebook'}-{hashlib.sha256(full.encode()).hexdigest()[:10]}"


def _script() -> str | None:
    return getattr(sys.modules.get("__main__"), "__file__", None)
