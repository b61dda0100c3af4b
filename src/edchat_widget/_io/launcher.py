"""Finds or starts the bundled server: one per user and data directory, shared by all kernels.

The server is a process of its own that outlives the kernel and ends by itself when nobody has used it for
15 minutes. Where it listens, and the token that lets in, is in ``server.json``, readable by its owner only.
"""

import atexit
import contextlib
import http.client
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import filelock
import msgspec

from edchat_widget.errors import ServerStartError, plain

from .private import make_private
from .transport import Endpoint

_log = logging.getLogger("edchat.client.launcher")
IDLE_EXIT = 900
START_TIMEOUT = 60.0
LOG_LINES = 40
LOG_SIZE = 1_000_000  # above it, a server that starts gets a new log; the one before is kept
_PROBE_TIMEOUT = 5.0
_MOST_READ = 100_000
_BUSY = "already uses"  # what a server says whose database belongs to another
_STOP_TIMEOUT = 20.0  # above the time that the server takes to bring its runs to a boundary
# What the user set for this side, or for a server of their own: the bundled one listens on loopback only,
# and makes its token itself, since an environment is seen by every process that the agent starts.
_OURS_ALONE = {
    "EDCHAT_URL", "EDCHAT_TOKEN", "EDCHAT_SESSION", "EDCHAT_DATA_DIR", "EDCHAT_HOST", "EDCHAT_PORT",
    "EDCHAT_ALLOWED_ORIGINS", "EDCHAT_FAILOVER", "EDCHAT_DATABASE", "EDCHAT_LEASE", "EDCHAT_TOKENS_FILE",
    # Jupyter's own, which let in to the user's files and kernels.
    "JUPYTER_TOKEN", "JPY_API_TOKEN", "JUPYTERHUB_API_TOKEN",
}
_WINDOWS_FLAGS: int = (
    getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "DETACHED_PROCESS", 0)
)


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a running server. The token is not part of its repr."""

    url: str
    token: str
    pid: int
    store: str = ""
    model: str | None = None

    def __repr__(self) -> str:
        return f"ServerRecord(url={self.url!r}, pid={self.pid})"

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        return Endpoint(self.url, self.token)


class _Status(msgspec.Struct, frozen=True):
    store: str


# Popen objects of servers that this process started, so that an ended one leaves no zombie.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


def find(data_dir: Path) -> ServerRecord | None:
    """Return the running server of a data directory, or None."""
    record = _read(data_dir)
    return record if record is not None and healthy(record) else None


def ensure(
    data_dir: Path, model: str | None = None, *, renew: bool = False, command: tuple[str, ...] = (),
    timeout: float = START_TIMEOUT,
) -> ServerRecord:
    """Return the running server of a data directory; start one if there is none.

    `renew`: a server that runs with another model than `model`, or whose model cannot answer, is ended and
    started anew; a `model` of None is content with any. Blocks; call it in a thread of its own. `command`
    is for tests: what to run instead of the server.

    Raises:
        ServerStartError: it did not start in time, or ended at once.
    """
    wanted = model if renew else None
    found = _serving(data_dir, wanted)
    if found is not None:
        return found
    try:
        make_private(data_dir)
        with filelock.FileLock(data_dir / "server.lock", timeout=timeout + _STOP_TIMEOUT, mode=0o600):
            found = _serving(data_dir, wanted)
            if found is None:
                if stop(data_dir):
                    _log.info("the bundled server was ended, to start it with the model %s", model)
                found = _start_or_adopt(data_dir, model, command, timeout)
                _write(data_dir, found)
    except filelock.Timeout:
        raise ServerStartError(
            "Another kernel has been starting the server for too long.", hint="Try again in a moment.") from None
    except OSError as exc:
        raise ServerStartError(
            f"The data directory {data_dir} cannot be used: {plain(exc)}.",
            hint="Name another one: EDCHAT_DATA_DIR or Chat(data_dir=…).") from None
    return found


def stop(data_dir: Path, *, timeout: float = _STOP_TIMEOUT) -> bool:
    """Stop the running server of a data directory; return whether there was one."""
    record = find(data_dir)
    if record is None:
        return False
    _signal(record.pid, signal.SIGTERM)
    if not _gone(record.pid, timeout):
        _signal(record.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        _gone(record.pid, timeout)
    (data_dir / "server.json").unlink(missing_ok=True)
    return True


def healthy(record: ServerRecord) -> bool:
    """Return whether the server answers, takes our token, and has the store that it had."""
    # 503: it is there, and knows that its agent is not. Connecting shows why.
    return _probe(record) in (200, 503)


def _serving(data_dir: Path, model: str | None) -> ServerRecord | None:
    """Return the running server, provided that it runs with `model` (None: any)."""
    record = _read(data_dir)
    if record is None:
        return None
    if model is None:
        return record if healthy(record) else None
    # A model that cannot answer may lack a key that is in our environment by now.
    return record if record.model == model and _probe(record) == 200 else None


def _probe(record: ServerRecord) -> int | None:
    """Return the HTTP status of the server's health; None where nothing answers, or another than ours."""
    child = _children.get(record.pid)
    if child is not None and child.poll() is not None:
        return None
    parts = urlsplit(record.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT)
    try:
        if not _is_ours(connection, record):
            return None
        return _get(connection, "/health", record)[0]
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _is_ours(connection: http.client.HTTPConnection, record: ServerRecord) -> bool:
    # Health is told to everybody, and a record may be older than what listens on its port now.
    try:
        status, body = _get(connection, "/api/status", record)
    except TimeoutError:  # its database keeps it waiting; its health does not ask there
        connection.close()
        return True
    return status >= http.HTTPStatus.INTERNAL_SERVER_ERROR or _store_in(body) == record.store


def _get(connection: http.client.HTTPConnection, path: str, record: ServerRecord) -> tuple[int, bytes]:
    connection.request("GET", path, headers=record.endpoint.headers)
    response = connection.getresponse()
    return response.status, response.read(_MOST_READ)


def _store_in(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Status).store
    except msgspec.DecodeError:
        return None


def _start_or_adopt(data_dir: Path, model: str | None, command: tuple[str, ...], timeout: float) -> ServerRecord:
    give_up = time.monotonic() + _STOP_TIMEOUT
    while True:
        try:
            return _start(data_dir, model, command, timeout)
        except ServerStartError as exc:
            if not any(_BUSY in line for line in exc.log):
                raise
            # One that is ending its runs, or one whose kernel died before it could write down where it is.
            found = _left_behind(data_dir)
            if found is not None:
                return found
            if time.monotonic() >= give_up:
                raise
        time.sleep(0.2)


def _left_behind(data_dir: Path) -> ServerRecord | None:
    for path in data_dir.glob("*.ready"):
        record = _record_in(path)
        if record is not None and healthy(record):
            return record
    return None


def _start(data_dir: Path, model: str | None, command: tuple[str, ...], timeout: float) -> ServerRecord:
    env = {k: v for k, v in os.environ.items() if k not in _OURS_ALONE}
    if model:
        env["EDCHAT_MODEL"] = model
    log_path = data_dir / "server.log"
    # A file, for a pipe would end with this kernel: what the server prints then would be its undoing.
    ready_path = data_dir / f"server-{secrets.token_hex(4)}.ready"
    argv = [
        *(command or (sys.executable, "-m", "edchat_server")),
        "--port", "0", "--ready-fd", "1", "--data-dir", str(data_dir), "--idle-exit", str(IDLE_EXIT),
    ]
    _log.info("starting the bundled server")
    began = _make_room(log_path)
    with _private(log_path) as log, _private(ready_path, os.O_EXCL) as ready:
        # An interrupt in the kernel, or its end, must not end the server that other kernels use.
        child = subprocess.Popen(  # noqa: S603
            argv, stdin=subprocess.DEVNULL, stdout=ready, stderr=log, env=env, cwd=data_dir,
            start_new_session=True, creationflags=_WINDOWS_FLAGS,
        )
    _children[child.pid] = child
    # Collected at its end: as a zombie it would look alive to another kernel that has stopped it.
    threading.Thread(target=child.wait, name="edchat-launcher", daemon=True).start()
    deadline = time.monotonic() + timeout
    while (line := _line_in(ready_path)) is None:
        if child.poll() is not None:
            raise _failed(child, log_path, began, ready_path, f"The bundled server ended with status {child.poll()}.")
        if time.monotonic() >= deadline:
            text = f"The bundled server was not ready within {timeout:g} s."
            raise _failed(child, log_path, began, ready_path, text)
        time.sleep(0.02)
    try:
        record = _decode(line)
    except msgspec.DecodeError:
        text = "The bundled server said something unexpected."
        raise _failed(child, log_path, began, ready_path, text) from None
    record = msgspec.structs.replace(record, model=env.get("EDCHAT_MODEL"))
    _log.info("the bundled server listens (pid %s)", record.pid)
    return record


def _make_room(log_path: Path) -> int:
    """Put a long log aside; return how long the log is that is appended to."""
    with contextlib.suppress(OSError):  # Windows keeps what is open where it is
        if log_path.stat().st_size > LOG_SIZE:
            log_path.replace(log_path.with_name(f"{log_path.name}.old"))
    return log_path.stat().st_size if log_path.exists() else 0


def _private(path: Path, flag: int = 0) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | flag, 0o600), "ab")


def _line_in(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        line, end, _ = path.read_bytes().partition(b"\n")
        if end:
            return line
    return None


def _record_in(path: Path) -> ServerRecord | None:
    line = _line_in(path)
    try:
        return _decode(line) if line is not None else None
    except msgspec.DecodeError:
        return None


def _decode(line: bytes) -> ServerRecord:
    return msgspec.json.decode(line, type=ServerRecord)


def _failed(
    child: "subprocess.Popen[bytes]", log_path: Path, began: int, ready_path: Path, message: str
) -> ServerStartError:
    if child.poll() is None:
        child.kill()
    child.wait()
    _children.pop(child.pid, None)
    ready_path.unlink(missing_ok=True)
    text = log_path.read_bytes()[began:].decode("utf-8", "replace")
    return ServerStartError(message, log=tuple(text.splitlines()[-LOG_LINES:]))


def _read(data_dir: Path) -> ServerRecord | None:
    try:
        return msgspec.json.decode((data_dir / "server.json").read_bytes(), type=ServerRecord)
    except (OSError, msgspec.DecodeError):
        return None


def _write(data_dir: Path, record: ServerRecord) -> None:
    path = data_dir / "server.json"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(msgspec.json.encode(record))
    fresh.replace(path)
    for ready in data_dir.glob("*.ready"):
        with contextlib.suppress(OSError):  # Windows keeps what is open
            ready.unlink()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        _log.debug("the server was gone already")


def _gone(pid: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while _alive(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _alive(pid: int) -> bool:
    child = _children.get(pid)
    if child is not None:
        return child.poll() is None
    if sys.platform == "win32":  # where signal 0 is no question but an interrupt
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _let_go() -> None:
    # The servers stay. Without this, Popen's finalizer would warn that they do.
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


atexit.register(_let_go)
