"""The built panel in a real browser with a scripted kernel: what panel tests and screenshots start from.

``python -m tests.browser.panel_page OUT_DIR [scene ...]`` writes a picture of every scene in light and dark,
wide and narrow.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, sync_playwright
from tests.browser import chromium

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "http://panel.test"
TYPES = {".html": "text/html", ".js": "text/javascript"}
def _serve(route: Route) -> None:
    path = ROOT / route.request.url.removeprefix(ORIGIN).split("?")[0].lstrip("/")
    if path.is_dir():
        path /= "index.html"
    if path.is_file():
        route.fulfill(body=path.read_bytes(), content_type=TYPES.get(path.suffix, "application/octet-stream"))
    else:
        route.fulfill(status=404, body="")


def open_panel(
    browser: Browser, *, scene: str = "", theme: str = "", width: int = 760, height: int = 620
) -> tuple[Page, list[str]]:
    """The page with one panel in it, and the list that fills with whatever goes wrong there."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.route(f"{ORIGIN}/**", _serve)
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: troubles.append(line.text) if line.type in {"error", "warning"} else None)
    page.goto(f"{ORIGIN}/js/dev/?scene={scene}&theme={theme}")
    page.locator(".panel").wait_for()
    return page, troubles


def main(out: Path, wanted: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=chromium.ARGUMENTS)
        page, _ = open_panel(browser)
        scenes = wanted or page.evaluate("Object.keys(scenes)")
        page.close()
        for scene in scenes:
            for theme in ("light", "dark"):
                for width in (760, 320):
                    page, troubles = open_panel(browser, scene=scene, theme=theme, width=width, height=570)
                    page.wait_for_timeout(300)
                    page.screenshot(path=out / f"{scene}-{theme}-{width}.png")
                    for trouble in troubles:
                        print(scene, trouble)
                    page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
