"""The panel while a cell runs."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.lab import OLD_KERNEL, NotebookPage
from tests.processes import AgentServer, wait_until

Open = Callable[..., NotebookPage]

BUSY = "import time\nrun = chat.send('What can you do?')\nend = time.monotonic() + {seconds}\n" \
       "while time.monotonic() < end:\n    time.sleep(0.5)\nprint('the cell is done')"


@pytest.mark.parametrize("classic", [False, True], ids=["lab", "notebook7"])
def test_tokens_render_and_messages_go_out_while_a_cell_sleeps(
    notebook: Open, slow_server: AgentServer, classic: bool
) -> None:
    page = notebook(slow_server, BUSY.format(seconds=25), classic=classic)
    panel = page.panel()
    panel.wait_connected()
    page.run(1, wait=False)
    expect(panel.answers.first).to_be_visible()
    lengths: set[int] = set()

    def grows() -> bool:
        lengths.add(len(panel.answers.first.inner_text()))
        return len(lengths) > 5

    wait_until(grows, seconds=15, what="tokens while the cell sleeps")
    panel.send("Create a P1 story for user authentication")
    expect(panel.story_cards).to_have_count(1, timeout=20_000)
    assert page.prompt(1) == "[*]:", "the story must come while the cell still runs"


def test_without_subshells_a_message_waits_visibly_for_the_cell(notebook: Open, slow_server: AgentServer) -> None:
    if not (Path(sys.prefix) / "ipykernel-6.31.0").exists():
        pytest.skip("run.py test installs the old ipykernel; this environment was not made by it")
    page = notebook(slow_server, BUSY.format(seconds=12), kernel=OLD_KERNEL)
    panel = page.panel()
    panel.wait_connected()
    page.run(1, wait=False)
    expect(panel.answers.first).to_be_visible()
    panel.send("Create a P1 story for user authentication")
    expect(panel.users.last).to_contain_text("Queued until the cell finishes")
    before = len(panel.answers.first.inner_text())
    wait_until(lambda: len(panel.answers.first.inner_text()) > before, seconds=10, what="tokens while busy")
    expect(panel.story_cards).to_have_count(1, timeout=30_000)
    assert page.done(1)
    expect(panel.users).to_have_count(2)
