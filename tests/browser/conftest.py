"""One Jupyter server and one browser for all browser tests; a context, an agent server and a notebook for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright
from tests.browser import chromium
from tests.browser.lab import Jupyter, NotebookPage
from tests.processes import AgentServer

OPEN_CHAT = "from edchat_widget import Chat\nchat = Chat(url={url!r}, data_dir={data!r}, session={session!r})\nchat"


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    import sys

    old = Path(sys.prefix) / "ipykernel-6.31.0"
    server = Jupyter(tmp_path_factory.mktemp("jupyter"), old_ipykernel=old if old.exists() else None).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    started = playwright.chromium.launch(executable_path=chromium.find_installed(), args=chromium.ARGUMENTS)
    yield started
    started.close()


@pytest.fixture
def browser_context(browser: Browser, jupyter: Jupyter) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(20_000)
    yield context
    context.close()
    jupyter.shutdown_kernels()


@pytest.fixture
def agent_server(tmp_path: Path) -> Iterator[AgentServer]:
    with AgentServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[AgentServer]:
    """One whose answers take seconds to stream."""
    with AgentServer(tmp_path / "server", pace=8) as server:
        yield server


@pytest.fixture
def notebook(
    jupyter: Jupyter, browser_context: BrowserContext, tmp_path: Path
) -> Iterator[Callable[..., NotebookPage]]:
    """Make a notebook whose first cell opens a chat on `server`, open it, run that cell."""
    opened: list[NotebookPage] = []

    def make(server: AgentServer, *cells: str, kernel: str = "python3", classic: bool = False,
             session: str = "s-1", first: str = OPEN_CHAT) -> NotebookPage:
        name = f"{tmp_path.name}-{len(opened)}.ipynb"
        source = first.format(url=server.url, data=str(tmp_path / "kernel"), session=session)
        NotebookPage.write(jupyter, name, [source, *cells], kernel=kernel)
        page = NotebookPage(browser_context, jupyter, name, classic=classic).open()
        opened.append(page)
        page.run(0)
        return page

    yield make
    for page in opened:
        assert page.problems == [], page.problems
        assert page.foreign == [], page.foreign
