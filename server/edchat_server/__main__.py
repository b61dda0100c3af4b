"""The server's command line: ``python -m edchat_server``, and what ``edchat serve`` is made of."""

import argparse
import asyncio
import logging
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .settings import Settings, SettingsError
from .token_command import add as add_token
from .token_command import add_token_options

if TYPE_CHECKING:
    from .app import Build


_COPIES = {
    "backup": "copy the database to a file; the server may be running",
    "restore": "put a backup in the database's place; the server must be stopped",
}


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the server's part of the ``edchat`` command."""
    add_options(verbs.add_parser("serve", help="run the agent server"))
    for verb, help_text in _COPIES.items():
        copy = verbs.add_parser(verb, help=help_text)
        copy.add_argument("file", type=Path, metavar="FILE")
        copy.add_argument("--data-dir", type=Path, metavar="DIR", help="database folder (EDCHAT_DATA_DIR)")
    add_token_options(verbs.add_parser("token", help="let users into a shared server"))


def run(given: argparse.Namespace) -> int:
    """Do what was asked for with one of these verbs; return the exit code."""
    if given.verb == "token":
        return add_token(given)
    return _copy(given) if given.verb in _COPIES else serve(given)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the server's options. Each one wins over its environment variable."""
    parser.add_argument("--host", help="address to listen on (EDCHAT_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=_port, help="port, 0 for any free one (EDCHAT_PORT, 8001)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="database folder (EDCHAT_DATA_DIR)")
    parser.add_argument("--model", help="like openai:gpt-5 (EDCHAT_MODEL; without one, the offline planner)")
    parser.add_argument(
        "--ready-fd", type=int, metavar="N",
        help="write one JSON line with url and token to this file descriptor when listening",
    )
    parser.add_argument(
        "--idle-exit", type=float, metavar="SECONDS", help="leave after so long without connection or run"
    )
    parser.add_argument(
        "--drain", type=float, metavar="SECONDS",
        help="how long runs may go on when the server is stopped, until they are put off to its next start (10)",
    )


def serve(given: argparse.Namespace, *, build: "Build | None" = None) -> int:
    """Run the server until it is told to stop; return the exit code.

    `given` has the options of `add_options`; `build` makes another agent than the built-in one.
    """
    from .app import build_agent
    from .serving import Ready, serve_until_told
    from .sockets import PortTaken
    from .store import StoreError

    _log_to_stderr()
    try:
        settings = settings_of(given)
        ready = None if given.ready_fd is None else Ready(fd=given.ready_fd)
        asyncio.run(serve_until_told(settings, ready=ready, build=build or build_agent))
    except (SettingsError, PortTaken, StoreError) as exc:
        sys.stderr.write(f"edchat: {exc}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _copy(given: argparse.Namespace) -> int:
    from .store import StoreError
    from .store.backup import backup, restore

    try:
        settings = Settings.from_env(data_dir=given.data_dir)
        if settings.postgres is not None:
            raise SettingsError("EDCHAT_DATABASE names a PostgreSQL database: use pg_dump and pg_restore")
        database = settings.database
        if given.verb == "backup":
            size = backup(database, given.file)
            sys.stdout.write(f"{given.file}: {size} bytes\n")
            return 0
        before = restore(database, given.file)
    except (SettingsError, StoreError) as exc:
        sys.stderr.write(f"edchat: {exc}\n")
        return 1
    sys.stdout.write(f"{database} is {given.file} now\n")
    if before is not None:
        sys.stdout.write(f"what was there before: {before}\n")
    return 0


def settings_of(given: argparse.Namespace) -> Settings:
    """Return the settings of the environment and the options. Raises `SettingsError`."""
    settings = Settings.from_env(
        host=given.host, port=given.port, data_dir=given.data_dir, model=given.model,
        idle_exit=given.idle_exit, drain=given.drain,
    )
    if given.ready_fd is not None and settings.token is None:
        # Whoever reads the line gets in; nobody else on this machine does.
        return replace(settings, token=secrets.token_urlsafe(32))
    return settings


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port number from 0 to 65535")


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("edchat").setLevel(logging.INFO)
    # uvicorn takes a refused upgrade and an abandoned stream for faults of ours; both are logged where they are made
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "ASGI callable returned without completing" not in record.getMessage()
    )


def _module() -> int:
    parser = argparse.ArgumentParser(prog="python -m edchat_server", description="The agent server.")
    add_options(parser)
    return serve(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(_module())
