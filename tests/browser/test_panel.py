"""The built panel with a scripted kernel: what screen and keyboard show without a notebook."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.browser.panel_page import open_panel

Open = Callable[..., Page]

SCENES = (
    "empty", "connecting", "story", "running", "typing", "streaming",
    "markdown", "stories", "titles", "trouble", "failed", "reconnecting", "unknown", "long",
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
    expect(page.get_by_role("alert").first).to_contain_text(
        "This notebook's kernel has stopped. Run the cell again. Your text is kept."
    )
    expect(composer(page)).to_have_value("keep me")


def test_retry_stop_reconnect_and_new_chat_say_so_to_the_kernel(panel: Open) -> None:
    page = panel(scene="trouble")
    page.locator(".connection").get_by_role("button", name="Retry").click()
    answer = page.get_by_role("article", name="Answer")
    answer.get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Ask again as a new message").click()
    assert intents(page, "reconnect") == [{"intent": "reconnect"}]
    assert [i["id"] for i in intents(page, "retry")] == ["u1", "u3"]
    page.get_by_role("button", name="New chat").click()
    assert intents(page, "clear") == []
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("This conversation stays on the server.")
    expect(dialog.get_by_role("button", name="New chat")).to_have_attribute(
        "title", 'Chat(session="demo") opens it again'
    )
    dialog.get_by_role("button", name="New chat").click()
    assert intents(page, "clear") == [{"intent": "clear"}]
    expect(composer(page)).to_be_focused()
    page.evaluate("model.snapshot(scenes.streaming)")
    page.get_by_role("button", name="Stop").click()
    assert intents(page, "cancel") == [{"intent": "cancel", "run": "r1"}]


def test_a_message_in_doubt_says_why_and_leaves_the_choice_to_the_reader(panel: Open) -> None:
    page = panel(scene="trouble")
    doubtful = page.locator('[data-state="in_doubt"]')
    expect(doubtful).to_contain_text("this server cannot say what it did")
    doubtful.get_by_role("button", name="Wait").press("Enter")
    expect(doubtful.get_by_role("button", name="Wait")).to_have_count(0)
    assert intents(page, "retry") == []
    doubtful.get_by_role("button", name="it may run twice").press("Enter")
    assert [i["id"] for i in intents(page, "retry")] == ["u3"]


def test_failover_and_the_way_back_are_offered_said_and_asked_for(panel: Open) -> None:
    page = panel(scene="offer")
    offer = page.get_by_role("group", name="Go on with the server on this machine?")
    expect(offer).to_contain_text("2 messages wait.")
    offer.get_by_role("button", name="Go on here").press("Enter")
    assert intents(page, "failover") == [{"intent": "failover"}]
    standing = "{...scenes.standin.connection}"
    page.evaluate(f"model.patch({{op: 'connection', connection: {standing}}})")
    spoken = page.get_by_role("status")
    expect(spoken).to_contain_text("answers in its place")
    expect(page.locator(".strip")).to_contain_text("answers in its place")
    page.evaluate("model.patch({op: 'connection', connection: scenes.back.connection})")
    expect(spoken).to_contain_text("is back. Return to it?")
    page.get_by_role("button", name="Return").click()
    assert intents(page, "failback") == [{"intent": "failback"}]


def test_the_badge_counts_down_to_the_next_try(panel: Open) -> None:
    page = panel(scene="reconnecting")
    wait = page.locator(".badge .next")
    expect(wait).to_have_text("next try in 4 s")
    expect(wait).to_have_text("next try in 2 s")
    expect(wait).to_have_count(0)


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


def test_a_panel_that_is_attached_late_has_a_field_to_click_and_it_grows(panel: Open) -> None:
    page = panel(scene="empty")
    page.evaluate(
        """() => {
          cleanup();
          const later = document.createElement("div");
          show(later);
          document.body.append(later);
        }"""
    )
    field = composer(page)
    page.wait_for_timeout(100)
    assert field.evaluate("e => e.offsetHeight") == 32
    field.fill("a\nb\nc")
    assert field.evaluate("e => e.offsetHeight") == 76


@pytest.mark.parametrize("place", [".composer", ".keys", "h2", ".empty h3"])
def test_a_click_beside_the_field_and_then_letters_write_into_it(panel: Open, place: str) -> None:
    page = panel(scene="empty")
    box = page.locator(place).first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    page.keyboard.type("dd")
    expect(composer(page)).to_have_value("dd")


def test_the_focus_stays_in_the_panel_when_its_control_goes(panel: Open) -> None:
    page = panel(scene="streaming")
    page.get_by_role("button", name="Stop").focus()
    page.keyboard.press("Enter")
    expect(composer(page)).to_be_focused()
    page.evaluate("model.snapshot(scenes.trouble)")
    page.locator(".connection").get_by_role("button", name="Retry").focus()
    page.evaluate("model.snapshot(scenes.story)")
    expect(composer(page)).to_be_focused()


def test_a_focus_that_went_elsewhere_is_not_taken_back(panel: Open) -> None:
    page = panel(scene="trouble")
    page.locator(".connection").get_by_role("button", name="Retry").focus()
    page.evaluate("document.querySelector('.edchat-host').shadowRoot.activeElement.blur()")
    page.wait_for_timeout(50)
    page.evaluate("model.snapshot(scenes.story)")
    page.wait_for_timeout(50)
    assert page.evaluate("document.activeElement === document.body")


def test_a_view_that_nobody_touched_stays_at_the_end(panel: Open) -> None:
    page = panel(scene="long")
    log = page.get_by_role("log")
    gap = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
    page.wait_for_timeout(100)
    assert log.evaluate(gap) < 2
    # what an engine does that moves the view up when content shrinks, before the content grows again
    page.evaluate(
        """async () => {
          document.querySelector(".edchat-host").shadowRoot.querySelector(".scroller").scrollTop -= 100;
          model.patch({op: "put", message: {id: "n1", role: "assistant", state: "complete",
            parts: [{kind: "text", id: "t", text: "new\\n\\n".repeat(20)}]}});
        }"""
    )
    page.wait_for_timeout(200)
    assert log.evaluate(gap) < 2
    expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()


def test_a_stopped_answer_says_so_once(panel: Open) -> None:
    page = panel(scene="streaming")
    for detail, words in (
        ("Stopped.", "Stopped"), ("cancelled", "Stopped"), (None, "Stopped"),
        ("Stopped here; this server cannot be told to stop.", "Stopped here; this server cannot be told to stop."),
        ("The connection was cut.", "Stopped: The connection was cut."),
    ):
        page.evaluate("detail => model.patch({op: 'state', id: 'r1', state: 'incomplete', detail})", detail)
        expect(page.locator(".ending")).to_have_text(words)


def test_a_failed_run_has_one_error_and_one_retry_and_was_sent(panel: Open) -> None:
    page = panel(scene="failed")
    expect(page.get_by_role("region", name="Error")).to_have_count(1)
    expect(page.get_by_role("button", name="Retry")).to_have_count(1)
    expect(page.get_by_role("article", name="You")).not_to_contain_text("Not sent")
    page.evaluate("model.patch({op: 'state', id: 'u1', state: 'failed', detail: 'the server refused it'})")
    page.evaluate("model.patch({op: 'drop', id: 'r1'})")
    expect(page.get_by_role("article", name="You")).to_contain_text("Not sent: the server refused it")


@pytest.mark.parametrize("width", [760, 320])
def test_a_long_title_leaves_the_table_readable(panel: Open, width: int) -> None:
    page = panel(scene="titles", width=width)
    card = page.get_by_role("region", name="3 stories")
    assert card.locator("th").all_inner_texts()[:4] == ["ID", "Priority", "Status", "Title"]
    rows = card.locator("tbody tr").evaluate_all("all => all.map((row) => row.offsetHeight)")
    assert max(rows) <= 2 * 20 + 13
    long = card.locator(".clamp").first
    assert len(long.get_attribute("title") or "") > 200
    for row in range(3):
        for column in (1, 2):
            expect(card.locator("tbody tr").nth(row).locator("td").nth(column)).to_be_in_viewport()
    box = card.locator(".sideways")
    if width == 320:
        expect(box).to_have_attribute("data-more", "after")
        card.locator(".scroll-x").evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        expect(box).to_have_attribute("data-more", "before")
    else:
        expect(box).to_have_attribute("data-more", "")


@pytest.mark.parametrize("width", [760, 320])
def test_an_id_is_never_broken_or_clipped_in_a_table_of_an_answer(panel: Open, width: int) -> None:
    page = panel(scene="titles", width=width)
    ids = page.locator(".md td .whole")
    assert set(ids.all_inner_texts()) == {"STORY-14", "STORY-15"}
    for nth in range(ids.count()):
        lines, inside = ids.nth(nth).evaluate(
            """e => {
              const own = e.getBoundingClientRect(), cell = e.closest("td").getBoundingClientRect();
              return [e.getClientRects().length, own.left >= cell.left && own.right <= cell.right];
            }"""
        )
        assert (lines, inside) == (1, True)
    table = page.locator(".md .sideways")
    fits = table.locator(".scroll-x").evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    assert table.get_attribute("data-more") == ("" if fits else "after")


def test_the_offline_chip_stays_on_a_narrow_panel(panel: Open) -> None:
    page = panel(scene="story", width=320)
    chip = page.locator(".agent-name")
    expect(chip).to_be_visible()
    assert chip.inner_text() == "Offline"
    for scene in ("reconnecting", "trouble"):  # then the connection needs the room
        page.evaluate("name => model.snapshot(scenes[name])", scene)
        expect(page.locator(".badge")).to_have_class(re.compile("busy|bad"))
        assert page.locator(".badge > span").last.evaluate("e => e.scrollWidth <= e.clientWidth"), scene


# Text as it is painted: the backgrounds behind it laid over each other, the way the browser mixes colours.
CONTRAST = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  const painted = (colours) => {
    pen.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => { const [r, g, b] = rgb.map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const {shadowRoot} = document.querySelector(".edchat-host");
  const poor = {};
  for (const e of shadowRoot.querySelectorAll(".root *")) {
    const speaks = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!speaks || e.closest(".sr-only") || e.checkVisibility?.() === false) continue;
    const behind = [];
    for (let at = e; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const ground = ["#ffffff", ...behind];
    const [a, b] = [light(painted(ground)), light(painted([...ground, getComputedStyle(e).color]))].sort();
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor[`${e.className || e.tagName} "${e.textContent.slice(0, 30)}"`] = ratio;
  }
  return poor;
}"""
HOSTS = {
    "plain": {},
    "JupyterLab Light": {"--jp-layout-color1": "#ffffff", "--jp-ui-font-color1": "rgba(0,0,0,0.87)"},
    "JupyterLab Dark": {"--jp-layout-color1": "#212121", "--jp-ui-font-color1": "rgba(255,255,255,1)"},
    "VS Code Dark": {"--vscode-editor-background": "#1e1e1e", "--vscode-editor-foreground": "#d4d4d4"},
    "VS Code Light": {"--vscode-editor-background": "#ffffff", "--vscode-editor-foreground": "#3b3b3b"},
}


@pytest.mark.parametrize(("host", "theme"), [
    ("plain", "light"), ("plain", "dark"), ("JupyterLab Light", "light"), ("JupyterLab Dark", "dark"),
    ("VS Code Light", "light"), ("VS Code Dark", "dark"),
])  # fmt: skip
def test_every_text_has_enough_contrast(panel: Open, host: str, theme: str) -> None:
    page = panel(theme=theme)
    page.evaluate(
        "all => { for (const [k, v] of Object.entries(all)) document.body.style.setProperty(k, v); }", HOSTS[host]
    )
    for scene in SCENES:
        page.evaluate("name => model.snapshot(scenes[name])", scene)
        page.wait_for_timeout(30)
        assert page.evaluate(CONTRAST) == {}, scene


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
