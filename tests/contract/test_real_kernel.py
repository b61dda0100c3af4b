"""Chat in a real kernel: magics, top-level await, threads, a restart, and what the saved notebook shows."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from edchat_widget import launch

ASK = "Create a P1 story for user authentication in the Security epic"
CELLS = (
    "from edchat_widget import Chat; chat = Chat(session='s')\n"
    f"reply = await chat.aask({ASK!r}); print(reply.stories[0])",
    "print(''.join([e.text async for e in chat.astream('list my stories') if e.type == 'token']))",
    "import threading; said = []\n"
    "thread = threading.Thread(target=lambda: said.append(chat.ask('list my stories').state))\n"
    "thread.start(); thread.join(); print(said)",
    "%load_ext edchat_widget",
    "answer = %edchat list my stories\nprint(answer.state)",
    "%%edchat --session s\nCreate a P0 story for password reset",
    "print(len(chat.messages), chat.connection.state)",
    "%edchat",
    "chat.close()",
)
AGAIN = ("from edchat_widget import Chat; chat = Chat(session='s'); chat",)


def run(home: Path, cells: tuple[str, ...]) -> list[Any]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDCHAT_")}
    env |= {"EDCHAT_DATA_DIR": str(home), "EDCHAT_OFFLINE_PACE": "400", "IPYTHONDIR": str(home / "ip")}
    client = NotebookClient(notebook, timeout=60, allow_errors=True, extra_arguments=["--IPKernelApp.log_level=ERROR"])
    client.create_kernel_manager()
    client.execute(env=env)
    return [cell.outputs for cell in notebook.cells]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    launch(data_dir=tmp_path).stop()


def printed(outputs: list[Any]) -> str:
    assert [o.name for o in outputs if o.output_type == "stream"] in ([], ["stdout"])
    assert not [o for o in outputs if o.output_type == "error"]
    return "".join(o.text for o in outputs if o.output_type == "stream").strip()


@pytest.mark.skipif(sys.platform == "win32", reason="the event loop of pyzmq")
def test_magics_await_and_threads_do_what_a_script_does_and_a_new_kernel_shows_all_of_it(home: Path) -> None:
    asked, streamed, threaded, _, line, cell, count, empty, _ = run(home, CELLS)
    assert printed(asked) == "STORY-1 · P1 · User authentication · Security"
    assert "STORY-1" in printed(streamed)
    assert printed(threaded) == "['complete']"
    assert printed(line) == "complete"
    assert "Password reset" in cell[0].data["text/html"]
    assert printed(count) == "8 connected"  # the line magic has the notebook's own session
    assert "UsageError: The message is empty" in empty[0].text
    (shown,) = run(home, AGAIN)[0]
    assert "application/vnd.jupyter.widget-view+json" in shown.data
    for kind in ("text/html", "text/markdown", "text/plain"):
        assert "STORY-1" in shown.data[kind]
        assert "Password reset" in shown.data[kind]
