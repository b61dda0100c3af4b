"""Mouse and keyboard on the panel where the notebook listens as well."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, expect
from tests.browser.lab import NotebookPage
from tests.processes import AgentServer

Open = Callable[..., NotebookPage]
IN_FIELD = "() => document.activeElement?.shadowRoot?.activeElement?.tagName === 'TEXTAREA'"


def click_middle(page: NotebookPage, target: Locator) -> None:
    """Click where a person would, whatever is there."""
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def cells(page: NotebookPage) -> list[str]:
    return page.page.locator(".jp-Notebook .jp-Cell .cm-content").all_inner_texts()


def test_a_click_into_the_composer_of_a_fresh_panel_takes_a_sentence(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server, "kept = 1", "also_kept = 2")
    panel = page.panel()
    panel.wait_connected()
    before = cells(page)
    # Only a display whose module is loaded already renders before it is attached.
    for come in ("first", "again", "reload"):
        if come == "again":
            page.run(0)
        elif come == "reload":
            page.save()
            page.reload()
        expect(panel.root).to_be_visible()
        click_middle(page, panel.root.locator(".composer"))
        page.page.keyboard.type("add a bug: dd jobs export, a P1")
        expect(panel.composer).to_have_value("add a bug: dd jobs export, a P1")
        assert cells(page) == before
        panel.composer.fill("")


def test_a_click_beside_every_control_keeps_letters_from_the_cells(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server, "kept = 1", "also_kept = 2")
    panel = page.panel()
    panel.wait_connected()
    before = cells(page)
    for place in (".keys", "h2", ".empty h3", "footer", ".badge"):
        click_middle(page, panel.root.locator(place))
        page.page.keyboard.type("dda")
        page.page.keyboard.press("Delete")
        assert cells(page) == before, place
        expect(panel.composer).to_have_value("dda")
        panel.composer.fill("")
        page.page.keyboard.press("Escape")
        # out of the panel, so that the next click starts anew
        page.cell(1).locator(".cm-content").click()
        page.page.keyboard.press("Escape")


def test_stop_leaves_the_composer_focused_and_both_views_at_the_end(notebook: Open, slow_server: AgentServer) -> None:
    page = notebook(slow_server, "chat")
    page.run(1)
    views = [page.panel(0), page.panel(1)]
    views[0].wait_connected()
    for count in (1, 2):
        views[0].send("What can you do?")
        expect(views[0].answers).to_have_count(count)
        stop = views[0].root.get_by_role("button", name="Stop")
        click_middle(page, stop)
        expect(stop).to_have_count(0)
        expect(views[0].answers.last.locator(".ending")).to_have_text("Stopped")
        assert page.page.evaluate(IN_FIELD)
    for view in views:
        expect(view.answers).to_have_count(2)
        log = view.root.get_by_role("log").element_handle()
        page.page.wait_for_function("e => e.scrollHeight - e.scrollTop - e.clientHeight < 2", arg=log)
        expect(view.root.get_by_role("button", name="Jump to latest")).to_have_count(0)


class ServerWithoutModel(AgentServer):
    """One whose model cannot be made: it takes messages and lets every run fail."""

    def _healthy(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/health", timeout=1).close()
        except urllib.error.HTTPError as answer:
            return answer.code == 503
        except OSError:
            return False
        return True


def test_a_run_that_fails_shows_one_error_and_one_retry(notebook: Open, tmp_path: Path) -> None:
    with ServerWithoutModel(tmp_path / "failing", env={"EDCHAT_MODEL": "nobody:nothing"}) as server:
        page = notebook(server)
        panel = page.panel()
        panel.wait_connected()
        panel.send("Create a P1 story for user authentication")
        expect(panel.root.get_by_role("region", name="Error")).to_have_count(1, timeout=60_000)
        expect(panel.users.first).not_to_contain_text("Not sent")
        expect(panel.root.get_by_role("button", name="Retry")).to_have_count(1)
