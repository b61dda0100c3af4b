"""What a forked server process runs. Nothing here may start a thread: the process is forked after the import."""

import importlib
import os
import sys
from multiprocessing.connection import Connection

from tests import scripted_server

import edchat_server.app
import edchat_server.serving  # noqa: F401
from edchat_server import failpoints


def run(arguments: list[str], ready: Connection, log: str, env: dict[str, str]) -> None:
    """Be the scripted server until told to stop; write the log to a file."""
    os.environ.clear()
    os.environ.update(env)
    importlib.reload(failpoints)  # it reads the environment once
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(file, 2)
    sys.argv = ["scripted_server.py", *arguments, "--ready-fd", str(ready.fileno())]
    raise SystemExit(scripted_server.main())
