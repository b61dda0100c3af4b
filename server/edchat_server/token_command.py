"""``edchat token add NAME``: one more user of a shared server."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from .identity import TokensFileError, add_token


def add_token_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``edchat token``."""
    verbs = parser.add_subparsers(dest="token_verb", metavar="command", required=True)
    add = verbs.add_parser("add", help="make a token for a user, print it once, and keep its hash")
    add.add_argument("name", help="who is to have it; what they write carries this name")
    add.add_argument(
        "--file", type=Path, metavar="FILE", help="where tokens are kept (EDCHAT_TOKENS_FILE)",
    )
    add.add_argument("--expires", type=_time, metavar="TIME", help="like 2026-12-31T00:00:00Z; never by default")
    add.add_argument("--read", action="store_true", help="let them read, and not write")


def add(given: argparse.Namespace) -> int:
    """Make the token; return the exit code. Only the token goes to the standard output."""
    named = given.file or os.environ.get("EDCHAT_TOKENS_FILE")
    if not named:
        return _fail("no tokens file is named: set EDCHAT_TOKENS_FILE, or give --file")
    file = Path(named).expanduser()
    try:
        token = add_token(file, given.name, expires=given.expires, role="read" if given.read else "write")
    except (TokensFileError, ValueError) as exc:
        return _fail(str(exc))
    sys.stdout.write(f"{token}\n")
    sys.stderr.write(f"{given.name} has this token. It is shown only now; {file} has its hash.\n")
    return 0


def _fail(text: str) -> int:
    sys.stderr.write(f"edchat: {text}\n")
    return 1


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time with its offset, like 2026-12-31T00:00:00Z")
    if found <= datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text!r} is over already")
    return found
