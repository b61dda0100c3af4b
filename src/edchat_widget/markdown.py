"""Markdown of people and models, made safe: no raw HTML, no image that loads, no link that runs."""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONGEST = 100_000
"""Longer texts are shown as they were written: a notebook keeps none of them, and parsing takes its time."""
_SCHEMES = ("https://", "http://", "mailto:")
_CELL = "border:1px solid #8886;padding:2px 8px"
_STYLES = {
    "p": "margin:6px 0", "ul": "margin:6px 0;padding-left:22px", "ol": "margin:6px 0;padding-left:22px",
    "h1": "font-size:1.3em;margin:10px 0 4px", "h2": "font-size:1.2em;margin:10px 0 4px",
    "h3": "font-size:1.1em;margin:10px 0 4px",
    "table": "border-collapse:collapse;margin:6px 0;color:inherit;font-size:inherit",
    "th": _CELL, "td": _CELL, "blockquote": "margin:6px 0;padding-left:11px;border-left:2px solid #8886",
    "a": "color:inherit;text-decoration:underline",
}
_MARKS = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_{}[]#|~$!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})
_NEWLINE = re.compile(r"\r\n?")  # as the parser counts lines
_BEGINS = re.compile(r"^(?:[-+=:]|\d{1,9}[.)])")
# What is escaped, and code, hold nothing that could be HTML or an image.
_RISKY = re.compile(
    r"(?P<keep>\\[\s\S]|(?<!`)(?P<ticks>`+)(?!`)[\s\S]*?(?<!`)(?P=ticks)(?!`)|<https?://[^\s<>`]*>)"
    r"|(?P<tag><)(?=[A-Za-z/!?])|(?P<empty>!\[\])(?=[(\[])|(?P<image>!)(?=\[)")


def to_html(text: str) -> str:
    """Return Markdown as HTML with inline styles."""
    if len(text) > LONGEST:
        return f"<div style='white-space:pre-wrap;overflow-wrap:anywhere'>{escape(text)}</div>"
    return _both(text)[0]


def tamed(text: str) -> str:
    """Return Markdown that any renderer shows without raw HTML, and with links in place of images."""
    return literal(text) if len(text) > LONGEST else _both(text)[1]


@lru_cache(maxsize=256)  # a cell that shows its chat again has most of it already
def _both(text: str) -> tuple[str, str]:
    parser = _parser()
    tokens = parser.parse(text)
    tame = _tamed(text, tokens)
    for token in tokens:
        for each in (token, *(token.children or ())):
            if each.nesting >= 0 and each.tag in _STYLES:
                own = each.attrGet("style")  # a table's alignment
                each.attrSet("style", f"{_STYLES[each.tag]};{own}" if own else _STYLES[each.tag])
            if each.type == "link_open":
                each.attrSet("rel", "noopener noreferrer")
    return str(parser.renderer.render(tokens, parser.options, {})), tame


def _tamed(text: str, tokens: "Sequence[Token]") -> str:
    lines = _NEWLINE.sub("\n", text).split("\n")
    spans = {tuple(t.map) for t in tokens if t.type == "inline" and t.map}
    for begin, end in sorted(spans):
        block = _RISKY.sub(_harmless, "\n".join(lines[begin:end])).split("\n")
        lines[begin:end] = block
    last = tokens[-1] if tokens else None
    if last is not None and last.type == "fence" and last.map and not _is_closed(lines, last):
        lines.append(last.markup)  # open, it would swallow what stands behind it
    tame = "\n".join(lines)
    # What is code and what is not is hard to see from outside: the parser has the last word.
    return tame if _is_harmless(tame) else literal(text)


def _is_harmless(text: str) -> bool:
    if "<" not in text and "![" not in text:
        return True
    tokens = _parser(html=True).parse(text)
    found = {each.type for token in tokens for each in (token, *(token.children or ()))}
    return not found & {"html_block", "html_inline", "image"}


def literal(text: str) -> str:
    """Return Markdown that shows a text as it was written, line by line."""
    return "\n".join(_literal_line(line) for line in _NEWLINE.sub("\n", text).split("\n"))


def inline(text: str) -> str:
    """Return Markdown that shows a text as it was written, in one line."""
    return " ".join(text.translate(_MARKS).split())


def is_safe(url: str) -> bool:
    """Return whether a link may lead there."""
    return url.lower().startswith(_SCHEMES)


def _literal_line(line: str) -> str:
    words = line.lstrip()
    if not words:
        return ""
    indent = "&nbsp;" * len(line[: len(line) - len(words)].expandtabs(4))
    words = words.rstrip().translate(_MARKS)
    # Behind an indent that is no white space, nothing begins a list.
    begin = None if indent else _BEGINS.match(words)
    if begin:
        words = f"{words[: begin.end() - 1]}\\{words[begin.end() - 1 :]}"
    return f"{indent}{words}  "


def _harmless(match: re.Match[str]) -> str:
    if match["tag"]:
        return "&lt;"
    if match["empty"]:
        return "[image]"
    return "" if match["image"] else match[0]


def _is_closed(lines: Sequence[str], fence: "Token") -> bool:
    begin, end = fence.map or (0, 0)
    return end - begin > 1 and lines[end - 1].strip().startswith(fence.markup)


@cache
def _parser(*, html: bool = False) -> "MarkdownIt":
    # Loaded when something is shown: importing the package stays quick.
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])
    if not html:
        parser.validateLink = is_safe  # type: ignore[method-assign]
    parser.add_render_rule("image", _image)
    return parser


def _image(renderer: Any, tokens: "Sequence[Token]", at: int, options: Any, env: Any) -> str:
    token = tokens[at]
    name = escape(renderer.renderInlineAsText(token.children, options, env) or "image")
    inside = sum(t.nesting for t in tokens[:at] if t.type in ("link_open", "link_close"))
    if inside:
        return name
    href = escape(str(token.attrGet("src") or ""), quote=True)
    return f'<a href="{href}" rel="noopener noreferrer" style="{_STYLES["a"]}">{name}</a>'
