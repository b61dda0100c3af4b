"""`doctor`: what is there, what answers, and what to do about what does not."""

import argparse
import json
import sys
from pathlib import Path

from . import surroundings
from ._io import launcher, portal
from ._io.transport import Endpoint
from .errors import EdChatError, SettingsError
from .report import Check, Report, Verdict
from .settings import Settings, signs_of_host

__all__ = ["Check", "Report", "doctor"]

_TIMEOUT = 60.0


def doctor(url: str | None = None, *, token: str | None = None, data_dir: str | Path | None = None) -> Report:
    """Check versions, the host, the disk, proxies, the server, its token, the WebSocket and the event stream.

    It starts nothing: a bundled server that does not run is a fact, since a chat starts it.

    Raises:
        SettingsError: an argument or an environment variable has a value that it cannot take.
    """
    settings = Settings.load(url=url, token=token, data_dir=data_dir)
    checks = surroundings.checks(settings.data_dir, settings.url, signs_of_host())
    endpoint = Endpoint(settings.url, settings.token) if settings.url else None
    if endpoint is None:
        record = launcher.find(settings.data_dir)
        text = f"running at {record.url} (pid {record.pid})" if record else "not running; a chat starts it"
        checks.append(Check("bundled server", "fact", text))
        endpoint = record.endpoint if record else None
    if endpoint is not None:
        checks += _reach(endpoint, websocket=settings.enable_websocket)
    return Report(tuple(checks))


def _reach(endpoint: Endpoint, *, websocket: bool) -> list[Check]:
    from ._io.examination import examine

    lease = portal.lease()
    try:
        found = lease.portal.call(lambda: examine(endpoint, websocket=websocket), _TIMEOUT)
    except EdChatError as exc:
        return [Check("server", "fail", exc.reason, exc.hint)]
    finally:
        lease.release()
    return [Check(f.name, _verdict(f.verdict), f.text, f.cure) for f in found]


def _verdict(word: str) -> Verdict:
    match word:
        case "ok" | "warn" | "fail" as verdict:
            return verdict
        case _:
            return "fact"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``edchat doctor``. A token comes from EDCHAT_TOKEN: others can read a command's options."""
    parser.add_argument("--url", help="the server's address (EDCHAT_URL; without one, the bundled server)")
    parser.add_argument("--data-dir", metavar="DIR", help="the chat's data folder (EDCHAT_DATA_DIR)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(given: argparse.Namespace) -> int:
    """Print the report; return the exit code: 0, or 1 where something fails, or 2 for a setting that cannot be."""
    try:
        report = doctor(given.url, data_dir=given.data_dir)
    except SettingsError as exc:
        sys.stderr.write(f"edchat: {exc}\n")
        return 2
    text = json.dumps(report.to_dict(), indent=2) if given.json else repr(report)
    sys.stdout.write(f"{text}\n")
    return 0 if report.ok else 1
