"""``%load_ext edchat_widget``: ``%edchat`` for a line, ``%%edchat`` for a cell."""

import argparse
import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from .chat import Chat
from .errors import EdChatError
from .reply import Reply


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"%edchat: {message}")


@magics_class
class EdChatMagics(Magics):
    """The magics, and the chats that they use: one per session."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._chats: dict[str | None, Chat] = {}

    @line_cell_magic
    def edchat(self, line: str, cell: str | None = None) -> Reply:
        """Ask the agent: ``%edchat text``, or ``%%edchat [--session S]`` above the text."""
        session, text = None, line
        if cell is not None:
            parser = _Parser(prog="%%edchat", add_help=False)
            parser.add_argument("--session")
            session, text = parser.parse_args(shlex.split(line)).session, cell
        try:
            return self._chat(session).ask(text.strip())
        except EdChatError as exc:
            raise UsageError(str(exc)) from None

    def _chat(self, session: str | None) -> Chat:
        if session not in self._chats:
            self._chats[session] = Chat(session=session)
        return self._chats[session]
