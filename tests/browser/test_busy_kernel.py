"""The panel while a cell runs."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.lab import OLD_KERNEL, Jupyter, NotebookPage
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


@pytest.mark.parametrize("reloaded", [False, True], ids=["same_page", "page_reloaded"])
def test_a_message_that_waits_for_a_cell_outlives_the_kernel_and_is_asked_once(
    notebook: Open, agent_server: AgentServer, jupyter: Jupyter, reloaded: bool
) -> None:
    if not (Path(sys.prefix) / "ipykernel-6.31.0").exists():
        pytest.skip("run.py test installs the old ipykernel; this environment was not made by it")
    page = notebook(agent_server, "import time\ntime.sleep(120)", kernel=OLD_KERNEL)
    page.panel().wait_connected()
    page.save()
    page.run(1, wait=False)
    page.panel().send("Create a P1 story for user authentication")
    expect(page.panel().users).to_contain_text("Queued until the cell finishes")
    jupyter.restart_kernels()
    if reloaded:
        page.reload()
    page.wait_idle()
    page.run(0)
    expect(page.panel().story_cards).to_have_count(1, timeout=30_000)
    expect(page.panel().users).to_have_count(1)
    assert len(agent_server.stories()) == 1
