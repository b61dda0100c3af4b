"""What a person sees when the server dies, and that nothing is lost or doubled."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect
from tests.browser.lab import NotebookPage
from tests.processes import AgentServer, wait_until

from edchat_widget._io import launcher

Open = Callable[..., NotebookPage]

FEW_ATTEMPTS = (
    "from edchat_widget import Chat\n"
    "chat = Chat(url={url!r}, data_dir={data!r}, session={session!r}, max_reconnect_attempts=2, "
    "reconnect_interval=0.1)\nchat"
)


def test_kill_9_under_a_streaming_answer(notebook: Open, slow_server: AgentServer) -> None:
    page = notebook(slow_server)
    panel = page.panel()
    panel.wait_connected()
    panel.send("Create a P1 story for user authentication")
    expect(panel.story_cards).to_have_count(1)
    slow_server.kill()  # the tool has acted; the answer is still streaming
    expect(panel.badge).to_contain_text(re.compile(r"Reconnecting \(attempt \d+\)"))
    for title in ("Password reset", "Audit log", "Single sign-on"):
        panel.send(f"Create a P2 story for {title}")
    expect(panel.users).to_have_count(4)
    expect(panel.users.last).to_contain_text(re.compile("queued", re.IGNORECASE))
    slow_server.start()
    panel.wait_connected(60)
    wait_until(lambda: len(slow_server.stories()) == 4, seconds=60, what="four stories")
    expect(panel.answers).to_have_count(4, timeout=60_000)
    expect(panel.story_cards).to_have_count(4, timeout=60_000)
    titles = [s["title"] for s in sorted(slow_server.stories(), key=lambda s: int(s["id"].split("-")[1]))]
    assert titles == ["User authentication", "Password reset", "Audit log", "Single sign-on"]
    cards = panel.story_cards.all_inner_texts()
    assert [re.search(r"STORY-\d+", text)[0] for text in cards] == [f"STORY-{n}" for n in (1, 2, 3, 4)]  # type: ignore[index]


def test_attempts_used_up_then_retry(notebook: Open, agent_server: AgentServer) -> None:
    page = notebook(agent_server, first=FEW_ATTEMPTS)
    panel = page.panel()
    panel.wait_connected()
    agent_server.kill()
    expect(panel.badge).to_contain_text("Disconnected", timeout=30_000)
    panel.send("Create a P1 story for user authentication")
    expect(panel.users).to_have_count(1)
    agent_server.start()
    retry = panel.root.get_by_role("button", name="Retry").first
    if retry.is_visible():
        retry.click()
    panel.wait_connected()
    expect(panel.story_cards).to_have_count(1)
    assert len(agent_server.stories()) == 1


def test_the_hundred_and_first_message_is_refused_and_none_is_dropped(
    notebook: Open, agent_server: AgentServer
) -> None:
    page = notebook(agent_server, "runs = [chat.send(f'Create a P3 story for item number {n}') for n in range(100)]")
    panel = page.panel()
    panel.wait_connected()
    agent_server.kill()
    page.run(1)
    expect(panel.users).to_have_count(100)
    panel.send("One too many")
    expect(panel.root).to_contain_text(re.compile("100 messages"))
    expect(panel.composer).to_have_value("One too many")
    agent_server.start()
    panel.wait_connected(60)
    wait_until(lambda: len(agent_server.stories()) == 100, seconds=90, what="100 stories")
    titles = [s["title"] for s in sorted(agent_server.stories(), key=lambda s: int(s["id"].split("-")[1]))]
    assert [int(re.search(r"\d+", t)[0]) for t in titles] == list(range(100))  # type: ignore[index]


def test_the_server_on_this_machine_goes_on_and_gives_back(
    notebook: Open, agent_server: AgentServer, tmp_path: Path
) -> None:
    first = FEW_ATTEMPTS.replace("{session!r}", "{session!r}, failover='ask'")
    page = notebook(agent_server, "chat.reconnect()", first=first)
    panel = page.panel()
    panel.wait_connected()
    try:
        panel.send("Create a P1 story for user authentication")
        expect(panel.story_cards).to_have_count(1)
        agent_server.kill()
        go_on = panel.root.get_by_role("button", name="Go on here")
        expect(go_on).to_be_visible(timeout=30_000)
        panel.send("Create a P2 story for data export")
        expect(panel.users.last).to_contain_text("Queued until the connection is back")
        go_on.press("Enter")
        expect(panel.story_cards).to_have_count(2, timeout=60_000)
        expect(panel.root.get_by_role("note")).to_contain_text("From here on the server on this machine")
        expect(panel.root.locator(".strip")).to_contain_text("answers in its place")
        agent_server.start()
        page.run(1)
        panel.root.get_by_role("button", name="Return").click(timeout=30_000)
        expect(panel.story_cards).to_have_count(1)
        expect(panel.root.get_by_role("note")).to_contain_text("Here 1 message went to the server on this machine")
        assert len(agent_server.stories()) == 1
    finally:
        launcher.stop(tmp_path / "kernel")
