# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""What a clause wants changed: its values, and what is left of it without them."""

import re
from typing import Any

from .fields import GAP, Found, criteria_items, find_fields, known_epic, priority_value, status_value
from .plan import Conversation
from .refer import story_ids, without_ids
from .text import Masked
from .words import OPEN_WORDS, PRIORITY, STATUS, TYPE_WORDS, either

STEP = "step"
"""A change relative to today's priority, among the arguments until its story is known."""
_I = re.IGNORECASE
_Q = r"\ue000[0-9]+\ue001"
ORDER = re.compile(
    r"^(?:set|change|update|make|move|mark|rename|retitle|assign|reassign|unassign|add|append|remove|bump|raise|lower|"
    r"increase|decrease|estimate|close|finish|complete|start|begin|reopen|re-open|block|unblock|put|tag|label|describe|"
    r"edit|modify|drop|prioriti[sz]e|deprioriti[sz]e|convert|turn|give|call|promote|demote|resolve|send|push|drag|"
    r"setze?|ändere|verschiebe?|markiere?|benenne|weise|füge|schließe|starte)\b",
    _I,
)
RENAME = re.compile(
    r"\b(?:rename|retitle|call|benenne)\b(?P<ref>[^\n]{0,80}?)\b(?:to|as|into|in|um in)\b:?\s+(?P<v>\S[^\n]*)$"
    r"|\b(?:the\s)?title\b(?P<ref2>[^\n:=]{0,80}?)(?:\bto\b|\bshould be\b|[:=])\s*(?P<v2>\S[^\n]*)$"
    r"|\bcall\s(?:it|that|this)\s(?P<v3>\S[^\n]*)$",
    _I,
)
_LIST_NAME = r"(?P<name>acceptance\scriteri(?:on|a)|criteri(?:on|a)|acs?|definition\sof\sdone(?:\s(?:item|point))?|dod(?:\sitem)?)"
ADD_ITEM = re.compile(
    rf"\b(?:add|append|include|füge)\b(?P<ref>[^\n:]{{0,60}}?)\b(?:an?\s|the\s|another\s|one\smore\s|these\s)?{_LIST_NAME}"
    rf"(?P<ref2>\s+(?:to|for|on)\s+[^\n:,\ue000]{{1,60}}?(?=\s*[:,\ue000–]|\s+(?:that|saying)\b))?\s*(?:[:,–-]|that\b|saying\b)?\s*(?P<v>\S(?:.|\n)*)$",
    _I,
)
_ADD_QUOTED = re.compile(rf"\badd\s+(?P<v>{_Q})\s+(?:as|to)\s+(?:an?\s|the\s)?{_LIST_NAME}", _I)
TEXT_FIELD = re.compile(
    r"\b(?:set|change|update|add)?\s*(?:the\s|an?\s)?(?P<name>description|user\sstory|technical\sdetails)\b(?P<ref>[^\n:=]{0,60}?)"
    r"(?:\bto\b|[:=])\s*(?P<v>\S(?:.|\n)*)$",
    _I,
)
_STATUS_TO = re.compile(
    rf"\b(?:to|as|in|into|is|are|on|status|auf|nach|als|ist|sind)\s+(?:now\s+|already\s+|the\s+)?(?P<s>{STATUS})\b(?:\s(?:column|state|status))?",
    _I,
)
_STATUS_ADJECTIVE = re.compile(
    rf"\b(?:mark|make|put|set|->|→|:|=)\s*(?:[^\s,]+\s){{0,3}}?(?P<s>{STATUS})\b", _I
)
_STATUS_VERBS = (
    (re.compile(r"^(?:close|finish|complete|resolve|schließe)\b", _I), "Done"),
    (re.compile(r"^(?:start|begin|starte)\b", _I), "In Progress"),
    (re.compile(r"^(?:reopen|re-open|unblock)\b", _I), "Backlog"),
    (re.compile(r"^block\b", _I), "Blocked"),
)
# What is said of a story rather than ordered: "we're done with STORY-2", "STORY-3 has shipped".
_STATUS_SAID = (
    (re.compile(r"\b(?:done|finished|completed|shipped|released|live|deployed|merged)\b", _I), "Done"),
    (re.compile(r"\b(?:blocked|stuck|waiting\s(?:for|on))\b", _I), "Blocked"),
    (re.compile(r"\b(?:(?:am|are|is|['’](?:m|re|s)|started|began|begun|now)\sworking|started|picked\sup|begun)\b", _I), "In Progress"),
)
_ASSIGN = re.compile(rf"\bassign\s+(?P<a>{_Q}|@?[\w.-]+(?:\s(?-i:[A-Z])[\w-]+)?)\s+to\s+", _I)
_ASSIGN_TO = re.compile(
    rf"\b(?:re)?assign(?:ed)?\b(?P<ref>[^\n]{{0,60}}?)\bto\s+@?(?P<a>{_Q}|[\w.-]*\w(?:\s(?-i:[A-Z])[\w-]+)?)", _I
)
_UNASSIGN = re.compile(
    r"\bunassign\b|\bassign(?:ed)?\b(?P<ref>[^\n]{0,40})\bto\s(?:nobody|no\sone)\b|\bremove\sthe\sassignee\b", _I
)
_ADD_LABEL = re.compile(
    rf"\b(?:add|put)\b[^\n]{{0,20}}?\b(?:labels?|tags?)\s+(?!to\b|on\b)(?P<l>{_Q}|#?[\w-]+(?:(?:,\s?|\sand\s)#?[\w-]+)*)|\b(?:tag|label)\s+"
    rf"(?P<ref>(?:[^\n]{{1,40}}?\s)?)(?:with|as)\s+(?P<l2>{_Q}|#?[\w-]+(?:(?:,\s?|\sand\s)#?[\w-]+)*)|\badd\s+(?:the\s|an?\s)?(?P<l3>{_Q}|#?[\w-]+)\s(?:label|tag)\b",
    _I,
)
_LABEL_TOO = re.compile(rf"^(?:with\s)?(?:the\s|an?\s)?(?:label|tag)s?\s+(?!to\b|on\b)(?P<l>{_Q}|#?[\w-]+)[\s.]*$", _I)
_REMOVE_LABEL = re.compile(
    rf"\bremove\s+(?:the\s)?(?:(?:labels?|tags?)\s+(?P<l>{_Q}|#?[\w-]+)|(?P<l2>{_Q}|#?[\w-]+)\s(?:label|tag))",
    _I,
)
_TYPE = re.compile(
    rf"\b(?:make|convert|turn|change|is)\b[^\n]{{0,40}}?\b(?:an?|to|into)\s(?:an?\s)?(?P<t>{either(TYPE_WORDS)}|story)\b",
    _I,
)
_MOVE_TO = re.compile(
    r"\b(?:move|set|change|put|push|drag|send|add)\b[^\n]{0,60}?\b(?:to|into|in|under)\s+(?:the\s)?(?P<s>[\w -]{2,30}?)\s*[.!]*$",
    _I,
)
_RELATIVE = re.compile(
    r"\b(?:(?P<up>raise|increase|bump(?:\sup)?|promote|higher|more\simportant|more\surgent)|"
    r"(?P<down>lower|decrease|demote|less\simportant|less\surgent|bump\sdown))\b",
    _I,
)
_PLAIN_PRIORITY = re.compile(
    rf"\b(?:to|make|it|that|this|them|one|as|is|auf|a)\s+(?:be\s)?(?:an?\s)?(?P<p>{PRIORITY})\b(?!\s(?:contrast|level|res))",
    _I,
)
_GIVE_TO = re.compile(rf"\bgive\s(?!to\b)(?P<ref>[^\n]{{1,40}}?)\sto\s@?(?P<a>{_Q}|(?-i:[A-ZÄÖÜ])[\w-]+|[\w-]+[\s.!]*$)", _I)
_FROM = re.compile(rf"\b(?:from|von)\s(?:p[0-9]|{PRIORITY}|{STATUS}|[0-9]{{1,2}}(?:\spoints?)?)\s(?=to\b|auf\b|nach\b)", _I)
_PUT_ON = re.compile(r"\bput\s+@?(?P<a>(?-i:[A-ZÄÖÜ])[\w-]+)\s+on\s+(?:it|this|that|story-)", _I)
_POINTS_OF = re.compile(
    r"\b(?:points?|estimate|estimation)\b(?:\s(?:of|for)\b)?[^\n,;]{0,40}?\b(?:to|at|as|=)\s*(?P<n>[0-9]{1,3})\b",
    _I,
)


def read_changes(masked: Masked, text: str, conv: Conversation) -> tuple[dict[str, Any], str]:
    """Return the changes, and the text with gaps where they stood."""
    args: dict[str, Any] = {}
    text = _FROM.sub("", _take_free_text(masked, text, args))
    if not text.strip():
        return args, ""
    text = _take_people_and_labels(masked, text, args, {ref.title.casefold() for ref in conv.known})
    _take_points(text, args)
    found = find_fields(masked, f", {without_ids(text)}", epics=conv.epics)
    for name, value in found.args.items():
        if name == "labels":
            args["add_labels"] = [*args.get("add_labels", []), *value]
        elif name in {"acceptance_criteria", "definition_of_done"}:
            args.setdefault(f"add_{name}", value)
        else:
            args.setdefault(name, value)
    _take_status(found, args)
    _take_rest(found, args, conv)
    return args, found.rest


def _take_free_text(masked: Masked, text: str, args: dict[str, Any]) -> str:
    """Take out a text that is to be stored as it is; return what is left to read as an instruction."""
    quoted = _ADD_QUOTED.search(text)
    if quoted:
        args[_list_argument(quoted["name"])] = [masked.restore(quoted["v"])]
        return text[: quoted.start()] + " " + text[quoted.end() :]
    rename = RENAME.search(text)
    if rename:
        value = rename["v"] or rename["v2"] or rename["v3"]
        args["title"] = masked.restore(value).strip(" .")
        return f"{text[: rename.start()]} {rename['ref'] or rename['ref2'] or ''} {GAP}"
    item = ADD_ITEM.search(text)
    if item:
        place = re.match(r"(?:to|for)\s+\S+\s*[:,]\s*", item["v"])
        value = item["v"][place.end() :] if place else item["v"]
        args[_list_argument(item["name"])] = list(criteria_items(masked, _unquoted(masked, value)))
        return f"{text[: item.start()]} {item['ref']} {item['ref2'] or ''} {place[0] if place else ''} {GAP}"
    block = TEXT_FIELD.search(text)
    if block:
        name = re.sub(r"\s", "_", block["name"].casefold())
        args[name] = masked.restore(block["v"]).strip()
        return f"{text[: block.start()]} {block['ref']} {GAP}"
    return text


def _unquoted(masked: Masked, value: str) -> str:
    return (
        masked.restore(value)
        if re.fullmatch(rf"\s*{_Q}[\s.]*", value) and "," not in masked.restore(value)
        else value
    )


def _list_argument(name: str) -> str:
    return (
        "add_definition_of_done" if name.casefold().startswith(("def", "dod")) else "add_acceptance_criteria"
    )


def _take_people_and_labels(masked: Masked, text: str, args: dict[str, Any], titles: set[str]) -> str:
    unassign = _UNASSIGN.search(text)
    if unassign:
        args["assignee"] = ""
        return _without(text, unassign)
    put = _PUT_ON.search(text) or _GIVE_TO.search(text)
    if put:
        args["assignee"] = masked.restore(put["a"]).strip(" .!")
        return _without(text, put)
    assign = _ASSIGN.search(text)
    if assign and _is_person(assign["a"], text[assign.end() :], titles):
        args["assignee"] = masked.restore(assign["a"]).lstrip("@")
        text = text[: assign.start()] + GAP + text[assign.end() :]
    elif (assign_to := _ASSIGN_TO.search(text)) is not None:
        args["assignee"] = masked.restore(assign_to["a"]).lstrip("@")
        text = _without(text, assign_to)
    for pattern, name in ((_REMOVE_LABEL, "remove_labels"), (_ADD_LABEL, "add_labels"), (_LABEL_TOO, "add_labels")):
        match = pattern.search(text)
        if match:
            words = next(v for k, v in match.groupdict().items() if v and k != "ref")
            args[name] = [masked.restore(w).lstrip("#") for w in re.split(r",\s?|\sand\s", words) if w]
            text = _without(text, match)
    return text


def _is_person(name: str, behind: str, titles: set[str]) -> bool:
    """Say whether ``assign Ann to Login`` and not ``assign login to Ann`` was said."""
    if name.casefold() in {"it", "this", "that", "them", *titles} or story_ids(name):
        return False
    return not name.islower() or re.match(r"(?-i:@\w|[A-ZÄÖÜ])[\w.-]+\W*$", behind) is None


def _without(text: str, match: re.Match[str]) -> str:
    """Return the text with a gap in place of the match; what it passed over stays."""
    return f"{text[: match.start()]} {match.groupdict().get('ref') or ''} {GAP}{text[match.end() :]}"


def _take_points(text: str, args: dict[str, Any]) -> None:
    match = _POINTS_OF.search(text)
    if match:
        args.setdefault("points", int(match["n"]))


def _take_status(found: Found, args: dict[str, Any]) -> None:
    if "status" in args:
        return
    for pattern in (_STATUS_TO, _STATUS_ADJECTIVE):
        match = pattern.search(found.rest)
        if match:
            args["status"] = status_value(match["s"])
            _cut(found, match.span("s"))
            return
    for verb, status in _STATUS_VERBS:
        if verb.match(found.rest.strip(" ,")):
            args["status"] = status
            return
    if not args and not ORDER.match(found.rest.strip(f" ,{GAP}")):
        for words, status in _STATUS_SAID:
            match = words.search(found.rest)
            if match:
                args["status"] = status
                _cut(found, match.span())
                return


def _take_rest(found: Found, args: dict[str, Any], conv: Conversation) -> None:
    """Read what has no keyword of its own: "make it a bug", "make it urgent", "move it to Checkout"."""
    kind = _TYPE.search(found.rest)
    if kind and "type" not in args:
        args["type"] = TYPE_WORDS.get(kind["t"].casefold(), "story")
        _cut(found, kind.span("t"))
    plain = _PLAIN_PRIORITY.search(found.rest)
    if plain and "priority" not in args and "status" not in args:
        args["priority"] = priority_value(plain["p"])
        _cut(found, plain.span("p"))
    if args:
        return
    relative = _RELATIVE.search(found.rest)
    if relative:
        args[STEP] = -1 if relative["up"] else 1
        return
    moved = _MOVE_TO.search(found.rest)
    name = moved["s"].strip() if moved else ""
    known = known_epic(name, conv.epics)
    if known:
        args["epic"] = known
    elif name and not story_ids(name):
        # Neither a status nor an epic that is known: the tool will say which there are.
        args["status"] = "Backlog" if name.casefold() in OPEN_WORDS else name
    if moved and args:
        _cut(found, moved.span("s"))


def _cut(found: Found, span: tuple[int, int]) -> None:
    found.rest = f"{found.rest[: span[0]]}{GAP}{found.rest[span[1] :]}"
