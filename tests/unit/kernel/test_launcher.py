"""The launcher: who gets which server, and when one is started anew."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edchat_widget._io import launcher
from edchat_widget.errors import ServerStartError

SERVER = """
import http.server, json, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer made-by-the-server"
        status = pathlib.Path("status")
        health = self.path == "/health"
        self.send_response((int(status.read_text()) if status.exists() else 200) if health else 200 if known else 401)
        self.end_headers()
        self.wfile.write(b'{"store": "s"}' if known and not health else b"{}")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
pathlib.Path("env.json").write_text(json.dumps(dict(os.environ)))
url = f"http://127.0.0.1:{server.server_port}"
print(json.dumps({"url": url, "token": "made-by-the-server", "pid": os.getpid(), "store": "s"}), flush=True)
server.serve_forever()
"""
JUPYTERS = {"JUPYTER_TOKEN", "JPY_API_TOKEN", "JUPYTERHUB_API_TOKEN"}
COMMAND = (sys.executable, "-c", SERVER)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    (tmp_path / "status").unlink(missing_ok=True)
    launcher.stop(tmp_path)


def ensure(home: Path, model: str | None = None, *, renew: bool = False) -> launcher.ServerRecord:
    return launcher.ensure(home, model, renew=renew, command=COMMAND, timeout=30)


def test_the_server_makes_the_token_and_gets_what_is_meant_for_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("EDCHAT_")]:
        monkeypatch.delenv(name)
    for name in ("URL", "TOKEN", "SESSION", "DATA_DIR", "HOST", "PORT", "ALLOWED_ORIGINS", "OFFLINE_PACE"):
        monkeypatch.setenv(f"EDCHAT_{name}", "7")
    for name in JUPYTERS:
        monkeypatch.setenv(name, "of Jupyter")
    record = ensure(home, "a")
    env = json.loads((home / "env.json").read_text())
    assert {k: v for k, v in env.items() if k.startswith("EDCHAT_")} == {
        "EDCHAT_MODEL": "a", "EDCHAT_OFFLINE_PACE": "7"}
    assert record.token == "made-by-the-server"
    assert not JUPYTERS & env.keys()
    assert record.token not in (*env.values(), repr(record))


def test_another_model_is_a_new_server_only_where_that_is_asked_for(home: Path) -> None:
    first = ensure(home, "a")
    assert ensure(home, "b") == first
    assert ensure(home, None, renew=True) == first
    assert ensure(home, "a", renew=True) == first
    second = ensure(home, "b", renew=True)
    assert (second.model, second.pid == first.pid) == ("b", False)
    assert launcher.find(home) == second
    assert not launcher.healthy(first)


def test_a_model_that_cannot_answer_is_started_anew_for_whoever_asks_for_it(home: Path) -> None:
    first = ensure(home, "a")
    (home / "status").write_text("503")
    assert ensure(home, "a") == first
    assert ensure(home, None, renew=True) == first
    assert ensure(home, "a", renew=True) != first


def test_another_kernel_can_stop_the_server_without_taking_a_zombie_for_it(home: Path) -> None:
    ensure(home)
    code = (
        "import sys, pathlib; from edchat_widget._io import launcher\n"
        "print(launcher.stop(pathlib.Path(sys.argv[1])))")
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True, timeout=15)
    assert done.stdout.strip() == "True"
    assert launcher.find(home) is None


BUSY_ONCE = """
import pathlib, sys
if not pathlib.Path("tried").exists():
    pathlib.Path("tried").touch()
    sys.exit("another edchat server already uses this")
"""


def test_a_server_that_is_still_ending_its_runs_is_waited_for(home: Path) -> None:
    found = launcher.ensure(home, command=(sys.executable, "-c", BUSY_ONCE + SERVER), timeout=30)
    assert launcher.find(home) == found


def test_a_server_whose_kernel_died_while_it_started_is_found_and_used(home: Path) -> None:
    left = launcher._start(home, "a", COMMAND, 30)
    assert launcher.find(home) is None
    busy = (sys.executable, "-c", "import sys; sys.exit('another edchat server already uses this')")
    found = launcher.ensure(home, command=busy, timeout=30)
    assert found.pid == left.pid
    assert launcher.find(home) == found
    assert list(home.glob("*.ready")) == []


def test_a_server_that_dies_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    script = "import sys; [print('line', n, file=sys.stderr) for n in range(50)]; sys.exit(3)"
    with pytest.raises(ServerStartError, match="status 3") as caught:
        launcher.ensure(tmp_path, command=(sys.executable, "-c", script), timeout=20)
    assert caught.value.log == tuple(f"line {n}" for n in range(10, 50))


def test_the_log_goes_on_and_an_error_carries_only_its_own_start(tmp_path: Path) -> None:
    def fail(word: str) -> tuple[str, ...]:
        script = f"import sys; sys.exit({word!r})"
        with pytest.raises(ServerStartError) as caught:
            launcher.ensure(tmp_path, command=(sys.executable, "-c", script), timeout=20)
        return caught.value.log

    log, old = tmp_path / "server.log", tmp_path / "server.log.old"
    assert (fail("one"), fail("two")) == (("one",), ("two",))
    assert log.read_text() == "one\ntwo\n"
    assert not old.exists()
    log.write_text("x" * (launcher.LOG_SIZE + 1))
    assert fail("three") == ("three",)
    assert log.read_text() == "three\n"
    assert old.stat().st_size == launcher.LOG_SIZE + 1


def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ServerStartError, match=r"not ready within 1\.5 s"):
        launcher.ensure(tmp_path, command=(sys.executable, "-c", script), timeout=1.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_record_of_a_dead_server_is_not_believed(tmp_path: Path) -> None:
    record = {"url": "http://127.0.0.1:9", "token": "t", "pid": 1}
    (tmp_path / "server.json").write_text(json.dumps(record))
    assert launcher.find(tmp_path) is None


def answering(status: int, body: bytes) -> http.server.ThreadingHTTPServer:
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/health"
            self.send_response(200 if found else status)
            self.end_headers()
            self.wfile.write(b'{"status": "healthy"}' if found else body)

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()
    return server


@pytest.mark.parametrize(
    ("status", "body"), [(401, b"{}"), (404, b"<p>"), (200, b'{"store": "another"}'), (200, b"<p>")])
def test_another_service_on_the_port_of_a_dead_server_is_not_taken_for_it(
    tmp_path: Path, status: int, body: bytes
) -> None:
    server = answering(status, body)
    try:
        # Its pid is somebody else's by now, too.
        url = f"http://127.0.0.1:{server.server_port}"
        launcher._write(tmp_path, launcher.ServerRecord(url=url, token="old", pid=os.getpid(), store="s"))
        assert launcher.find(tmp_path) is None
        assert not launcher.stop(tmp_path)
    finally:
        server.shutdown()
        server.server_close()
