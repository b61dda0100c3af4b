"""The panel in the host's light and dark theme. With EDCHAT_UPDATE_SCREENSHOTS=1 it takes the README's pictures."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.lab import Jupyter, NotebookPage
from tests.processes import AgentServer

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
Open = Callable[..., NotebookPage]
LUMINANCE = """(e) => {
  const [r, g, b] = getComputedStyle(e).PROPERTY.match(/[\\d.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_panel_follows_the_theme(
    notebook: Open, agent_server: AgentServer, jupyter: Jupyter, theme: str, tmp_path: Path
) -> None:
    jupyter.theme(f"JupyterLab {theme.title()}")
    try:
        page = notebook(agent_server)
    finally:
        jupyter.theme("JupyterLab Light")
    panel = page.panel()
    panel.wait_connected()
    panel.send("Create a P1 story for user authentication in the Security epic")
    expect(panel.story_cards).to_have_count(1)
    expect(panel.answers.first).to_contain_text("points")
    surface = panel.root.locator(".panel")
    background = surface.evaluate(LUMINANCE.replace("PROPERTY", "backgroundColor"))
    text = panel.story_cards.first.evaluate(LUMINANCE.replace("PROPERTY", "color"))
    assert (background > 0.8 and text < 0.3) if theme == "light" else (background < 0.25 and text > 0.6)
    surface.evaluate("e => { e.style.height = '620px' }")  # as dragging its corner does
    page.page.mouse.move(0, 0)
    page.page.wait_for_timeout(500)
    shot = panel.root.screenshot(path=tmp_path / f"panel-{theme}.png")
    if os.environ.get("EDCHAT_UPDATE_SCREENSHOTS") == "1":
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / f"panel-{theme}.png").write_bytes(shot)
