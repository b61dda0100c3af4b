"""Real processes for tests: an agent server that can be killed and started again on the same port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, seconds: float = 30, what: str = "") -> Any:
    """Return the first true value of `condition`, or fail after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.05)


class AgentServer:
    """`python -m edchat_server` on a port of its own, with the offline planner."""

    def __init__(self, data_dir: Path, *, pace: float = 200, env: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, "EDCHAT_OFFLINE_PACE": str(pace), **(env or {})}
        for name in ("EDCHAT_TOKEN", "EDCHAT_URL", "EDCHAT_MODEL"):
            if name not in (env or {}):
                self.env.pop(name, None)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir.parent / f"{data_dir.name}-server.log"

    def start(self) -> "AgentServer":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edchat_server", "--port", str(self.port), "--data-dir", str(self.data_dir)],
                env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        wait_until(self._healthy, seconds=30, what=f"server up; its log: {self.log}")
        return self

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, nothing flushed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def stories(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/stories?limit=200", timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["stories"]
            return found

    def __enter__(self) -> "AgentServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
