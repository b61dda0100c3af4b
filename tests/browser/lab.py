"""A real Jupyter server, and a notebook page in a real browser as a person uses it."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import BrowserContext, Locator, Page, expect
from tests.processes import free_port, wait_until

TOKEN = "test-token"
OLD_KERNEL = "python-without-subshells"


class Jupyter:
    """`jupyter lab` (which also serves Notebook 7) with its own configuration, runtime and data folders."""

    def __init__(self, home: Path, *, old_ipykernel: Path | None = None, nagle: bool = False) -> None:
        self.home = home
        self.root = home / "notebooks"
        self.root.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "jupyter.log"
        names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
        folders = {name: str(home / name.lower()) for name in names}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("EDCHAT_", "JPY_", "JUPYTER_"))} | folders
        extensions = home / "jupyter_config_dir/jupyter_server_config.d/edchat_widget.json"
        extensions.parent.mkdir(parents=True)
        extensions.write_text(json.dumps(
            {"ServerApp": {"jpserver_extensions": {"edchat_widget.server_extension": not nagle}}}), encoding="utf-8")
        settings = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        settings.parent.mkdir(parents=True)
        settings.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
        if old_ipykernel is not None:
            spec = home / "jupyter_data_dir/kernels" / OLD_KERNEL / "kernel.json"
            spec.parent.mkdir(parents=True)
            spec.write_text(json.dumps({
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": OLD_KERNEL, "language": "python", "env": {"PYTHONPATH": str(old_ipykernel)},
            }), encoding="utf-8")

    def start(self) -> "Jupyter":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
                    f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
                    f"--ServerApp.root_dir={self.root}", f"--LabApp.workspaces_dir={self.home / 'workspaces'}",
                    f"--LabApp.user_settings_dir={self.home / 'settings'}",
                ],
                env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        wait_until(self._up, seconds=60, what=f"JupyterLab up; its log: {self.log}")
        return self

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/api/status?token={TOKEN}", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def theme(self, name: str) -> None:
        """Choose the theme of pages opened from now on: "JupyterLab Light" or "JupyterLab Dark"."""
        body = json.dumps({"raw": json.dumps({"theme": name})}).encode()
        request = urllib.request.Request(
            f"{self.url}/lab/api/settings/@jupyterlab/apputils-extension:themes", data=body, method="PUT",
            headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def restart_kernels(self) -> None:
        headers = {"Authorization": f"token {TOKEN}"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/api/kernels", headers=headers)) as answer:
            kernels = json.load(answer)
        for kernel in kernels:
            urllib.request.urlopen(urllib.request.Request(
                f"{self.url}/api/kernels/{kernel['id']}/restart", headers=headers, method="POST")).close()

    def shutdown_kernels(self) -> None:
        headers = {"Authorization": f"token {TOKEN}"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/api/sessions", headers=headers)) as answer:
            sessions = json.load(answer)
        for session in sessions:
            urllib.request.urlopen(urllib.request.Request(
                f"{self.url}/api/sessions/{session['id']}", headers=headers, method="DELETE")).close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


class NotebookPage:
    """One notebook in one tab."""

    def __init__(self, context: BrowserContext, jupyter: Jupyter, name: str, *, classic: bool = False) -> None:
        self.jupyter = jupyter
        self.name = name
        self.classic = classic
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.foreign: list[str] = []
        self.page.on("pageerror", self._error)
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def _error(self, error: Any) -> None:
        own_of_notebook_7 = "reading 'schema'" in str(error) or "filebrowser:open-path" in str(error)
        if not (self.classic and own_of_notebook_7):
            self.problems.append(f"pageerror: {error}")

    def _console(self, message: Any) -> None:
        # the notebook application logs errors of its own; ours carry our name or come from our module
        text = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and ("edchat" in text.lower() or "anywidget" in text.lower()):
            self.problems.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.jupyter.url, "data:", "blob:", "about:", "devtools:")):
            self.foreign.append(request.url)

    @staticmethod
    def write(jupyter: Jupyter, name: str, cells: list[str], *, kernel: str = "python3") -> None:
        """Write a notebook of code cells."""
        v4: Any = nbformat.v4
        notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
        notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
        nbformat.write(notebook, jupyter.root / name)

    def open(self) -> "NotebookPage":
        if self.classic:
            self.page.goto(f"{self.jupyter.url}/notebooks/{self.name}?token={TOKEN}")
        else:
            self.page.goto(f"{self.jupyter.url}/doc/tree/{self.name}?token={TOKEN}&reset")
        self.wait_idle()
        return self

    def wait_idle(self) -> None:
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def prompt(self, index: int) -> str:
        return self.cell(index).locator(".jp-InputPrompt").first.inner_text()

    def run(self, index: int, *, wait: bool = True, seconds: float = 60) -> None:
        """Run a cell with Ctrl+Enter and wait until it has a number (or, without `wait`, until it runs)."""
        before = self.prompt(index)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.cell(index).locator(".cm-content").first.click()
            self.page.keyboard.press("Control+Enter")
            # a new kernel's first Ctrl+Enter is sometimes swallowed: the star goes, and no number comes
            if self._accepted(index, before):
                break
        if wait:
            try:
                wait_until(lambda: self.done(index), seconds=seconds, what=f"cell {index} done")
            except AssertionError:
                self.page.screenshot(path=str(self.jupyter.home / "stuck.png"))
                raise

    def _accepted(self, index: int, before: str) -> bool:
        starred = 0.0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            prompt = self.prompt(index)
            if "*" in prompt:
                starred = starred or time.monotonic()
                if time.monotonic() - starred > 1:
                    return True
            elif any(c.isdigit() for c in prompt) and (starred or prompt != before):
                return True
            elif starred:
                return False
            time.sleep(0.01)
        return False

    def done(self, index: int) -> bool:
        prompt = self.prompt(index)
        return "*" not in prompt and any(c.isdigit() for c in prompt)

    def output(self, index: int) -> str:
        return "\n".join(self.cell(index).locator(".jp-OutputArea-output").all_inner_texts())

    def panel(self, nth: int = 0) -> "Panel":
        return Panel(self.page.locator(".edchat-host .root").nth(nth))

    def save(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        self.page.wait_for_timeout(800)


class Panel:
    """The chat panel, by what a person sees in it."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.composer = root.get_by_role("textbox", name="Message")
        self.badge = root.locator(".badge")
        self.users = root.get_by_role("article", name=re.compile("^You"))
        self.answers = root.get_by_role("article", name=re.compile("^Answer"))
        self.story_cards = root.get_by_role("region", name=re.compile("^Story [^ ]+:"))
        self.tool_cards = root.get_by_role("region", name=re.compile(": (Running|Done|Failed)$"))

    def wait_connected(self, seconds: float = 30) -> None:
        expect(self.badge).to_contain_text("Connected (", timeout=seconds * 1000)

    def send(self, text: str) -> None:
        self.composer.fill(text)
        self.composer.press("Enter")
