"""Which session a chat belongs to when nobody says: the notebook's own, the same in its next run."""

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ._core.failover import Fork
from .settings import BUNDLED, Settings

if TYPE_CHECKING:
    from .chat import Chat


@dataclass(frozen=True, kw_only=True)
class SessionEntry:
    """One conversation of a chat.

    `server` is the address, or ``bundled``. `forked_from` says where a conversation on this machine left the
    other server's: its `store` (None: it was never met), `session` and `seq`. `began` and `ended` are ISO 8601.
    """

    session: str
    server: str
    current: bool
    began: str | None = None
    ended: str | None = None
    forked_from: Mapping[str, str | int | None] | None = None
    settings: Settings = field(repr=False)

    def open(self) -> "Chat":
        """Return a chat of this conversation, to read it or to go on with it."""
        from .chat import Chat

        s = self.settings
        return Chat(self.server, session=self.session, token=s.token, data_dir=s.data_dir, failover="never")


def entries(settings: Settings, session: str, forks: Iterable[Fork]) -> tuple[SessionEntry, ...]:
    """Return a conversation and its forks as `Chat.sessions` shows them."""
    forks = list(forks)
    here = [
        SessionEntry(
            session=f.local, server=BUNDLED, current=f.ended is None, began=f.began, ended=f.ended,
            forked_from={"store": f.store, "session": f.session, "seq": f.seq}, settings=settings)
        for f in forks
    ]
    away = any(e.current for e in here)
    own = SessionEntry(session=session, server=settings.url or BUNDLED, current=not away, settings=settings)
    return (own, *here)


def implicit_session(
    notebook: str | None, names: Mapping[str, object] | None = None, person: str | None = None
) -> str:
    """Return the session of the notebook or script that this process runs.

    `names` are the user's variables, in which VS Code leaves the notebook's path; `notebook` is the path
    that Jupyter's server told the kernel; `person` is the user of a JupyterHub.
    """
    vscode = (names or {}).get("__vsc_ipynb_file__")
    path = vscode if isinstance(vscode, str) and vscode else notebook or _script()
    if path:
        return session_for(path, person)
    return session_for("/default", person) if person else "default"


def session_for(path: str, person: str | None = None) -> str:
    """Return a readable name that stands for this path of this person alone."""
    full = str(Path(path).expanduser().absolute())
    if person:  # in a hub's containers everybody's notebooks have the same paths
        full = f"{person}:{full}"
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(path).stem).strip("-").lower()[:40]
    return f"{slug or 'notebook'}-{hashlib.sha256(full.encode()).hexdigest()[:10]}"


def _script() -> str | None:
    return getattr(sys.modules.get("__main__"), "__file__", None)


def user_names() -> dict[str, object]:
    """Return the variables of the notebook's user."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell.user_ns if shell is not None else {}
