"""The Jupyter server extension: small messages to the browser leave at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "jupyter/edchat_widget.json"


def sockets(home: Path, *arguments: str) -> dict[str, Any]:
    config = home / "path/jupyter_server_config.d"
    config.mkdir(parents=True)
    (config / SHIPPED.name).write_bytes(SHIPPED.read_bytes())
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER_", "JPY_"))}
    env |= {"JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_CONFIG_PATH": str(config.parent),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home / "ipython")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.jupyter_sockets", str(home), *arguments],
        env=env, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_a_kernels_websocket_waits_for_no_acknowledgement(tmp_path: Path) -> None:
    seen = sockets(tmp_path, "--ZMQChannelsWebsocketConnection.limit_rate=False")
    assert seen["nodelay"] is True
    assert "ZMQChannelsWebsocketConnection" in seen["bases"], "another class than the configured one is in charge"
    assert seen["limited"] is False, "the configuration of the class was lost"


def test_the_extension_can_be_switched_off(tmp_path: Path) -> None:
    seen = sockets(tmp_path, "--ServerApp.jpserver_extensions={'edchat_widget.server_extension': False}")
    assert seen["nodelay"] is False
