"""The ``edchat`` command. The server and the chat do not know each other; this knows both, and nothing more."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``edchat`` command; return its exit code."""
    from edchat_server import __main__ as server
    from edchat_widget import diagnosis

    parser = argparse.ArgumentParser(prog="edchat", description="A chat that turns a sentence into a story.")
    parser.add_argument("--version", action="version", version=_version())
    verbs = parser.add_subparsers(dest="verb", metavar="command")
    server.add_verbs(verbs)
    diagnosis.add_options(verbs.add_parser("doctor", help="check the chat, its server and the way between them"))
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    match given.verb:
        case None:
            parser.print_help()
            return 0
        case "doctor":
            return diagnosis.run(given)
    return server.run(given)


def _version() -> str:
    try:
        return version("edchat-widget")
    except PackageNotFoundError:
        return "unknown"
