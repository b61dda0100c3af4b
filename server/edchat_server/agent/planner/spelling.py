# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""Mends slips of the pen in the words that steer the planner, and in no others."""

import re

_COMMANDS = (
    "create", "update", "change", "assign", "rename", "remove", "show", "list", "find", "move", "mark", "delete", "write", "draft",
)  # fmt: skip
_NOUNS = ("story", "stories", "ticket", "tickets", "task", "tasks", "spike", "priority", "epic", "please", "status", "points")
_MENDABLE = {w[0]: tuple(v for v in (*_COMMANDS, *_NOUNS) if v[0] == w[0]) for w in (*_COMMANDS, *_NOUNS)}
_REAL = {"stores", "storey", "thicket", "stats", "point", "pints", "crate"}
_WORD = re.compile(r"\b[a-z]{4,11}\b", re.IGNORECASE)
_HEAD = re.compile(r"^[^:\n\ue000]{0,80}?(?=\b(?:for|about|to|that|called|titled|so)\b|[:\n\ue000,]|$)|\bprio[a-z]{3,8}\b", re.IGNORECASE)


def mend(text: str) -> str:
    """Return the text with "craete a sotry" put right; what follows "for", a colon or a quotation stays as it is."""
    return _HEAD.sub(lambda head: _WORD.sub(lambda word: _mended(word[0]), head[0]), text)


def _mended(word: str) -> str:
    low = word.casefold()
    known = _MENDABLE.get(low[0], ())
    if low in known or low in _REAL:
        return word
    return next((right for right in known if _is_slip(low, right)), word)


def _is_slip(word: str, right: str) -> bool:
    """Say whether two letters are swapped, or, in a longer word, one is missing or one too many in the middle."""
    if len(word) == len(right):
        differs = [n for n, (a, b) in enumerate(zip(word, right, strict=True)) if a != b]
        return len(differs) == 2 and differs[1] == differs[0] + 1 and sorted(word) == sorted(right)
    short, long = sorted((word, right), key=len)
    if len(long) - len(short) != 1 or len(right) < 6 or (long == word and word.startswith(right)):
        return False
    return any(long[:n] + long[n + 1 :] == short for n in range(1, len(long)))
