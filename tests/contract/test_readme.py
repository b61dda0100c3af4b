"""What README.md says is true: its Python runs, its settings and its verbs exist."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from edchat_widget import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run(tmp_path: Path) -> None:
    block = re.search(r"## Ten lines\n\n```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    code = block[1] + (
        "\nassert run.result().stories[0].status == 'In Progress', run.result()\n"
        "assert [s.id for s in chat.stories(priority='P1', status='In Progress')] == ['STORY-1']\n"
        "chat.close()\nimport edchat_widget\nedchat_widget.launch().stop()\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDCHAT_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=100,
        env={**env, "EDCHAT_DATA_DIR": str(tmp_path), "EDCHAT_OFFLINE_PACE": "400"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "STORY-1 User authentication P1" in done.stdout


def test_every_setting_is_in_the_table() -> None:
    table = set(re.findall(r"^\| `EDCHAT_\w+` \| `(\w+)`", README, re.MULTILINE))
    assert table == {field.name for field in fields(Settings)} - {"notebook", "person"}


def test_the_environment_variables_are_read(tmp_path: Path) -> None:
    rows = dict(re.findall(r"^\| `(EDCHAT_\w+)` \| `(\w+)`", README, re.MULTILINE))
    values = {"url": "http://127.0.0.1:9", "token": "t", "session": "s", "model": "m", "data_dir": str(tmp_path),
              "enable_websocket": "false", "heartbeat_interval": "7", "max_reconnect_attempts": "3",
              "reconnect_interval": "2", "failover": "auto"}
    assert set(rows.values()) == set(values)
    assert Settings.load({variable: values[name] for variable, name in rows.items()}) == Settings.load({}, **values)


def test_the_verbs_exist() -> None:
    done = subprocess.run([sys.executable, ROOT / "run.py"], capture_output=True, text=True, check=True)
    for verb in set(re.findall(r"python3 run\.py (\w+)", README)):
        assert f"run.py {verb}" in done.stdout


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README):
        path = target[0] or target[1]
        assert path.startswith("http") or (ROOT / path).exists(), path
