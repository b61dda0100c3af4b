"""`doctor` finds what is wrong, says what to mend, and never prints a token."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.processes import AgentServer

from edchat_cli import main
from edchat_widget import Report, doctor
from edchat_widget.report import Check
from edchat_widget.surroundings import checks

SECRET = "a-token-that-must-not-be-shown"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentServer]:
    with AgentServer(tmp_path_factory.mktemp("doctor") / "server", env={"EDCHAT_TOKEN": SECRET}) as running:
        yield running


def found(report: Report, name: str) -> Check:
    return next(c for c in report.checks if c.name == name)


@contextmanager
def standing_in(health: bytes, *, date: str | None = None, sockets: int = 404) -> Iterator[str]:
    """Something at an address that is not quite our server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = health if self.path == "/health" else b"{}"
            self.send_response_only(sockets if self.path.startswith(("/ws", "/v2")) else 200)
            if date is not None:
                self.send_header("Date", date)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}"
        finally:
            serving.shutdown()


def test_all_is_well_where_all_is_well(server: AgentServer, tmp_path: Path) -> None:
    report = doctor(server.url, token=SECRET, data_dir=tmp_path)
    assert report.ok, report
    for name in ("server", "clock", "token", "WebSocket", "event stream", "data folder", "panel", "widget manager"):
        assert found(report, name).verdict == "ok", found(report, name)
    for text in (repr(report), report._repr_markdown_(), json.dumps(report.to_dict())):
        assert SECRET not in text


@pytest.mark.parametrize(("token", "says"), [(None, "none is set"), ("wrong", "the one that is set is not")])
def test_a_token_that_is_missing_or_wrong_is_told_apart(
    server: AgentServer, tmp_path: Path, token: str | None, says: str
) -> None:
    report = doctor(server.url, token=token, data_dir=tmp_path)
    assert not report.ok
    assert says in found(report, "token").text
    assert "EDCHAT_TOKEN" in (found(report, "token").cure or "")


def test_an_address_where_nothing_answers_fails_with_a_cure(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        report = doctor(f"http://127.0.0.1:{probe.getsockname()[1]}", data_dir=tmp_path)
    assert found(report, "server").verdict == "fail"
    assert "address is right" in (found(report, "server").cure or "")


def test_a_login_page_is_no_chat_server(tmp_path: Path) -> None:
    with standing_in(b"<html>Log in</html>") as url:
        assert "is no chat server" in found(doctor(url, data_dir=tmp_path), "server").text


def test_a_blocked_websocket_and_a_wrong_clock_are_warnings_with_cures(tmp_path: Path) -> None:
    with standing_in(b'{"status":"healthy"}', date="Thu, 01 Jan 2015 00:00:00 GMT") as url:
        report = doctor(url, data_dir=tmp_path)
    assert found(report, "clock").verdict == "warn"
    assert "ahead of the server's" in found(report, "clock").text
    assert found(report, "WebSocket").verdict == "warn"
    assert "Upgrade" in (found(report, "WebSocket").cure or "")


def test_a_server_without_a_token_asks_for_none(tmp_path: Path) -> None:
    with AgentServer(tmp_path / "server") as server:
        assert found(doctor(server.url, data_dir=tmp_path), "token").text == "the server asks for none"


def test_a_folder_that_cannot_be_written_fails() -> None:
    disk = next(c for c in checks(Path("/proc/nobody/writes/here"), None, {}) if c.name == "data folder")
    assert disk.verdict == "fail"
    assert "EDCHAT_DATA_DIR" in (disk.cure or "")


def test_a_proxys_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{SECRET}@proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example.org")
    proxy = next(c for c in checks(tmp_path, "http://stories.example.org", {}) if c.name == "proxy")
    assert proxy.verdict == "warn"
    assert "proxy.example.org:3128" in proxy.text
    assert SECRET not in str(proxy)
    inside = next(c for c in checks(tmp_path, "http://inside.example.org", {}) if c.name == "proxy")
    assert inside.verdict == "fact"


@pytest.mark.parametrize(
    ("signs", "host"),
    [({"JPY_SESSION_NAME": "x.ipynb"}, "Jupyter"), ({"VSCODE_PID": "7"}, "VS Code"), ({}, "no notebook")])
def test_the_front_end_is_recognised_by_what_it_leaves(tmp_path: Path, signs: dict[str, str], host: str) -> None:
    assert host in next(c for c in checks(tmp_path, None, signs) if c.name == "host").text


def test_the_command_prints_the_report_and_fails_with_it(server: AgentServer, tmp_path: Path) -> None:
    def run(*options: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "edchat_cli", "doctor", "--url", server.url, "--data-dir", str(tmp_path), *options],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **env})

    good = run(EDCHAT_TOKEN=SECRET)
    assert (good.returncode, good.stderr) == (0, "")
    assert "ok   token: the token is accepted" in good.stdout
    bad = run("--json", EDCHAT_TOKEN="wrong")
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["ok"] is False
    assert SECRET not in good.stdout + bad.stdout


def test_a_setting_that_cannot_be_ends_the_command_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", "gopher://x"]) == 2
    assert "url takes an address" in capsys.readouterr().err
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out
