"""Text, prepared: one spelling of spaces, quotations taken out of the way, lists found."""

import re
import unicodedata
from dataclasses import dataclass

_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACEHOLDER = re.compile(f"{_OPEN}([0-9]{{1,6}}){_CLOSE}")
# No quotation runs over more than 2,000 characters: a stray quotation mark must not swallow the message.
_QUOTE = re.compile(
    r"```[^`]{1,20000}```|`[^`\n]{1,2000}`|\"[^\"]{1,2000}\"|“[^”“]{1,2000}”|„[^“”„]{1,2000}[“”]|«[^»«]{1,2000}»"
    r"|(?<![\w])'[^'\n]{1,400}'(?![\w])|(?<![\w])‘[^’‘\n]{1,400}’(?![\w])"
)
_BULLET = re.compile(
    r"[ \t]{0,8}(?:[-*•–—+]|\(?[0-9]{1,3}[.)]|[a-h]\))[ \t]+(?:\[[ xX]?\][ \t]*)?(?P<item>\S[^\n]*)"
)
_INLINE_NUMBER = re.compile(r"(?:(?<=\s)|^)\(?([0-9]{1,2})[.)]\s+")
_SPACES = re.compile(r"[^\S\n]+")


@dataclass(frozen=True)
class Masked:
    """A text whose quotations are placeholders, so that nothing in them reads as an instruction."""

    text: str
    quotes: tuple[str, ...]

    def restore(self, part: str, *, marks: bool = False) -> str:
        """Return the part with its quotations back, with or without their marks."""
        return _PLACEHOLDER.sub(lambda m: self._quote(m, marks=marks), part)

    def _quote(self, found: re.Match[str], *, marks: bool) -> str:
        number = int(found[1])
        if number >= len(self.quotes):
            return ""
        quote = self.quotes[number]
        if marks:
            return quote
        return quote[3:-3].strip() if quote.startswith("```") else quote[1:-1].strip()


def normalise(text: str) -> str:
    """Return the text in NFC, with single spaces, Unix line ends, no control characters or surrogates."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "))
    kept = (c for c in text if c == "\n" or unicodedata.category(c) not in {"Cc", "Cs", "Co", "Cf"})
    return _SPACES.sub(" ", "".join(kept)).strip()


def mask(text: str) -> Masked:
    """Return the text with every quotation replaced by a placeholder."""
    quotes: list[str] = []

    def take(found: re.Match[str]) -> str:
        quotes.append(found[0])
        return f"{_OPEN}{len(quotes) - 1}{_CLOSE}"

    return Masked(_QUOTE.sub(take, text), tuple(quotes))


def strip_end(pattern: re.Pattern[str], text: str) -> str:
    """Return the text without what the pattern, which ends with ``$``, finds at its end.

    Only the last 200 characters are searched, so that a long run of commas costs no more than a short one.
    """
    while (shorter := text[:-200] + pattern.sub("", text[-200:])) != text:
        text = shorter
    return text


def is_quote(part: str) -> bool:
    """Say whether the part is one quotation and nothing else."""
    return _PLACEHOLDER.fullmatch(part.strip(" .,:;")) is not None


def has_quote(part: str) -> bool:
    """Say whether there is a quotation in the part."""
    return _OPEN in part


def only_quote(part: str) -> str:
    """Return the first quotation's placeholder in the part."""
    found = _PLACEHOLDER.search(part)
    return found[0] if found else ""


def split_list(text: str) -> tuple[str, tuple[str, ...]]:
    """Return what stands around a list of lines, and the list's items; no items if there is no list.

    Lines without a bullet behind an item continue it if they are indented.
    """
    rest: list[str] = []
    items: list[str] = []
    for line in text.split("\n"):
        found = _BULLET.fullmatch(line)
        if found:
            items.append(found["item"].strip())
        elif items and line.startswith(" ") and line.strip():
            items[-1] += " " + line.strip()
        elif line.strip():
            rest.append(line)
    return "\n".join(rest), tuple(items)


def split_numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Return what stands before ``1) … 2) …`` in a line, and the items; no items if there are not two."""
    marks = list(_INLINE_NUMBER.finditer(text))
    if len(marks) < 2 or [int(m[1]) for m in marks[:2]] != [1, 2]:
        return text, ()
    ends = [m.start() for m in marks[1:]] + [len(text)]
    items = [text[m.end() : end].strip(" ,;\n") for m, end in zip(marks, ends, strict=True)]
    return text[: marks[0].start()].strip(), tuple(i for i in items if i)


def split_words(text: str) -> tuple[str, ...]:
    """Return the items of ``x, y and z``, ``x; y; z`` or ``x and y``."""
    separator = ";" if ";" in text else ","
    parts = [p.strip() for p in text.split(separator)]
    parts = [re.sub(r"^(?:and|und|&|plus|as well as)\s+", "", p, flags=re.IGNORECASE) for p in parts if p]
    if parts and not (len(parts) > 1 and _starts_with_and(text, separator)):
        last = re.split(r"\s(?:and|und|&|plus|as well as)\s", parts[-1], maxsplit=1, flags=re.IGNORECASE)
        parts[-1:] = [p.strip() for p in last]
    return tuple(p for p in parts if p)


def _starts_with_and(text: str, separator: str) -> bool:
    return re.match(r"\s*(?:and|und|&)\s", text.rpartition(separator)[2], re.IGNORECASE) is not None


def escape(text: str) -> str:
    """Return the text so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", re.sub(r"\s+", " ", text))
