"""Finds or starts the bundled server: one per user and data directory, shared by all kernels.

The server is a process of its own that outlives the kernel and ends by itself when nobody has used it for
15 minutes. Where it listens, and the token that lets in, is in ``server.json``, readable by its owner only.
"""

import atexit
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
from urllib.parse import urlsplit

import filelock
import msgspec

from edchat_widget.errors import ServerStartError

from .transport import Endpoint

_log = logging.getLogger("edchat.client.launcher")
IDLE_EXIT = 900
START_TIMEOUT = 60.0
LOG_LINES = 40
_PROBE_TIMEOUT = 5.0
# What the user set for this side, or for a server of their own: the bundled one listens on loopback only.
_OURS_ALONE = {
    "EDCHAT_URL", "EDCHAT_TOKEN", "EDCHAT_SESSION", "EDCHAT_DATA_DIR", "EDCHAT_HOST", "EDCHAT_PORT",
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


# Popen objects of servers that this process started, so that an ended one leaves no zombie.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


def find(data_dir: Path) -> ServerRecord | None:
    """Return the running server of a data directory, or None."""
    record = _read(data_dir)
    return record if record is not None and healthy(record) else None


def ensure(
    data_dir: Path, model: str | None = None, *, command: tuple[str, ...] = (), timeout: float = START_TIMEOUT
) -> ServerRecord:
    """Return the running server of a data directory; start one if there is none.

    Blocks; call it in a thread of its own. `command` is for tests: what to run instead of the server.

    Raises:
        ServerStartError: it did not start in time, or ended at once.
    """
    found = find(data_dir)
    if found is None:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with filelock.FileLock(data_dir / "server.lock", timeout=timeout + 10, mode=0o600):
                found = find(data_dir)
                if found is None:
                    found = _start(data_dir, model, command, timeout)
                    _write(data_dir, found)
        except filelock.Timeout as exc:
            raise ServerStartError("Another kernel has been starting the server for too long.") from exc
        except OSError as exc:
            raise ServerStartError(f"The data directory {data_dir} cannot be used: {exc}.") from exc
    if model is not None and found.model != model:
        _log.warning("the running server was started with another model; stop it to change the model")
    return found


def stop(data_dir: Path, *, timeout: float = 10.0) -> bool:
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
    """Return whether the server answers, and takes our token."""
    child = _children.get(record.pid)
    if child is not None and child.poll() is not None:
        return False
    parts = urlsplit(record.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT)
    try:
        connection.request("GET", "/health", headers=record.endpoint.headers)
        # 503: it is there, and knows that its agent is not. A second server would not change that.
        return connection.getresponse().status in (200, 503)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _start(data_dir: Path, model: str | None, command: tuple[str, ...], timeout: float) -> ServerRecord:
    token = secrets.token_urlsafe(32)
    env = {k: v for k, v in os.environ.items() if k not in _OURS_ALONE}
    env |= {"EDCHAT_TOKEN": token} | ({"EDCHAT_MODEL": model} if model else {})
    log_path = data_dir / "server.log"
    argv = [
        *(command or (sys.executable, "-m", "edchat_server")),
        "--port", "0", "--ready-fd", "1", "--data-dir", str(data_dir), "--idle-exit", str(IDLE_EXIT),
    ]
    _log.info("starting the bundled server")
    with os.fdopen(os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as log:
        # An interrupt in the kernel, or its end, must not end the server that other kernels use.
        child = subprocess.Popen(  # noqa: S603
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=env, cwd=data_dir,
            start_new_session=True, creationflags=_WINDOWS_FLAGS,
        )
    _children[child.pid] = child
    line = _first_line(child, timeout)
    try:
        ready = msgspec.json.decode(line, type=dict[str, object])
        record = msgspec.convert(
            {"token": token, "pid": child.pid, "model": env.get("EDCHAT_MODEL"), **ready}, ServerRecord)
    except msgspec.ValidationError as exc:
        raise _failed(child, log_path, token, "The bundled server said something unexpected.") from exc
    except msgspec.DecodeError as exc:
        why = f"ended with status {child.poll()}" if _ended(child) else f"was not ready within {timeout:g} s"
        raise _failed(child, log_path, token, f"The bundled server {why}.") from exc
    _log.info("the bundled server listens (pid %s)", record.pid)
    return record


def _first_line(child: "subprocess.Popen[bytes]", timeout: float) -> bytes:
    lines: list[bytes] = []

    def read() -> None:
        if child.stdout is not None:
            with child.stdout as stdout:
                lines.append(stdout.readline())

    reader = threading.Thread(target=read, name="edchat-launcher", daemon=True)
    reader.start()
    reader.join(timeout)
    return lines[0] if lines else b""


def _ended(child: "subprocess.Popen[bytes]") -> bool:
    try:
        child.wait(1.0)
    except subprocess.TimeoutExpired:
        return False
    return True


def _failed(child: "subprocess.Popen[bytes]", log_path: Path, token: str, message: str) -> ServerStartError:
    if child.poll() is None:
        child.kill()
    child.wait()
    _children.pop(child.pid, None)
    text = log_path.read_text("utf-8", "replace").replace(token, "…")
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


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        _log.debug("the server was gone already")


def _gone(pid: int, timeout: float) -> bool:
    child = _children.get(pid)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if child is not None:
            if child.poll() is not None:
                return True
        else:
            try:
                os.kill(pid, 0)
            except OSError:
                return True
        time.sleep(0.05)
    return False


def _let_go() -> None:
    # The servers stay. Without this, Popen's finalizer would warn that they do.
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


atexit.register(_let_go)
