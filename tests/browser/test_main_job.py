"""A PM's sentence becomes a story card, in a real JupyterLab in a real browser."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, expect
from tests.browser.lab import Jupyter, NotebookPage
from tests.processes import AgentServer, wait_until

SENTENCE = "Create a P1 story for user authentication"
Open = Callable[..., NotebookPage]


def expect_one_story(page: NotebookPage, nth: int = 0) -> None:
    panel = page.panel(nth)
    expect(panel.users).to_have_count(1)
    expect(panel.answers).to_have_count(1)
    expect(panel.story_cards).to_have_count(1)
    card = panel.story_cards.first
    for text in ("STORY-1", "User authentication", "P1", "Security", "Backlog", "Acceptance criteria"):
        expect(card).to_contain_text(text)


def test_a_typed_sentence_becomes_a_story_card(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server)
    panel = page.panel()
    expect(panel.root).to_be_visible()
    panel.wait_connected()
    assert re.search(r"Connected \((<1|\d+) ?ms\)", panel.badge.inner_text())
    panel.send(SENTENCE)
    expect(panel.users).to_have_count(1)
    expect(panel.users.first).to_contain_text(SENTENCE)
    expect(panel.tool_cards.first).to_contain_text("Create story")
    expect(panel.tool_cards.first).to_contain_text("Done")
    expect_one_story(page)
    expect(panel.composer).to_have_value("")
    assert [s["id"] for s in agent_server.stories()] == ["STORY-1"]


def test_the_keyboard_alone_is_enough(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server)
    panel = page.panel()
    panel.wait_connected()
    panel.composer.focus()
    page.page.keyboard.type("Create a P2 story for password reset")
    page.page.keyboard.press("Shift+Enter")
    page.page.keyboard.type("in the Security epic")
    expect(panel.users).to_have_count(0)
    page.page.keyboard.press("Enter")
    expect(panel.story_cards.first).to_contain_text(re.compile("password reset", re.IGNORECASE))
    expect(panel.composer).to_be_focused()


def test_keys_do_not_leak_to_the_notebook(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server, "kept = 1", "also_kept = 2")
    panel = page.panel()
    panel.wait_connected()
    before = [page.cell(i).locator(".cm-content").first.inner_text() for i in range(3)]
    panel.composer.click()
    for key in ("d", "d", "a", "b", "x", "z", "m", "y", "0", "0", "Delete", "Backspace", "ArrowUp", "Control+Enter",
                "Alt+Enter", "Shift+Enter"):
        page.page.keyboard.press(key)
    assert page.page.locator(".jp-Notebook .jp-Cell").count() == 3
    assert [page.cell(i).locator(".cm-content").first.inner_text() for i in range(3)] == before
    assert page.prompt(0) == "[1]:"
    assert page.prompt(1).strip() == "[ ]:"
    # outside the composer too: a focused button inside the panel
    panel.root.get_by_role("button").first.focus()
    for key in ("d", "d", "a", "x"):
        page.page.keyboard.press(key)
    assert page.page.locator(".jp-Notebook .jp-Cell").count() == 3


def test_asking_from_a_cell_shows_in_the_panel(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(
        agent_server,
        f"reply = chat.ask({SENTENCE!r})\nprint(reply.stories[0], reply.run_id is not None, len(reply.tool_calls))",
    )
    page.run(1)
    assert "STORY-1 · P1 · User authentication · Security True 1" in page.output(1)
    expect_one_story(page)


def test_everything_is_there_once_after_reload_second_view_tab_and_kernel_restart(
    notebook: Open, agent_server: AgentServer, jupyter: Jupyter, browser_context: BrowserContext
) -> None:
    page = notebook(agent_server, "chat")
    page.panel().wait_connected()
    page.panel().send(SENTENCE)
    expect_one_story(page)
    # a second view of the same chat in another cell
    page.run(1)
    expect_one_story(page, 1)
    # both views are live
    page.panel(1).send("Show STORY-1")
    expect(page.panel(0).answers).to_have_count(2)
    expect(page.panel(1).answers).to_have_count(2)
    # a reload of the page
    page.save()
    page.reload()
    expect(page.panel().answers).to_have_count(2)
    expect(page.panel().users).to_have_count(2)
    # a second tab on the same kernel
    tab = NotebookPage(browser_context, jupyter, page.name).open()
    expect(tab.panel().answers).to_have_count(2)
    tab.panel().send("How many stories are there?")
    expect(page.panel().answers).to_have_count(3)
    expect(tab.panel().answers).to_have_count(3)
    tab.page.close()
    # a new kernel
    jupyter.shutdown_kernels()
    page.page.goto("about:blank")
    again = NotebookPage(browser_context, jupyter, page.name).open()
    again.run(0)
    expect(again.panel().users).to_have_count(3)
    expect(again.panel().answers).to_have_count(3)
    assert [s["id"] for s in agent_server.stories()] == ["STORY-1"]
    assert again.problems == []


def test_tokens_stream(notebook: Open, slow_server: AgentServer) -> None:
    page = notebook(slow_server)
    panel = page.panel()
    panel.wait_connected()
    panel.send("What can you do?")
    lengths: list[int] = []

    def grown() -> bool:
        if panel.answers.count():
            lengths.append(len(panel.answers.first.inner_text()))
        return len(set(lengths)) >= 6

    wait_until(grown, seconds=20, what="six different lengths of the growing answer")
    assert lengths == sorted(lengths)
    stop = panel.root.get_by_role("button", name="Stop")
    stop.click()
    expect(panel.answers.first).to_contain_text("Stopped")


def test_notebook_7(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server, classic=True)
    page.panel().wait_connected()
    page.panel().send(SENTENCE)
    expect_one_story(page)


def test_empty_and_oversized_messages_are_not_sent(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server)
    panel = page.panel()
    panel.wait_connected()
    panel.send("   ")
    panel.composer.fill("x" * 65_537)
    panel.composer.press("Enter")
    expect(panel.root).to_contain_text(re.compile("64 ?KiB"))
    assert len(panel.composer.input_value()) == 65_537
    expect(panel.users).to_have_count(0)


def test_a_failed_tool_shows_the_reason_and_retry(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server)
    panel = page.panel()
    panel.wait_connected()
    panel.send("Set STORY-99 to P0")
    failed = panel.root.get_by_role("region", name=re.compile(": Failed$"))
    expect(failed).to_contain_text("STORY-99")
    retry = failed.get_by_role("button", name="Retry")
    retry.click()
    expect(panel.users).to_have_count(2)
    expect(panel.answers).to_have_count(2)


def test_the_bundled_server_starts_by_itself_and_the_saved_notebook_holds_no_secret(
    notebook: Open, agent_server: AgentServer, jupyter: Jupyter, tmp_path: Path
) -> None:
    page = notebook(
        agent_server, "chat", "from edchat_widget import launch\nlaunch(data_dir={data!r}).stop()".format(
            data=str(tmp_path / "kernel")),
        first="from edchat_widget import Chat\nchat = Chat(data_dir={data!r}, session={session!r})\nchat",
    )
    panel = page.panel()
    panel.wait_connected(60)
    panel.send(SENTENCE)
    expect_one_story(page)
    page.run(1)
    page.save()
    saved = (jupyter.root / page.name).read_text(encoding="utf-8")
    token = json.loads((tmp_path / "kernel/server.json").read_text(encoding="utf-8"))["token"]
    assert token not in saved
    outputs = json.loads(saved)["cells"][1]["outputs"][0]["data"]
    assert "application/vnd.jupyter.widget-view+json" in outputs
    for kind in ("text/html", "text/markdown", "text/plain"):
        text = "".join(outputs[kind])
        assert SENTENCE in text
        assert "STORY-1" in text
    assert len(saved) < 100_000
    page.run(2)
    expect(panel.badge).not_to_contain_text("Connected (")
