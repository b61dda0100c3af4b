
"""From a question about the backlog to calls of list_stories and get_story."""

import re
from typing import Any

from .fields import epic_name, known_epic, priority_value, status_value
from .plan import Call, Conversation, Plan
from .refer import story_ids, who_is_meant
from .text import Masked
from .words import NOUN, NUMBER_WORDS, OPEN_WORDS, PLURAL, PRIORITY, STATUS, TYPE_WORDS, either

_I = re.IGNORECASE
_Q = r"\ue000[0-9]+\ue001"
_HEAD = re.compile(
    r"^(?:list|show|display|print|give\sme|get|fetch|find|search|look\sfor|look\sup|view|see|open|which|what(?:'s|’s|\sis|\sare)?|"
    r"whats|how\smany|how\smuch|count|number\sof|any(?:thing)?|are\sthere|is\sthere|do\swe\s(?:already\s)?have|have\swe|tell\sme|details?|describe|"
    r"status|summar(?:y|i[sz]e)|overview|who|where|zeige?|liste|welche[rs]?|was|wie\sviele|finde|suche|gib|anzahl|my|all|is|has|does|did|how\sfar|total|sum|"
    r"everything|recap|read|explain)\b"
    rf"|^(?:(?:p[0-9]|{PRIORITY}|{STATUS}|{either(OPEN_WORDS)})\s)?{PLURAL}\b",
    _I,
)
_COUNT = re.compile(r"\b(?:how\smany|count|number\sof|wie\sviele|anzahl)\b", _I)
_POINTS = re.compile(
    r"\b(?:how\s(?:many|much)|number\sof|total|sum\sof|count(?:\sthe)?|wie\sviele)\s(?:of\s)?(?:the\s|all\s|story\s){0,2}(?:points?|punkte)\b",
    _I,
)
_EPICS = re.compile(r"\b(?:epics)\b", _I)
_EVERYTHING = re.compile(
    r"^(?:(?:list|show|display|zeige?|liste)(?:\s(?:me|them|mir))?(?:\s(?:all|everything|alle|alles))?|all|everything|"
    r"(?:give\sme\s)?(?:an?\s|the\s)?(?:quick\s|current\s)?(?:overview|summary|recap|status(?:\s(?:update|report))?)|what(?:'s|’s|\sis)\s(?:left|open|there))[\s?.!]*$",
    _I,
)
_NEXT = re.compile(
    r"^(?:what|which|was)\b[^\n]{0,40}?\b(?:(?:work|start|pick|take|do|focus)\b[^\n]{0,20}?\bnext\b|next\b|most\s(?:important|urgent)|"
    r"(?:top|highest|biggest)\spriorit(?:y|ies)|als\snächstes)[^\n]{0,40}$",
    _I,
)
_FINISHED = re.compile(
    r"^(?:what|which|was)\b[^\n]{0,40}?\b(?:did|have|has|haben)\s(?:we|i|they|wir)\b[^\n]{0,20}?"
    r"\b(?:finish|complet|ship|clos|deliver|done|release|get\sdone|geschafft|erledigt)\w*[^\n]{0,40}$",
    _I,
)
_FIELD_ASKED = re.compile(
    r"\b(?:the|der|die|das)\s(?:status|priority|epic|points|estimate|assignee|owner|title|description|labels|(?:acceptance\s)?criteria|"
    r"definition\sof\sdone|user\sstory|details|priorität)[\s?.!]*$",
    _I,
)
_BACKLOG = re.compile(rf"\b(?:backlog|(?:some|any)thing|{NOUN}|epics?|board|sprint)\b", _I)
_LIMIT = re.compile(
    rf"\b(?:top|first|last|latest|only|max(?:imum)?|limit|ersten|letzten)\s+(?P<n>[0-9]{{1,3}}|{either(NUMBER_WORDS)})\b"
    rf"|\b(?P<m>[0-9]{{1,3}})\s(?={NOUN}\b)",
    _I,
)
_PRIORITY = re.compile(
    rf"\bp(?P<d>[0-9])s?\b|\b(?P<w>{PRIORITY})(?=[\s-](?:priority|prio|priorität|{NOUN})\b)|\b(?:priority|prio|priorität)\s(?P<v>{PRIORITY})\b",
    _I,
)
_LONE_PRIORITY = re.compile(rf"\b(?:is|are|marked|that's|ist|sind)\s(?P<w>{PRIORITY})\b", _I)
_STATUS = re.compile(rf"(?:\b(?:with\s)?status\s(?:is\s|of\s|=\s?)?)?\b(?P<s>{STATUS})\b", _I)
_OPEN = re.compile(
    rf"\b(?:{either(OPEN_WORDS)})\b|\b(?:not|\w+n['’]t)\s(?:yet\s)?(?:done|finished|closed|complete)\b", _I
)
_TYPE = re.compile(rf"\b(?P<t>{either(TYPE_WORDS)})\b", _I)
_ASSIGNEE = re.compile(
    rf"\b(?:assigned\sto|owned\sby|for\s@|belong(?:s|ing)?\sto|zugewiesen\san)\s*@?(?P<a>{_Q}|[\w.-]*\w(?:\s(?-i:[A-Z])[\w-]+)?)|(?<!\w)@(?P<b>\w[\w.-]*)"
    rf"|\b(?:(?:does|is|was)\s|what['’]?s\s)(?P<c>[\w.-]+)\s(?:working\son|doing|have)\b",
    _I,
)
_LABEL = re.compile(
    rf"\b(?:labell?ed|tagged|with\s(?:the\s)?(?:label|tag)|label|tag)\s*(?:with\s|as\s|:)?\s*#?(?P<l>{_Q}|[\w-]+)",
    _I,
)
_EPIC = re.compile(
    rf"\b(?:in|from|of|under|for|within|im|aus|von)\s+(?:the\s|our\s|dem\s|der\s)?(?:epic\s+)?(?P<e>{_Q}|[\w&/-]{{1,60}}(?:\s[\w&/-]{{1,60}}){{0,3}}?)(?:\s+epic)?"
    rf"(?=\s*(?:$|[?.!,;]|\b(?:with|that|and|which|are|is)\b))|\bepic\s*[:=]?\s*(?P<f>{_Q}|[\w&-]+)|\b(?P<g>{_Q}|[\w&-]{{1,60}}(?:\s(?-i:[A-Z])[\w-]{{1,60}})?)\sepic\b",
    _I,
)
_TEXT = re.compile(
    r"\b(?:about|mention(?:s|ing)?|contain(?:s|ing)?|regarding|related\sto|concerning|matching|with\sthe\swords?|named|called|über|zum\sthema)\s+"
    r"(?P<t>\S[^\n?]{0,200})",
    _I,
)
_SEARCH = re.compile(
    r"^(?:find|search(?:\sfor)?|look\sfor|look\sup|finde|suche(?:\snach)?)\s+(?:the\s|me\s)?(?P<t>\S[^\n?]{0,200})",
    _I,
)
_NOISE = re.compile(
    rf"\b(?:{NOUN}|list|show|display|print|give|get|fetch|find|search|look|up|view|see|open|which|what|what's|whats|how|many|much|"
    r"count|number|any|are|is|there|do|does|did|we|have|has|tell|me|us|my|our|your|all|the|a|an|of|in|on|at|to|for|with|and|or|please|"
    r"priority|prio|status|backlog|currently|current|now|still|right|today|by|epic|epics|exist|existing|that|this|these|those|"
    r"zeige?|zeig|liste|mir|alle|welche[rs]?|sind|was|ist|wie|viele|gibt|es|im|der|die|das|den|von|mit|s|been|be|i|you|can|yet|were|whats|"
    r"every|everything|something|anything|already|far|along|how's|each|so|far|left|work|works|not|items?|overview|summary|summari[sz]e|board|state|go|done|finde|suche|gib|"
    r"anzahl|haben|wir|nach|bitte|whole|entire|full|complete|top|first|last|latest|only|max|limit|whats|s|it|need|needs)\b",
    _I,
)
_SPLIT_TOPIC = re.compile(r"\b(?:in\sthe|in\sour|im)\s+backlog\b|\bbacklog\b(?!\s(?:status|column))", _I)


def plan_query(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """Return the plan for a question about the backlog; None if it is no such question."""
    ids = story_ids(text)
    if ids and (_HEAD.match(text) or len(text) < 60):
        return Plan("get", tuple(Call("get_story", {"id": i}) for i in ids[:10]))
    meant = who_is_meant(text, conv)
    if not (_HEAD.match(text) or (meant.explicit and text.endswith("?"))):
        return None
    if _EVERYTHING.match(text):
        left = re.search(r"\b(?:left|open)\b", text, _I)
        return Plan("list", (Call("list_stories", {"status": "open"} if left else {}),))
    if _FINISHED.match(text):
        return Plan("list", (Call("list_stories", {"status": "Done"}),))
    if _NEXT.match(text):
        return Plan("list", (Call("list_stories", {"status": "open", "limit": 5}),))
    if len(conv.shown) == 1 and _FIELD_ASKED.search(text):
        return Plan("get", (Call("get_story", {"id": conv.shown[0].id}),))
    if meant.ids and not _BACKLOG.search(
        re.sub(r"\b(?:the|this|that)\s\S+\s(?:story|one|ticket)\b|\b(?:this|that|the)\sstory\b", "", text)
    ):
        return Plan("get", tuple(Call("get_story", {"id": i}) for i in meant.ids[:10]))
    if _EPICS.search(text):
        return Plan("epics", (Call("list_stories", {"limit": 500}),))
    return _list(masked, text, conv)


def _list(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    args: dict[str, Any] = {}
    rest = _take_words(masked, text, args)
    rest, priorities = _take_priorities(rest)
    rest = _take_states(rest, args)
    rest = _take_epic(masked, rest, args, conv)
    points = _POINTS.search(rest) is not None
    rest = _POINTS.sub(" ", rest)
    guess = ""
    subject = points or bool(args) or bool(priorities) or _BACKLOG.search(text) is not None
    left = " ".join(w for w in re.findall(rf"{_Q}|[\w&-]+", _NOISE.sub(" ", rest)) if w != "-")
    if left:
        name = masked.restore(left)
        known = known_epic(name, conv.epics)
        if known and "epic" not in args:
            args["epic"] = known
            subject = True
        elif subject and (points or re.search(rf"\b{NOUN}\b", text, _I) or "text" in args):
            guess = "" if "text" in args else name
            args.setdefault("text", name)
        else:
            return None
    if not subject:
        return None
    if points:
        if re.search(r"\bleft\b", text, _I):
            args.setdefault("status", "open")
        args["limit"] = 500
    calls = tuple(Call("list_stories", {**args, "priority": p}) for p in priorities) or (
        Call("list_stories", args),
    )
    return Plan("points" if points else "count" if _COUNT.search(text) else "list", calls, guess=guess)


def look_wider(plan: Plan, totals: tuple[int, ...]) -> tuple[Call, ...]:
    """Return the calls without the words that were not understood, if no story has them; else nothing."""
    if not plan.guess or len(totals) != len(plan.calls) or any(totals):
        return ()
    return tuple(Call(c.tool, {k: v for k, v in c.args.items() if k != "text"}) for c in plan.calls)


def _take_words(masked: Masked, text: str, args: dict[str, Any]) -> str:
    about = _TEXT.search(text)
    if about is None:
        about = _SEARCH.match(text)
        if about and (re.search(rf"\b{NOUN}\b", about["t"], _I) or _PRIORITY.search(about["t"])):
            about = None
    if about:
        words = masked.restore(about["t"]).strip(" .!\"'")
        args["text"] = re.sub(r"^(?:the|a|an)\s", "", words, flags=_I)
        text = text[: about.start()] + " " + ("" if about.re is _TEXT else "stories")
    for pattern, name in ((_ASSIGNEE, "assignee"), (_LABEL, "label")):
        match = pattern.search(text)
        if match:
            args[name] = masked.restore(next(v for v in match.groupdict().values() if v))
            text = text[: match.start()] + " " + text[match.end() :]
    limit = _LIMIT.search(text)
    if limit:
        number = (limit["n"] or limit["m"]).casefold()
        args["limit"] = NUMBER_WORDS.get(number) or int(number)
        text = text[: limit.start()] + " " + text[limit.end() :]
    return text


def _take_priorities(text: str) -> tuple[str, list[str]]:
    found = [priority_value((m["d"] and f"P{m['d']}") or m["w"] or m["v"]) for m in _PRIORITY.finditer(text)]
    text = _PRIORITY.sub(" ", text)
    lone = _LONE_PRIORITY.search(text) if not found else None
    if lone:
        found.append(priority_value(lone["w"]))
        text = text[: lone.start()] + " " + text[lone.end() :]
    return text, list(dict.fromkeys(found))


def _take_states(text: str, args: dict[str, Any]) -> str:
    if _OPEN.search(text[5:]):
        args["status"] = "open"
        text = text[:5] + _OPEN.sub(" ", text[5:])
    plain = (
        text
        if re.search(r"\bstatus\s(?:is\s|=\s?|of\s)?backlog\b", text, _I)
        else _SPLIT_TOPIC.sub(" ", text)
    )
    status = _STATUS.search(plain)
    if status and "status" not in args:
        args["status"] = status_value(status["s"])
        plain = plain[: status.start()] + " " + plain[status.end() :]
    kind = _TYPE.search(plain)
    if kind:
        args["type"] = TYPE_WORDS[kind["t"].casefold()]
        plain = plain[: kind.start()] + " stories " + plain[kind.end() :]
    return plain


def _take_epic(masked: Masked, text: str, args: dict[str, Any], conv: Conversation) -> str:
    for match in _EPIC.finditer(text):
        raw = match["e"] or match["f"] or match["g"]
        name = masked.restore(raw).strip()
        words = re.sub(r"^(?:the|our|this|that)\s", "", name, flags=_I)
        if (
            not words
            or _NOISE.sub("", words).strip() == ""
            or re.fullmatch(r"(?:this\s)?(?:sprint|week|list)", words, _I)
        ):
            continue
        named = not words.islower() or match["f"] or match["g"] or known_epic(words, conv.epics)
        if not named and not re.match(r"(?:in|under|within|im|aus)\b", match[0], _I):
            continue
        args["epic"] = epic_name(words, conv.epics)
        return text[: match.start()] + " " + text[match.end() :]
    return text
