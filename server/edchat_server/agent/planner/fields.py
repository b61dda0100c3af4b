# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""Finds a story's fields anywhere in a piece of text and takes them out of it."""

import re
from dataclasses import dataclass, field
from typing import Any

from edchat_server.backlog.themes import THEMES

from .text import Masked, split_list, split_numbered
from .words import NOUN, PRIORITY, PRIORITY_WORDS, STATUS, STATUS_WORDS, TYPE_WORDS

GAP = "\x1f"
"""Stands where a field was taken out; it cannot occur in normalised text."""

_Q = r"\ue000[0-9]+\ue001"
_I = re.IGNORECASE
_END = rf"(?=\s*(?:[,;.)\n{GAP}]|$|and\b|und\b))"

_BLOCK_NAMES = {
    "acceptance criteria": "acceptance_criteria", "acceptance criterion": "acceptance_criteria",
    "acceptance": "acceptance_criteria", "criteria": "acceptance_criteria", "acs": "acceptance_criteria",
    "ac": "acceptance_criteria", "akzeptanzkriterien": "acceptance_criteria",
    "definition of done": "definition_of_done", "dod": "definition_of_done", "done when": "definition_of_done",
    "description": "description", "beschreibung": "description", "context": "description",
    "technical details": "technical_details", "technical notes": "technical_details", "tech": "technical_details",
    "technical": "technical_details", "notes": "technical_details", "user story": "user_story",
}  # fmt: skip
_BLOCK = re.compile(
    r"(?:(?<=[\s,;.(\x1f])|^)(?:(?:and|with|und|mit)\s+)?(?:the\s+)?[*_]{0,2}(?P<name>"
    + "|".join(sorted((re.escape(n).replace(r"\ ", r"\s") for n in _BLOCK_NAMES), key=len, reverse=True))
    + r")[*_]{0,2}\s?(?:[:：=]|are\b|is\b(?=\s+that))[*_]{0,2}\s*",
    _I,
)
_BLOCK_WITHOUT_COLON = re.compile(
    r"\bwith\s+(?:the\s+)?(?:following\s+)?(?P<name>acceptance\scriteria|criteria)\s+(?=\S)", _I
)

_EPIC_NAMED = re.compile(rf"\bepic\s?[:=][^\S\n]*(?P<e>{_Q}|[^,;.\n(){GAP}]{{1,100}})", _I)
_CAPITAL = re.compile(r"\s+(?:\ue000|[A-ZÄÖÜ])")
_EPIC_TO = re.compile(
    rf"\bepic\s(?:of\s\S+\s)?(?:to|is|should\sbe)\s+(?P<e>{_Q}|[^,;.\n(){GAP}]{{1,100}})", _I
)
_EPIC_BEHIND = re.compile(
    rf"(?:\b(?:in|into|to|under|for|within|on|im|zum)\s+)?(?:(?:the|das|dem|den)\s+)?\bepic\s+(?:called\s+|named\s+)?"
    rf"(?P<e>{_Q}|(?-i:[A-ZÄÖÜ][\w&/-]*(?:\s(?:[A-ZÄÖÜ][\w&/-]*|&))*)|[\w-]+)",
    _I,
)
_EPIC_WORD = re.compile(rf"\bepic\b(?!\s+{NOUN}\b)", _I)
_EPIC_START = re.compile(
    rf"(?:^|[,;(\n{GAP}]|(?P<prep>\b(?:in|into|to|under|for|within|on|im|zum|of|as|is|als)\s))\s*"
    r"(?:(?:the|our|my|an?|das|dem|den)\s+)?",
    _I,
)
_PRIORITY = (
    re.compile(
        rf"\b(?:with\s+|mit\s+)?(?:an?\s+)?(?:priority|prio|priorität)\s*(?:is|of|to|as|=|:|-|set\sto|should\sbe)?\s*"
        rf"(?P<p>p?[0-9]|{PRIORITY})\b",
        _I,
    ),
    re.compile(
        rf"\b(?:with\s+|mit\s+|at\s+|as\s+)?(?:an?\s+)?(?P<p>{PRIORITY})[\s-](?:priority|prio|priorität)\b",
        _I,
    ),
    re.compile(
        r"(?:\b(?:as|at|with|is|it's)\s+(?:an?\s+)?)?(?<![\w.])(?P<p>p[0-9])\b(?:\s(?:priority|prio)\b)?", _I
    ),
    re.compile(rf"\b(?P<p>{PRIORITY})[\s-]+(?={NOUN}\b)", _I),
)
_POINTS = (
    re.compile(
        r"(?:\b(?:at|with|of|is|worth)\s+)?(?<![\w.])(?P<n>[0-9]{1,3})[\s-]?(?:story[\s-]?)?(?:points?|pts?|sp|punkte?)\b",
        _I,
    ),
    re.compile(
        r"\b(?:story\s)?(?:points?|estimated?|estimation|sp|schätzung|punkte)\s*(?:it\s|them\s)?(?:at|of|to|as|is|:|=|auf)?"
        r"\s*(?P<n>[0-9]{1,3})\b",
        _I,
    ),
)
_NAME = rf"(?:{_Q}|[\w.'’-]*\w(?:\s(?-i:[A-ZÄÖÜ])[\w'’-]+)?)"
_ASSIGNEE = (
    re.compile(
        r"\b(?:and\s+)?(?:assign(?:ed)?(?:\s(?:it|this|that|them))?\s+to|assignee\s*(?:is\b|to\b|:|=)|"
        rf"owner\s*(?:is\b|:|=)|owned\sby|zugewiesen\san|weise\s(?:sie|es)\s)\s*@?(?P<a>{_NAME})(?![\w(])",
        _I,
    ),
    re.compile(rf"[,;\n{GAP}]\s*(?:assignee|owner)\s+(?P<a>{_NAME})", _I),
    re.compile(r"(?:\bfor\s)?(?<![\w.])@(?P<a>\w[\w.-]{0,38}\w)(?=[\s,;:!?)\x1f]|\.(?!\w)|$)"),
)
_LABEL_WORD = r"#?\w[\w/+.-]*"
_LABEL_LIST = rf"(?P<l>(?:{_Q}|{_LABEL_WORD}){_END}(?:\s*(?:,\s*and\b|,|and\b|und\b|&)\s*(?:{_Q}|{_LABEL_WORD}){_END}){{0,9}})"
_LABELS = (
    re.compile(rf"\b(?:with\s+)?(?:the\s+)?(?:labels?|tags?)\s*[:=]\s*{_LABEL_LIST}", _I),
    re.compile(rf"\bwith\s+(?:the\s+)?(?:labels?|tags?)\s+{_LABEL_LIST}", _I),
    re.compile(rf"\b(?:labell?ed|tagged)\s+(?:with\s+|as\s+)?{_LABEL_LIST}", _I),
    re.compile(rf"[,;\n{GAP}]\s*(?:with\s)?(?:labels?|tags?)\s+{_LABEL_LIST}", _I),
    re.compile(r"(?<![\w&])#(?P<l>[A-Za-z][\w-]{1,40})"),
)
_STATUS = (
    re.compile(rf"\b(?:with\s+)?status\s*(?:is\b|to\b|as\b|=|:)?\s*(?P<s>{STATUS})\b", _I),
    re.compile(r"\bstatus\s*[=:]\s*(?P<s>\w+(?:\s\w+)?)", _I),
    re.compile(
        rf"\b(?:as|in|into|to|im|auf)\s+(?:the\s+)?(?P<s>{STATUS})\s*(?:status|state|column)?{_END}", _I
    ),
)
_TYPE = re.compile(r"\btype\s*[:=]\s*(?P<t>\w+)", _I)
USER_STORY = re.compile(
    rf"\b(?:As\s+(?:an?|the)\s[^,.\n{GAP}]{{2,120}}?,?\sI(?:\s|['’])|Als\s[^,.\n{GAP}]{{2,120}}?,?\s(?:möchte|will|kann|brauche)\sich\s)"
    rf"[^\n{GAP}]{{3,1000}}",
    _I,
)


@dataclass
class Found:
    """The fields found, and the text without them: a GAP stands where each was."""

    rest: str
    args: dict[str, Any] = field(default_factory=dict)


def find_fields(masked: Masked, text: str, *, epics: tuple[str, ...] = ()) -> Found:
    """Return the fields in a piece of the masked text, as arguments of the tools."""
    found = Found(text)
    _take_blocks(masked, found)
    take_epic(masked, found, epics)
    _take_simple(masked, found)
    _take_user_story(masked, found)
    return found


def known_epic(name: str, epics: tuple[str, ...]) -> str | None:
    """Return the epic of this name in its own spelling, if the conversation or the themes know it."""
    wanted = name.strip().casefold()
    for epic in (*epics, *(theme.epic for theme in THEMES)):
        if epic.casefold() == wanted:
            return epic
    return None


def epic_name(name: str, epics: tuple[str, ...]) -> str:
    """Return the epic's name as it should be written."""
    name = name.strip(" .,:;-")
    known = known_epic(name, epics)
    if known:
        return known
    return " ".join(w[:1].upper() + w[1:] for w in name.split()) if name.islower() else name


def priority_value(word: str) -> str:
    """Return ``P1`` for ``p1`` and ``high``; an unknown ``P7`` stays, for the tool to refuse."""
    word = f"P{word}" if word.isdecimal() else word
    return PRIORITY_WORDS.get(re.sub(r"\s", " ", word.casefold()), word.upper())


def status_value(word: str) -> str:
    """Return the status that the words mean; unknown words stay, for the tool to refuse."""
    return STATUS_WORDS.get(re.sub(r"\s+", " ", word.casefold()), word)


def criteria_items(masked: Masked, block: str) -> tuple[str, ...]:
    """Return the items of a list however it was written: lines, numbers, semicolons or commas."""
    rest, items = split_list(block)
    if not items:
        rest, items = split_numbered(block)
    if not items:
        lines = [line for line in block.split("\n") if line.strip()]
        if len(lines) == 1:
            lines = re.split(r";\s*", lines[0])
        if len(lines) == 1 and not re.search(r"\b(?:given|when|then|if)\b", lines[0], _I):
            lines = re.split(r",\s+(?:and\s+)?", lines[0])
        rest, items = "", tuple(lines)
    texts = [*([rest] if rest.strip() else []), *items]
    cleaned = (masked.restore(t.replace(GAP, " "), marks=len(t) > 12).strip(" ,;\n") for t in texts)
    return tuple(c[:1].upper() + c[1:].removesuffix(".") for c in cleaned if c.strip(". "))


def _take_blocks(masked: Masked, found: Found) -> None:
    heads = list(_BLOCK.finditer(found.rest)) or list(_BLOCK_WITHOUT_COLON.finditer(found.rest))
    if not heads:
        return
    ends = [h.start() for h in heads[1:]] + [len(found.rest)]
    tails = ""
    for head, end in zip(heads, ends, strict=True):
        name = _BLOCK_NAMES[re.sub(r"\s", " ", head["name"].casefold())]
        block, tail = _cut_tail(masked, found.rest[head.end() : end].strip())
        tails += tail
        if name in {"acceptance_criteria", "definition_of_done"}:
            found.args[name] = [*found.args.get(name, []), *criteria_items(masked, block)]
        else:
            found.args[name] = masked.restore(block.replace(GAP, " ")).strip()
    found.rest = f"{found.rest[: heads[0].start()]}{GAP}{tails}"


_FORM_LINE = re.compile(
    r"\n[ *_-]{0,4}(?:priority|prio|points|estimate|epic|labels?|tags?|assignee|owner|status|type)[*_]{0,2}\s?[:=]",
    _I,
)


def _cut_tail(masked: Masked, block: str) -> tuple[str, str]:
    """Cut off what is not of the block: behind it, between commas, may stand plain fields of the story."""
    form = _FORM_LINE.search(block)
    if form:
        return block[: form.start()], block[form.start() :]
    if "\n" in block:
        return block, ""
    parts = re.split(r"(?<=[,;.])\s", block)
    keep = len(parts)
    while keep > 1:
        probe = Found(parts[keep - 1])
        take_epic(masked, probe, ())
        _take_simple(masked, probe)
        if not probe.args or probe.rest.strip(f" ,;.{GAP}"):
            break
        keep -= 1
    tail = " ".join(parts[keep:])
    return " ".join(parts[:keep]).rstrip(" ,;"), f" {tail}" if tail else ""


def has_block(text: str) -> bool:
    """Say whether the text has a part of its own for criteria, description or the like."""
    return _BLOCK.search(text) is not None


def take_epic(masked: Masked, found: Found, epics: tuple[str, ...]) -> None:
    """Take the epic out of the text, wherever its name stands."""
    for word in _EPIC_WORD.finditer(found.rest):
        begin = max(0, word.start() - 120)
        before = found.rest[begin : word.start()]
        named = _EPIC_NAMED.match(found.rest, word.start())
        start = list(_EPIC_START.finditer(before))[-1:]
        name = before[start[0].end() :].strip() if start else ""
        fits = bool(start) and 0 < len(name.split()) <= 4 and not _EPIC_STOP.search(name)
        if fits and (
            start[0]["prep"] or not (named or _named_behind(found.rest, word.end(), name, start[0]))
        ):
            span = (begin + start[0].start(), word.end())
            _set_epic(masked, found, name, span, epics, keep=before[span[0] - begin])
            return
        named = named or _EPIC_TO.match(found.rest, word.start())
        if named:
            _set_epic(masked, found, named["e"], named.span(), epics)
            return
    behind = _EPIC_BEHIND.search(found.rest)
    if behind and behind["e"].casefold() not in {"for", "and", "with", "to", "in", "that", "is"}:
        _set_epic(masked, found, behind["e"], behind.span(), epics)


_EPIC_STOP = re.compile(
    rf"\b(?:an?|new|this|that|story|stories|ticket|create|add|which|change|set|its|make|move|update|the)\b|{GAP}",
    _I,
)


def _named_behind(text: str, position: int, name: str, start: re.Match[str]) -> bool:
    """``login epic Security``: nothing before, a capital behind, so the name is what stands behind."""
    return not start[0].strip() and not name[:1].isupper() and _CAPITAL.match(text, position) is not None


def _set_epic(
    masked: Masked, found: Found, name: str, span: tuple[int, int], epics: tuple[str, ...], *, keep: str = ""
) -> None:
    plain = masked.restore(name).strip()
    found.args["epic"] = plain if name.strip() != plain else epic_name(plain, epics)
    mark = keep if keep in {",", ";", "("} else ""
    found.rest = f"{found.rest[: span[0]]}{mark}{GAP}{found.rest[span[1] :]}"


def _take_simple(masked: Masked, found: Found) -> None:
    for pattern in _PRIORITY:
        _take(found, pattern, "priority", lambda m: priority_value(m["p"]))
    for pattern in _POINTS:
        _take(found, pattern, "points", lambda m: int(m["n"]))
    for pattern in _ASSIGNEE:
        _take(found, pattern, "assignee", lambda m: masked.restore(m["a"]).lstrip("@"))
    for pattern in _LABELS:
        while _take(found, pattern, "labels", lambda m: _labels(masked, m["l"])):
            pass
    for pattern in _STATUS:
        _take(found, pattern, "status", lambda m: status_value(m["s"]))
    _take(found, _TYPE, "type", lambda m: TYPE_WORDS.get(m["t"].casefold(), m["t"]))
    _take_lone_words(found)


def _take(found: Found, pattern: re.Pattern[str], name: str, value: Any) -> bool:
    match = pattern.search(found.rest)
    if match is None or (name != "labels" and name in found.args):
        return False
    if name == "labels":
        found.args[name] = [*found.args.get(name, []), *value(match)]
    else:
        found.args[name] = value(match)
    found.rest = f"{found.rest[: match.start()]}{GAP}{found.rest[match.end() :]}"
    return True


_LONE = re.compile(
    rf"(?P<sep>[,;(\n{GAP}]\s*)(?:it's\s|very\s|is\s|and\s|mark(?:ed)?\s(?:as\s)?)?(?P<w>[\w-]+(?:\s[\w-]+){{0,2}})(?=\s*(?:[,;.)\n{GAP}]|$))",
    _I,
)


def _take_lone_words(found: Found) -> None:
    """Take a priority, a status or a type that stands alone between commas."""
    position = 0
    while (match := _LONE.search(found.rest, position)) is not None:
        word = re.sub(r"\s", " ", match["w"].casefold())
        for name, words in (("priority", PRIORITY_WORDS), ("status", STATUS_WORDS), ("type", TYPE_WORDS)):
            if word in words and name not in found.args:
                found.args[name] = words[word]
                found.rest = f"{found.rest[: match.start()]}{match['sep']}{GAP}{found.rest[match.end() :]}"
                break
        position = match.start() + len(match["sep"])


def _labels(masked: Masked, text: str) -> list[str]:
    parts = re.split(r"\s*(?:,\s*and\b|,|\band\b|\bund\b|&)\s*", text)
    return [masked.restore(p).lstrip("#").strip(" .") for p in parts if p.strip()]


def _take_user_story(masked: Masked, found: Found) -> None:
    match = USER_STORY.search(found.rest)
    if match is None or "user_story" in found.args:
        return
    sentence = masked.restore(match[0], marks=True).strip(" ,;.")
    found.args["user_story"] = sentence[:1].upper() + sentence[1:] + "."
    found.rest = f"{found.rest[: match.start()]}{GAP}{found.rest[match.end() :]}"
