"""What this process runs in: versions, the notebook's front-end, the disk, proxies."""

import platform
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from urllib.parse import urlsplit

from edchat_protocol import PROTOCOL

from ._version import version
from .errors import plain
from .report import Check

_PACKAGES = (
    "anywidget", "ipywidgets", "ipykernel", "jupyterlab", "notebook", "websockets", "httpx", "langgraph", "langchain",
)
_MANAGERS = {"jupyterlab": "jupyterlab_widgets", "notebook": "jupyterlab_widgets"}
LITTLE_SPACE = 200 * 1024 * 1024
NO_SPACE = 10 * 1024 * 1024


def checks(data_dir: Path, url: str | None, environ: Mapping[str, str]) -> list[Check]:
    """Return what is found around this process."""
    return [*_versions(), _host(environ), *_panel(), _disk(data_dir), *_proxies(url)]


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None


def _versions() -> list[Check]:
    found = [f"{name} {number}" if (number := _installed(name)) else f"no {name}" for name in _PACKAGES]
    return [
        Check("edchat_widget", "fact", f"{version()}, protocol {PROTOCOL}"),
        Check("python", "ok" if sys.version_info >= (3, 11) else "fail",
              f"{platform.python_version()} on {platform.system()}", None if sys.version_info >= (3, 11) else
              "Use Python 3.11 or newer."),
        Check("packages", "fact", ", ".join(found)),
    ]


def _host(environ: Mapping[str, str]) -> Check:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    kernel = type(shell).__name__ if shell is not None else "no IPython"
    names = shell.user_ns if shell is not None else {}
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in environ:
        host = "Google Colab"
    elif "__vsc_ipynb_file__" in names or "VSCODE_PID" in environ:
        host = "VS Code"
    elif "marimo" in sys.modules:
        host = "marimo"
    elif "JPY_SESSION_NAME" in environ:
        host = "a Jupyter server (JupyterLab or Notebook)"
    elif shell is not None and kernel == "ZMQInteractiveShell":
        host = "a notebook kernel"
    else:
        return Check("host", "fact", f"no notebook ({kernel}): the chat is scripted here, without a panel")
    return Check("host", "fact", f"{host}, {kernel}")


def _panel() -> list[Check]:
    built = (Path(__file__).parent / "static" / "widget.js").is_file()
    found = [Check("panel", "ok", "installed") if built else Check(
        "panel", "fail", "its front-end is not built", "Run: python3 run.py build")]
    for front_end, manager in _MANAGERS.items():
        if not _installed(front_end):
            continue
        if _installed(manager):
            found.append(Check("widget manager", "ok", f"{manager} {_installed(manager)} is there for {front_end}"))
        else:
            found.append(Check(
                "widget manager", "fail", f"{front_end} has none, so no panel can show",
                "Install ipywidgets where Jupyter runs (pip install ipywidgets), then reload the page."))
        break
    else:
        found.append(Check(
            "widget manager", "fact", "Jupyter is not installed beside this kernel; where it runs it needs ipywidgets"))
    return found


def _disk(data_dir: Path) -> Check:
    folder = data_dir
    while not folder.exists():
        folder = folder.parent
    cure = "Free some space or name another folder: EDCHAT_DATA_DIR or Chat(data_dir=…)."
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"edchat")
            file.flush()
        free = shutil.disk_usage(folder).free
    except OSError as exc:
        return Check("data folder", "fail", f"{data_dir} cannot be written: {plain(exc)}", cure)
    text = f"{data_dir} can be written, {free / 1e9:.1f} GB free"
    if free < NO_SPACE:
        return Check("data folder", "fail", text, cure)
    return Check("data folder", "warn" if free < LITTLE_SPACE else "ok", text, cure if free < LITTLE_SPACE else None)


def _proxies(url: str | None) -> list[Check]:
    proxies = {k: v for k, v in urllib.request.getproxies().items() if k in ("http", "https", "all", "ws", "wss")}
    if not proxies:
        return []
    # Proxies' addresses may hold passwords.
    named = ", ".join(f"{kind} through {_where(address)}" for kind, address in sorted(proxies.items()))
    host = urlsplit(url).hostname if url else None
    if host is None or urllib.request.proxy_bypass(host):
        return [Check("proxy", "fact", f"{named}; not used for the server")]
    return [Check(
        "proxy", "warn", f"{named}; the way to {host} may lead through it",
        f"If the WebSocket fails below, have the proxy let it through, or name {host} in NO_PROXY.")]


def _where(address: str) -> str:
    parts = urlsplit(address if "//" in address else f"//{address}")
    return f"{parts.hostname or '?'}:{parts.port}" if parts.port else parts.hostname or "?"

