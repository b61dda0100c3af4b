"""The built panel with a scripted kernel: what screen and keyboard show without a notebook."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.browser.panel_page import open_panel

Open = Callable[..., Page]

SCENES = (
    "empty", "connecting", "story", "running", "typing", "streaming",
    "markdown", "stories", "trouble", "reconnecting", "unknown", "long",
)  # fmt: skip


@pytest.fixture
def panel(browser: Browser) -> Iterator[Open]:
    """Opens panels; at the end none of their pages may have thrown or logged."""
    opened: list[tuple[Page, list[str]]] = []

    def make(**how: Any) -> Page:
        opened.append(open_panel(browser, **how))
        page = opened[-1][0]
        page.set_default_timeout(5000)
        return page

    yield make
    for page, troubles in opened:
        page.close()
        assert troubles == []


def composer(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message").first


def intents(page: Page, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("kind => model.intents.filter(i => i.intent === kind)", kind)
    return found


def test_enter_shows_the_bubble_at_once_and_says_when_the_cell_is_in_the_way(panel: Open) -> None:
    page = panel(scene="empty")
    composer(page).fill("Create a story")
    composer(page).press("Enter")
    bubble = page.get_by_role("article", name="You")
    expect(bubble).to_contain_text("Create a story")
    expect(bubble).to_contain_text("Queued until the cell finishes")
    expect(composer(page)).to_have_value("")
    [intent] = intents(page, "submit")
    page.evaluate(
        """id => model.patch({op: "put", message: {id, role: "user", state: "accepted",
             parts: [{kind: "text", id: "t", text: "Create a story"}]}})""",
        intent["id"],
    )
    expect(bubble).to_have_count(1)
    expect(bubble).to_contain_text("Sent")
    expect(page.get_by_label("The agent is working")).to_be_visible()


def test_shift_enter_breaks_the_line_and_a_composition_is_not_sent(panel: Open) -> None:
    page = panel(scene="empty")
    composer(page).press_sequentially("one")
    composer(page).press("Shift+Enter")
    composer(page).press_sequentially("two")
    expect(composer(page)).to_have_value("one\ntwo")
    composer(page).dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "isComposing": True})
    composer(page).press("Enter")
    assert [i["text"] for i in intents(page, "submit")] == ["one\ntwo"]


def test_keys_and_clipboard_events_stay_inside_and_still_do_their_work(panel: Open) -> None:
    page = panel(scene="empty")
    page.evaluate(
        """() => {
          globalThis.leaked = [];
          const cell = document.getElementById("cell");
          for (const name of ["keydown", "keyup", "keypress", "paste", "copy", "cut", "input"])
            cell.addEventListener(name, (e) => leaked.push(e.type + " " + e.key));
        }"""
    )
    composer(page).click()
    page.keyboard.type("abc")
    for key in ("Control+a", "Control+c", "Delete", "Control+v", "Control+v", "d", "Escape", "Control+Enter"):
        page.keyboard.press(key)
    assert page.evaluate("leaked") == []
    assert [i["text"] for i in intents(page, "submit")] == ["abcabcd"]
    assert page.locator("[data-lm-suppress-shortcuts=true] .panel").count() == 1


def test_text_that_is_too_long_stays_with_the_reason(panel: Open) -> None:
    page = panel(scene="empty")
    composer(page).fill("x" * 65537)
    composer(page).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("64 KiB at most")
    assert len(composer(page).input_value()) == 65537
    assert intents(page, "submit") == []


def test_the_thread_follows_the_end_until_the_reader_scrolls_up(panel: Open) -> None:
    page = panel(scene="long")
    log = page.get_by_role("log")
    gap = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
    put = """n => model.patch({op: "put", message: {id: "n" + n, role: "assistant", state: "complete",
             parts: [{kind: "text", id: "t", text: "new\\n\\n".repeat(20)}]}})"""
    page.evaluate(put, 1)
    page.wait_for_function("document.querySelector('.edchat-host').shadowRoot.textContent.includes('new')")
    page.wait_for_timeout(100)
    assert log.evaluate(gap) < 2
    log.hover()
    page.mouse.wheel(0, -600)
    jump = page.get_by_role("button", name="Jump to latest")
    expect(jump).to_be_visible()
    place = log.evaluate("e => e.scrollTop")
    page.evaluate(put, 2)
    expect(jump).to_contain_text("1 new")
    assert abs(log.evaluate("e => e.scrollTop") - place) < 2
    jump.click()
    expect(jump).to_be_hidden()
    page.wait_for_timeout(100)
    assert log.evaluate(gap) < 2


def test_earlier_messages_come_without_moving_what_is_read(panel: Open) -> None:
    page = panel(scene="long")
    log = page.get_by_role("log")
    log.evaluate("e => { e.scrollTop = 0; }")
    first = page.get_by_role("article").first
    label = first.inner_text()
    page.get_by_role("button", name="Show earlier messages").click()
    page.wait_for_timeout(100)
    again = page.get_by_role("article").filter(has_text=label).last
    expect(again).to_be_in_viewport()
    assert page.get_by_role("article").count() == 120


def test_a_token_changes_nothing_but_the_block_that_it_belongs_to(panel: Open) -> None:
    page = panel(scene="streaming")
    page.evaluate("""() => model.patch({op: "text", id: "r1", part: "t1", text: ".\\n\\nSecond block"})""")
    expect(page.locator(".md > p")).to_have_count(2)
    page.evaluate(
        """() => {
          const root = document.querySelector(".edchat-host").shadowRoot;
          globalThis.touched = new Set();
          new MutationObserver((all) => all.forEach((m) => touched.add(m.target.textContent)))
            .observe(root, {subtree: true, childList: true, characterData: true, attributes: true}); }"""
    )
    page.evaluate("""() => model.patch({op: "text", id: "r1", part: "t1", text: " goes on"})""")
    expect(page.locator(".md > p").nth(1)).to_have_text("Second block goes on")
    assert page.evaluate("[...touched]") == ["Second block goes on"]


def test_a_second_view_shows_the_conversation_at_once_and_shares_the_draft(panel: Open) -> None:
    page = panel(scene="story")
    composer(page).fill("half a thou")
    page.evaluate("void show(document.body.appendChild(document.createElement('div')))")
    second = page.locator(".edchat-host .root").nth(1)
    expect(second.get_by_role("region", name="Story STORY-1")).to_be_visible()
    expect(second.get_by_role("textbox", name="Message")).to_have_value("half a thou")
    page.evaluate("cleanup()")
    expect(page.locator(".edchat-host")).to_have_count(1)
    assert len(intents(page, "ready")) == 1


def test_hostile_text_stays_text(panel: Open) -> None:
    page = panel(scene="empty")
    evil = "<img src=x onerror=pwned=1><script>pwned=1</script>[a](javascript:pwned=1) **ok**"
    page.evaluate(
        """text => {
          const said = {kind: "text", id: "t", text};
          const url = "javascript:pwned=1";
          const story = {kind: "artifact", id: "a", artifact: "story", data: {id: text, title: text, url}};
          const other = {kind: "artifact", id: "b", artifact: text, data: {html: text, url}};
          model.patch(
            {op: "put", message: {id: "u", role: "user", state: "answered", parts: [said]}},
            {op: "put", message: {
              id: "r", role: "assistant", state: "complete", parts: [said, story, other]}});
        }""",
        evil,
    )
    expect(page.get_by_role("article", name="Answer")).to_contain_text("<script>")
    assert page.evaluate("globalThis.pwned") is None
    assert page.locator("img, script:not([type=module]), a").count() == 0


def test_one_broken_part_shows_as_itself_and_breaks_nothing_else(panel: Open) -> None:
    page = panel(scene="empty")
    page.evaluate(
        """() => model.patch({op: "put", message: {id: "r", role: "assistant", state: "complete", parts: [
             {kind: "text", id: "a", text: {not: "text"}}, {kind: "text", id: "b", text: "still here"}]}})"""
    )
    expect(page.get_by_text("This part cannot be shown")).to_be_visible()
    expect(page.get_by_text("still here")).to_be_visible()


def test_a_kernel_that_is_gone_leaves_the_text_in_the_composer(panel: Open) -> None:
    page = panel(scene="empty")
    composer(page).fill("keep me")
    page.evaluate("model.kernelDies()")
    composer(page).press("Enter")
    expect(page.locator(".badge")).to_have_text("Disconnected")
    expect(page.get_by_role("alert").first).to_contain_text("The kernel is gone")
    expect(composer(page)).to_have_value("keep me")


def test_retry_stop_reconnect_and_new_chat_say_so_to_the_kernel(panel: Open) -> None:
    page = panel(scene="trouble")
    page.locator(".connection").get_by_role("button", name="Retry").click()
    page.locator(".card.error").get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Send again").click()
    assert intents(page, "reconnect") == [{"intent": "reconnect"}]
    assert [i["id"] for i in intents(page, "retry")] == ["u1", "u3"]
    page.get_by_role("button", name="New chat").click()
    assert intents(page, "clear") == []
    page.get_by_role("alertdialog").get_by_role("button", name="New chat").click()
    assert intents(page, "clear") == [{"intent": "clear"}]
    page.evaluate("model.snapshot(scenes.streaming)")
    page.get_by_role("button", name="Stop").click()
    assert intents(page, "cancel") == [{"intent": "cancel", "run": "r1"}]


def test_the_theme_is_the_hosts_even_if_it_attaches_the_element_later(panel: Open) -> None:
    page = panel(scene="story")
    page.evaluate(
        """() => {
          document.body.setAttribute("data-jp-theme-light", "false");
          const later = document.createElement("div");
          show(later);
          document.body.append(later);
          const marked = document.body.appendChild(document.createElement("div"));
          const inside = document.createElement("div");
          show(inside);
          marked.setAttribute("data-theme", "light");
          marked.append(inside);
        }"""
    )
    hosts = page.locator(".edchat-host")
    for nth, theme in enumerate(("dark", "dark", "light")):
        expect(hosts.nth(nth)).to_have_attribute("data-theme", theme)
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'true')")
    expect(hosts.nth(0)).to_have_attribute("data-theme", "light")


@pytest.mark.parametrize("width", [760, 320])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_scene_fits_and_is_quiet(panel: Open, theme: str, width: int) -> None:
    page = panel(theme=theme, width=width)
    for scene in SCENES:
        page.evaluate("name => model.snapshot(scenes[name])", scene)
        page.wait_for_timeout(30)
        wide = page.evaluate(
            """() => {
              const {shadowRoot} = document.querySelector(".edchat-host");
              return [...shadowRoot.querySelectorAll(".root *")]
                .filter((e) => !e.closest(".scroll-x, pre, .sr-only, svg"))
                .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
                .map((e) => e.outerHTML);
            }"""
        )
        assert wide == [], scene
        assert page.locator(".edchat-host").get_attribute("data-theme") == theme
