"""The notebooks that we ship run from top to bottom in a real kernel against the bundled server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_runs_without_error(path: Path, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDCHAT_")}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/headless.py", path], capture_output=True, text=True, check=False, timeout=110,
        env={**env, "EDCHAT_DATA_DIR": str(tmp_path), "EDCHAT_OFFLINE_PACE": "400", "IPYTHONDIR": str(tmp_path / "ip")},
    )
    assert done.returncode == 0, done.stderr
    if path.stem == "01_quickstart":
        assert done.stdout.strip() == "STORY-1 · P1 · User authentication · Security"
