"""Markdown in saved notebooks: rendered for readers, and nothing in it runs, loads or breaks out."""

import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from edchat_protocol.messages import ArtifactPart, ErrorPart, Message, TextPart
from edchat_widget import markdown, static_render
from edchat_widget.view import ConnectionView, View

PIXEL = "![](https://evil.example/pixel.png)"
NASTY = st.lists(st.sampled_from([
    "<script>", "</script>", "<img src=x>", "<!--", "![", "](https://x.y)", "![]", "[a]", "`", "``", "```\n", "~~~\n",
    "\\", "\n", "\n\n", "    ", "> ", "- ", "1. ", "# ", "*", "_", "|", "|-|\n", "a", "<", ">", "&lt;", "!", "\r", "\t",
    "[x]: https://x.y\n", "<https://x.y>", "$", "&", "---\n", "+ ", "<a href='`'>",
])).map("".join)


def strict() -> MarkdownIt:
    """A renderer that lets everything through."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def view_of(role: str, text: str) -> View:
    message = Message(id="m", role=role, state="answered", parts=(TextPart(id="t", text=text),))  # type: ignore[arg-type]
    return View(rev=1, session="s", connection=ConnectionView(state="connected"), messages=(message,))


def test_an_answer_is_rendered() -> None:
    text = "**4** stories\n\n| Id | Title |\n|-|-:|\n| 1 | `a<b>` |\n\n- one\n\n~~no~~ [site](https://x.y)"
    html = static_render.to_html(view_of("assistant", text))
    for piece in ("<strong>4</strong>", "<table", "text-align:right", "<code>a&lt;b&gt;</code>", "<li>one</li>",
                  "<s>no</s>", 'href="https://x.y"', 'rel="noopener noreferrer"'):
        assert piece in html
    assert "|-|" not in html


@pytest.mark.parametrize("text", [
    PIXEL, f"[{PIXEL}](https://x.y)", "<img src=x onerror=alert(1)>", "<script>alert(1)</script>",
    "[a](javascript:alert(1))", "[a](data:text/html,x)", "[a](file:///etc/passwd)", "<javascript:alert(1)>",
    "![a](javascript:alert(1))", "[a](//evil.example)", "[r]\n\n[r]: javascript:alert(1)",
])
def test_nothing_in_an_answer_runs_or_loads(text: str) -> None:
    html = static_render.to_html(view_of("assistant", text))
    assert not re.search(r"<(script|img|iframe)", html)
    assert set(re.findall(r'href="(\w+):', html)) <= {"https"}
    assert not re.search(r"<a [^>]*>[^<]*<a ", html)
    assert not re.search(r"<(script|img)", strict().render(static_render.to_markdown(view_of("assistant", text))))


def test_an_image_is_a_link_to_it() -> None:
    assert 'href="https://evil.example/pixel.png"' in markdown.to_html(PIXEL)
    assert markdown.tamed(PIXEL) == "[image](https://evil.example/pixel.png)"
    assert markdown.tamed("![a plan](https://x.y)") == "[a plan](https://x.y)"


def test_the_users_text_is_shown_as_it_was_written() -> None:
    text = f"<script>alert(1)</script> {PIXEL}\n# 1 *is* `it` $x$\n- no list\n    indented"
    html = static_render.to_html(view_of("user", text))
    assert "**" not in html
    assert text in unescape(html)
    assert "<script" not in html
    shown = strict().render(static_render.to_markdown(view_of("user", text)))
    assert not re.search(r"<(script|img|h1|em|code|ul|pre|a) ?", shown)
    assert "# 1 *is* `it` $x$" in unescape(shown)


@given(NASTY)
@example("<script>\r- ")
def test_a_user_cannot_write_markdown(text: str) -> None:
    shown = strict().render(markdown.literal(text))
    assert set(re.findall(r"</?\w+", shown)) <= {"<p", "</p", "<br"}
    words = unescape(re.sub(r"</?(?:p|br)[^>]*>", " ", shown))
    assert words.split() == unescape(text.replace("&", "&amp;")).split()


@given(NASTY)
@example("\\``<a href='`'><script>`")
@example("`~~~\n<script>`")
@example("[x]: https://x.y\n!![x]: https://x.y\n")
def test_no_renderer_finds_html_or_an_image_in_an_answer(text: str) -> None:
    for shown in (strict().render(markdown.tamed(text)), markdown.to_html(text)):
        assert not re.search(r"<(script|img src|!--)", shown)
        assert not re.search(r"<img[^>]* src=", shown)


def test_code_in_an_answer_stays_as_it_is() -> None:
    text = "```html\n<b>![a](b)</b>\n```\n\nand `<i>` and <https://x.y>\n\n    <pre>"
    assert markdown.tamed(text) == text
    assert markdown.tamed("```\nopen") == "```\nopen\n```"


def test_a_hint_and_a_note_are_escaped_too() -> None:
    message = Message(id="m", role="assistant", author=PIXEL, state="failed", detail=PIXEL, parts=(
        ErrorPart(id="e", code="x", message=PIXEL, hint="<script>"),))
    view = View(rev=1, session="s", connection=ConnectionView(state="connected"), messages=(message,))
    assert not re.search(r"<(script|img)", strict().render(static_render.to_markdown(view)))


@pytest.mark.parametrize("render", [static_render.to_html, static_render.to_markdown, static_render.to_text])
def test_an_empty_conversation_says_how_to_open_it(render: object) -> None:
    view = View(rev=1, session="s", connection=ConnectionView(state="connected"))
    assert "No messages yet. Run this cell in Jupyter to open the chat." in render(view)  # type: ignore[operator]


def luminance(color: str) -> float:
    parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_texts_read_on_a_white_page_and_on_a_black_one() -> None:
    story = {"id": "STORY-1", "title": "Login", "status": "Backlog", "epic": "E", "points": 3, "url": "https://x.y",
             "userStory": "As a …", "description": "**so**", "acceptanceCriteria": ["a"], "definitionOfDone": ["d"]}
    parts = tuple(
        ArtifactPart(id=p, artifact="story", data={**story, "priority": p}) for p in ("P0", "P1", "P2", "P3", "?"))
    message = Message(id="m", role="user", state="answered", parts=(TextPart(id="t", text="x"), *parts))
    html = static_render.message_html(message)
    html += static_render.stories_html([{**story, "priority": "P0"}])
    # Only the page's own colour, or white on a ground that is brought along.
    assert set(re.findall(r"(?<![-\w])color:([^;'\"]+)", html)) <= {"#fff", "inherit"}
    grounds = set(re.findall(r"background:(#\w{6})", html))
    assert len(grounds) >= 4
    assert all(1.05 / (luminance(g) + 0.05) >= 4.5 for g in grounds)
    assert len(re.findall("color:#fff", html)) == len(re.findall("background:#", html))


def test_a_storys_card_has_what_the_panels_card_has() -> None:
    html = static_render.story_html({
        "id": "STORY-1", "title": "Login", "priority": "P1", "status": "Backlog", "epic": "Security", "points": 1,
        "assignee": "Ada", "userStory": "As a user", "description": "**so**", "labels": ["web"],
        "acceptanceCriteria": ["a"], "definitionOfDone": ["d"], "technicalDetails": "`t`"})
    for piece in ("STORY-1", "P1 High", "Backlog", "Security · 1 point · Ada", "As a user", "<strong>so</strong>",
                  "Acceptance criteria", "<summary>Definition of done", "<code>t</code>", "web"):
        assert piece in html
