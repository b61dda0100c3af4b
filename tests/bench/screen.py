"""On screen, in a real JupyterLab in a real browser: from the model's hand to the painted frame."""

import json
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import sync_playwright
from tests.bench.wire import server
from tests.browser import chromium
from tests.browser.conftest import OPEN_CHAT
from tests.browser.lab import Jupyter, NotebookPage

# At each animation frame: which markers does the last answer show? Stamped after that frame is painted.
PROBE = """
(count) => {
  const shown = (window.__shown = {}), now = () => performance.timeOrigin + performance.now();
  const root = document.querySelector('.edchat-host').shadowRoot;
  root.addEventListener('keydown', (e) => { if (e.key === 'Enter') window.__sent = now(); }, true);
  const channel = new MessageChannel();
  let next = 0, fresh = [];
  channel.port1.onmessage = () => { const t = now(); for (const k of fresh) shown[k] = t; fresh = []; };
  const tick = () => {
    const answers = root.querySelectorAll('article.assistant, article.answer, article[aria-label^="Answer"]');
    const text = answers.length ? answers[answers.length - 1].textContent : '';
    while (next < count && text.includes('m' + String(next).padStart(5, '0') + 'x')) fresh.push(next++);
    if (fresh.length) channel.port2.postMessage(0);
    if (next < count) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}
"""

# When is the cell run, and when is the panel there?
APPEARS = """
() => {
  document.addEventListener('keydown', (e) => { if (e.key === 'Enter' && e.ctrlKey) window.__ran = performance.now(); },
    true);
  const tick = () => {
    const host = document.querySelector('.edchat-host');
    if (host?.shadowRoot?.querySelector('.panel')) window.__appeared = performance.now();
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}
"""


def measure(folder: Path, *, quick: bool) -> dict[str, dict[str, float]]:
    found = _measure(folder / "nodelay", quick=quick)
    plain = _measure(folder / "nagle", quick=quick, nagle=True)
    lag = "token → screen at 100 tokens/s"
    return found | {f"{lag}, without the Jupyter server extension": plain[lag]}


def _measure(folder: Path, *, quick: bool, nagle: bool = False) -> dict[str, dict[str, float]]:
    count, rounds = (300, 1) if quick else (1000, 3)
    folder.mkdir()
    stamps = folder / "screen-stamps.json"
    appeared: list[float] = []
    first: list[float] = []
    lags: list[float] = []
    jupyter = Jupyter(folder / "jupyter", nagle=nagle).start()
    try:
        with server("tests.bench.scripted_server", folder / "screen", stamps) as (url, _), sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium.find_installed(), args=chromium.ARGUMENTS)
            for number in range(rounds):
                source = OPEN_CHAT.format(url=url, data=str(folder / "kernel"), session=f"bench-{number}")
                NotebookPage.write(jupyter, "bench.ipynb", [source])
                page = NotebookPage(browser.new_context(viewport={"width": 1300, "height": 1000}), jupyter,
                                    "bench.ipynb").open()
                page.page.evaluate(APPEARS)
                page.run(0)
                panel = page.panel()
                panel.wait_connected()
                appeared.append(page.page.evaluate("window.__appeared - window.__ran"))
                panel.send("warm up")
                panel.answers.first.get_by_text("backlog").wait_for()
                page.page.wait_for_timeout(1000)
                stamps.unlink(missing_ok=True)
                page.page.evaluate(PROBE, count)
                panel.send(f"stream {count} 100")
                page.page.wait_for_function(f"Object.keys(window.__shown).length === {count}", timeout=60_000)
                shown = {int(k): t for k, t in page.page.evaluate("window.__shown").items()}
                page.page.wait_for_timeout(500)
                emitted = json.loads(stamps.read_text(encoding="utf-8"))
                first.append(shown[0] - page.page.evaluate("window.__sent"))
                lags += [shown[k] - emitted[k] for k in range(count)]
                page.page.close()
                jupyter.shutdown_kernels()
            browser.close()
    finally:
        jupyter.stop()
    cuts = quantiles(lags, n=100)
    return {
        "cell run → panel on screen": {"median ms": median(appeared)},
        "send → first token on screen": {"median ms": median(first)},
        "token → screen at 100 tokens/s": {"p50 ms": cuts[49], "p95 ms": cuts[94], "p99 ms": cuts[98],
                                           "tokens": len(lags)},
    }
