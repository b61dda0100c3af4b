"""`doctor`: what is there, what answers, and what to do about what does not."""

import importlib.util
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from edchat_protocol import PROTOCOL
from edchat_protocol.frames import HelloData

from ._io import launcher, portal
from ._io.driver import new_id
from ._io.transport import Endpoint, connect
from ._version import version
from .errors import EdChatError
from .settings import Settings

__all__ = ["Check", "Report", "doctor"]

_PACKAGES = (
    "anywidget", "ipykernel", "jupyterlab", "notebook", "websockets", "httpx", "langgraph", "langchain",
)


@dataclass(frozen=True)
class Check:
    """One finding. `ok` None: a fact, neither good nor bad."""

    name: str
    ok: bool | None
    text: str

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "    "}[self.ok]
        return f"{mark} {self.name}: {self.text}"


@dataclass(frozen=True)
class Report:
    """All findings. No token is in it."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(c.ok is not False for c in self.checks)

    def __repr__(self) -> str:
        return "\n".join(str(c) for c in self.checks)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def doctor(url: str | None = None, *, token: str | None = None, data_dir: str | Path | None = None) -> Report:
    """Check versions, the host, the server, the WebSocket and the token; return a report.

    It starts nothing: a bundled server that does not run is a fact, since a chat starts it.

    Raises:
        SettingsError: an argument or an environment variable has a value that it cannot take.
    """
    settings = Settings.load(url=url, token=token, data_dir=data_dir)
    checks = [*_versions(), _front_end()]
    endpoint = Endpoint(settings.url, settings.token) if settings.url else None
    if endpoint is None:
        record = launcher.find(settings.data_dir)
        text = f"running at {record.url} (pid {record.pid})" if record else "not running; a chat starts it"
        checks.append(Check("bundled server", None, text))
        endpoint = record.endpoint if record else None
    if endpoint is not None:
        checks += _reach(endpoint, settings)
    return Report(tuple(checks))


def _versions() -> list[Check]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {installed(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    host = type(shell).__name__ if shell is not None else "plain Python"
    return [
        Check("edchat_widget", None, f"{version()}, protocol {PROTOCOL}"),
        Check("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.system()}"),
        Check("packages", None, ", ".join(found)),
        Check("host", None, host),
    ]


def _front_end() -> Check:
    spec = importlib.util.find_spec("edchat_widget")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    there = (folder / "static" / "widget.js").is_file()
    return Check("panel", there, "installed" if there else "not built; run python3 run.py build")


def _reach(endpoint: Endpoint, settings: Settings) -> list[Check]:
    lease = portal.lease()
    try:
        return [
            _try(lease.portal, "server", lambda: _health(endpoint)),
            _try(lease.portal, "WebSocket", lambda: _websocket(endpoint))
            if settings.enable_websocket else Check("WebSocket", None, "switched off"),
        ]
    finally:
        lease.release()


def _try(owner: portal.Portal, name: str, work: "Callable[[], object]") -> Check:
    try:
        return Check(name, True, str(owner.call(work, 20.0)))  # type: ignore[arg-type]
    except EdChatError as exc:
        return Check("token" if exc.code in ("unauthorized", "forbidden") else name, False, str(exc))


async def _health(endpoint: Endpoint) -> str:
    from ._io.http import get_json

    await get_json(endpoint, "/health", {})
    return f"answers at {endpoint.url}"


async def _websocket(endpoint: Endpoint) -> str:
    hello = HelloData(proto=PROTOCOL, session="doctor", client=new_id(), conn=1)
    transport = await connect(endpoint, "ws", hello)
    try:
        speaks = transport.subprotocol or "version 1"
        return f"opens, speaking {speaks}; the token is accepted" if endpoint.token else f"opens, speaking {speaks}"
    finally:
        await transport.close()
