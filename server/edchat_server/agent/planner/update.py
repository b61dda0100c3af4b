# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""From a wish for a change to calls of update_story."""

import re
from dataclasses import dataclass
from typing import Any

from .create import too_many
from .fields import GAP, Found, criteria_items, find_fields, known_epic, priority_value, status_value
from .name import name_in_front, names_in
from .plan import Asked, Call, Conversation, Plan, StoryRef
from .refer import Meant, reference, story_ids, titled_with, who_is_meant, without_ids
from .text import Masked, escape
from .words import OPEN_WORDS, PRIORITY, SINGULAR, STATUS, TYPE_WORDS, either

MAX_UNNAMED = 3

_Group = tuple[tuple[str, ...], dict[str, Any], bool]


@dataclass(frozen=True)
class _Unclear:
    """Words that fit the titles of several stories, and what was to be changed."""

    words: str
    fits: tuple[StoryRef, ...]
    args: dict[str, Any]


_STEP = "step"
"""A change relative to today's priority, among the arguments until its story is known."""

_I = re.IGNORECASE
_Q = r"\ue000[0-9]+\ue001"
_ORDER = re.compile(
    r"^(?:set|change|update|make|move|mark|rename|retitle|assign|reassign|unassign|add|append|remove|bump|raise|lower|"
    r"increase|decrease|estimate|close|finish|complete|start|begin|reopen|re-open|block|unblock|put|tag|label|describe|"
    r"edit|modify|drop|prioriti[sz]e|deprioriti[sz]e|convert|turn|give|call|promote|demote|resolve|send|push|drag|"
    r"setze?|ändere|verschiebe?|markiere?|benenne|weise|füge|schließe|starte)\b",
    _I,
)
# Said, not ordered: "it should be P0", "we've finished STORY-2".
_SAID = re.compile(r"^(?:(?P<person>i|we|ich|wir)|it|that|its|(?:the\s)?(?:priority|status|points|epic|title)|p[0-3]|es)\b", _I)
# A story is named here, even if none was shown: by its field, as "the … story", or between verb and value.
_OF_STORY = re.compile(
    rf"^(?:\w+\s)?(?:the\s)?(?:priority|status|points|estimate|epic|title|assignee|labels?|description|acceptance\scriteria)\s(?:of|for)\s(?!\ue000)\w"
    rf"|\b(?:the|die|das|den)\s(?:[\w&/'’-]+\s){{1,8}}{SINGULAR}\b"
    rf"|^(?:set|change|mark|move|update|bump|push|drag|send)\s[^\n]{{3,120}}?\s(?:to|as|into?)\s(?:p[0-9]|{STATUS})\W*$"
    r"|^(?:re)?assign\s[^\n]{3,120}?\sto\s(?-i:@\w|[A-ZÄÖÜ])[\w.-]+\W*$",
    _I,
)
_NOT_SO = re.compile(r"\b(?:not|never|nobody|almost|nearly|half|soon|will|if|when|once|unless|nicht|wenn|fast)\b|n['’]t\b", _I)
_RENAME = re.compile(
    r"\b(?:rename|retitle|call|benenne)\b(?P<ref>[^\n]{0,80}?)\b(?:to|as|into|in|um in)\b:?\s+(?P<v>\S[^\n]*)$"
    r"|\b(?:the\s)?title\b(?P<ref2>[^\n:=]{0,80}?)(?:\bto\b|\bshould be\b|[:=])\s*(?P<v2>\S[^\n]*)$"
    r"|\bcall\s(?:it|that|this)\s(?P<v3>\S[^\n]*)$",
    _I,
)
_LIST_NAME = r"(?P<name>acceptance\scriteri(?:on|a)|criteri(?:on|a)|acs?|definition\sof\sdone(?:\s(?:item|point))?|dod(?:\sitem)?)"
_ADD_ITEM = re.compile(
    rf"\b(?:add|append|include|füge)\b(?P<ref>[^\n:]{{0,60}}?)\b(?:an?\s|the\s|another\s|one\smore\s|these\s)?{_LIST_NAME}"
    rf"(?P<ref2>\s+(?:to|for|on)\s+[^\n:,\ue000]{{1,60}}?(?=\s*[:,\ue000–]|\s+(?:that|saying)\b))?\s*(?:[:,–-]|that\b|saying\b)?\s*(?P<v>\S(?:.|\n)*)$",
    _I,
)
_ADD_QUOTED = re.compile(rf"\badd\s+(?P<v>{_Q})\s+(?:as|to)\s+(?:an?\s|the\s)?{_LIST_NAME}", _I)
_TEXT_FIELD = re.compile(
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
_OTHER_OBJECT = re.compile(r"^(?:close|finish|complete|resolve|start|begin|starte|schließe|reopen|re-open|unblock|block)\s+(?!all\b|every|alle\b)\w", _I)
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
_NEXT_ID = re.compile(
    r"(\bstory-[0-9]{1,9})(\s*(?:,\s*and|,|and|und|&)\s*)#?([0-9]{1,9})\b(?!\s*(?:points?|pts?|sp)\b)", _I
)
_ARROW = re.compile(r"\s*(?:-+>|=>|→)\s*")
_GIVE_TO = re.compile(rf"\bgive\s(?!to\b)(?P<ref>[^\n]{{1,40}}?)\sto\s@?(?P<a>{_Q}|(?-i:[A-ZÄÖÜ])[\w-]+|[\w-]+[\s.!]*$)", _I)
_FROM = re.compile(rf"\b(?:from|von)\s(?:p[0-9]|{PRIORITY}|{STATUS}|[0-9]{{1,2}}(?:\spoints?)?)\s(?=to\b|auf\b|nach\b)", _I)
_PUT_ON = re.compile(r"\bput\s+@?(?P<a>(?-i:[A-ZÄÖÜ])[\w-]+)\s+on\s+(?:it|this|that|story-)", _I)
_POINTS_OF = re.compile(
    r"\b(?:points?|estimate|estimation)\b(?:\s(?:of|for)\b)?[^\n,;]{0,40}?\b(?:to|at|as|=)\s*(?P<n>[0-9]{1,3})\b",
    _I,
)
_CLAUSE = re.compile(r"\s*(?:;|\n|\.\s|,\s*(?:and\s+|then\s+|und\s+)?|\s(?:and\sthen|and|then|und)\s)\s*", _I)
_EVERYTHING = re.compile(
    rf"\b(?:all|every|everything|each|alle)\b(?!\sof\s(?:them|these))(?!\s(?:{either(('two', 'three'))})\b)",
    _I,
)


def looks_like_update(text: str, conv: Conversation) -> bool:
    """Say whether the text wishes a change of stories that exist."""
    meant = who_is_meant(text, conv)
    if _ORDER.match(text):
        shown = conv.shown and not _OTHER_OBJECT.match(text)
        return bool(meant.ids or meant.vague or shown or _OF_STORY.search(text))
    if text.endswith("?") or _NOT_SO.search(text):
        return False
    said = _SAID.match(text)
    if meant.explicit or said is None:
        return meant.explicit
    return bool(meant.ids or (not said["person"] and (meant.vague or conv.shown or _OF_STORY.search(text))))


def plan_update(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """Return the plan for a change; None if the text names no change."""
    text = _ARROW.sub(", ", _titles_to_ids(_spell_out_ids(text), conv))
    if _EVERYTHING.search(text) and not story_ids(text) and not re.search(r"\bcriteri", text, _I):
        return _not_all()
    changes = _changes_by_story(masked, text, conv)
    if isinstance(changes, _Unclear):
        return _which_of(changes, conv)
    if not changes:
        args, meant = changes_in(masked, text, conv), who_is_meant(text, conv)
        args.pop(_STEP, None)
        return _which(args, conv, meant) if args else _what(text)
    vague = [ids for ids, _, named in changes if not named]
    calls = tuple(Call("update_story", {"id": i, **_stepped(args, i, conv)}) for ids, args, _ in changes for i in ids)
    if any(set(call.args) == {"id"} for call in calls):
        return _what(text)
    if any(len(ids) > MAX_UNNAMED for ids in vague):
        return too_many(calls, f"That would change {len(calls)} stories")
    return Plan("update", calls)


def changes_in(masked: Masked, text: str, conv: Conversation) -> dict[str, Any]:
    """Return the changes that the text names, as arguments of update_story."""
    return _read(masked, text, conv)[0]


def _read(masked: Masked, text: str, conv: Conversation) -> tuple[dict[str, Any], str]:
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


def _changes_by_story(masked: Masked, text: str, conv: Conversation) -> list[_Group] | _Unclear:
    """Return (stories, changes, each was named) for each part of the sentence that has its own stories."""
    groups: list[_Group] = []
    waiting: tuple[str, ...] = ()
    verb = ""
    for clause in _clauses(text):
        args, rest = _read(masked, clause, conv)
        order = _ORDER.match(clause)
        if not (args or order or _is_label(clause, groups)) and verb:
            args, rest = _read(masked, f"{verb} {clause}", conv)
        verb = order[0] if order else verb
        meant = who_is_meant(clause, conv)
        ids, named = meant.ids, meant.explicit
        if not ids and not meant.vague and (name := _named(rest, conv, first=not (groups or waiting), args=args)):
            fits = titled_with(name, conv)
            if len(fits) > 1:
                return _Unclear(name, fits, args)
            ids, named = (fits[0].id if fits else masked.restore(name),), True
        if groups and (meant.vague or not ids):
            ids, named = groups[-1][0], groups[-1][2]
        if not groups and not ids and not meant.vague and len(conv.shown) == 1:
            ids, named = (conv.shown[0].id,), True
        if not args and _is_label(clause, groups):
            groups[-1][1]["add_labels"].append(clause.strip(" .#"))
        elif not args:
            waiting = (*waiting, *(ids if named and not groups else meant.ids if meant.explicit else ()))
        elif ids or waiting:
            if groups and (_ORDER.match(clause) or _SAID.match(clause)):
                groups[-1] = _with_ids(groups[-1], waiting)
                waiting = ()
            _add_group(groups, (*waiting, *ids), args, named)
            waiting = ()
        else:
            return []
    return [*groups[:-1], _with_ids(groups[-1], waiting)] if groups else []


def _named(rest: str, conv: Conversation, *, first: bool, args: dict[str, Any]) -> str:
    """Return the words that name the story to change; nothing if there are none.

    Behind the first clause, only what stands where a story is named counts, or a title that was seen: the rest of
    "make it P0 and tell sales" says something else.
    """
    names = names_in(rest)
    seen = next((name for name in names if len(titled_with(name, conv)) == 1), "")
    if seen or not names:
        return seen
    if first:
        return names[0]
    return name_in_front(rest) if args else ""


def _titles_to_ids(text: str, conv: Conversation) -> str:
    """Put the id in place of a title with an "and" or a comma in it, which would read as two clauses."""
    for ref in conv.known:
        if len(ref.title) > 8 and _CLAUSE.search(ref.title):
            place = text.casefold().find(ref.title.casefold())
            if 0 < place < 60 and not _RENAME.search(text[:place] + "x"):
                text = f"{text[:place]}{ref.id}{text[place + len(ref.title) :]}"
    return text


def _stepped(args: dict[str, Any], story_id: str, conv: Conversation) -> dict[str, Any]:
    """Return the changes with "higher" and "lower" turned into a priority; without it if today's is not known."""
    now = reference(story_id, conv).priority
    plain = {k: v for k, v in args.items() if k != _STEP}
    if _STEP in args and len(now) == 2 and now[1].isdecimal():
        return {**plain, "priority": f"P{max(0, min(3, int(now[1]) + args[_STEP]))}"}
    return plain


def _is_label(clause: str, groups: list[_Group]) -> bool:
    """``tag it with mobile, web``: the second label is a clause of its own."""
    return bool(groups and groups[-1][1].get("add_labels") and re.fullmatch(r"#?[\w-]+", clause.strip(" .")))


def _with_ids(group: _Group, ids: tuple[str, ...]) -> _Group:
    return (tuple(dict.fromkeys((*group[0], *ids))), group[1], group[2])


def _add_group(groups: list[_Group], ids: tuple[str, ...], args: dict[str, Any], named: bool) -> None:
    ids = tuple(dict.fromkeys(ids))
    if groups and groups[-1][0] == ids:
        merged = {**groups[-1][1], **args}
        groups[-1] = (ids, merged, groups[-1][2])
    else:
        groups.append((ids, args, named))


def _clauses(text: str) -> list[str]:
    """Split at "and", commas and full stops, but never inside a text that is to be stored."""
    free = min(
        (m.start() for p in (_RENAME, _ADD_ITEM, _TEXT_FIELD) if (m := p.search(text))), default=len(text)
    )
    head, tail = text[:free], text[free:]
    pieces = [p for p in _CLAUSE.split(head) if p and p.strip()]
    if tail and pieces and not _COMPLETE.search(pieces[-1]):
        tail = f"{pieces.pop()} {tail}"
    return [*pieces, *([tail] if tail else [])]


_COMPLETE = re.compile(rf"\b(?:{STATUS}|p[0-9]|{PRIORITY}|points?)\b|[0-9]\s*$|\bto\s\S+$", _I)


def _take_free_text(masked: Masked, text: str, args: dict[str, Any]) -> str:
    """Take out a text that is to be stored as it is; return what is left to read as an instruction."""
    quoted = _ADD_QUOTED.search(text)
    if quoted:
        args[_list_argument(quoted["name"])] = [masked.restore(quoted["v"])]
        return text[: quoted.start()] + " " + text[quoted.end() :]
    rename = _RENAME.search(text)
    if rename:
        value = rename["v"] or rename["v2"] or rename["v3"]
        args["title"] = masked.restore(value).strip(" .")
        return f"{text[: rename.start()]} {rename['ref'] or rename['ref2'] or ''} {GAP}"
    item = _ADD_ITEM.search(text)
    if item:
        place = re.match(r"(?:to|for)\s+\S+\s*[:,]\s*", item["v"])
        value = item["v"][place.end() :] if place else item["v"]
        args[_list_argument(item["name"])] = list(criteria_items(masked, _unquoted(masked, value)))
        return f"{text[: item.start()]} {item['ref']} {item['ref2'] or ''} {place[0] if place else ''} {GAP}"
    block = _TEXT_FIELD.search(text)
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


def _spell_out_ids(text: str) -> str:
    """``STORY-1, 2 and 3`` becomes ``STORY-1, STORY-2 and STORY-3``, so that a part of it keeps its meaning."""
    if not story_ids(text):
        return text
    for _ in range(20):
        longer = _NEXT_ID.sub(r"\1\2STORY-\3", text)
        if longer == text:
            break
        text = longer
    return text


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
    if not args and not _ORDER.match(found.rest.strip(f" ,{GAP}")):
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
        args[_STEP] = -1 if relative["up"] else 1
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


def _which_of(unclear: _Unclear, conv: Conversation) -> Plan:
    plan = _which(unclear.args, Conversation(shown=unclear.fits, known=conv.known), Meant(vague=True))
    return Plan("ask", say=f"Several stories fit “{escape(unclear.words)}”, so nothing was changed. {plan.say}", asked=plan.asked)


def _which(args: dict[str, Any], conv: Conversation, meant: Meant) -> Plan:
    known = conv.shown or conv.listed or conv.known
    hint = ""
    if known and meant.vague:
        hint = (
            " It could be "
            + ", ".join(f"{r.id}{f' ({escape(r.title)})' if r.title else ''}" for r in known[:5])
            + "."
        )
    return Plan(
        "ask", say=f"Which story do you mean?{hint} Tell me its id, like STORY-3.", asked=Asked("which", args)
    )


def _what(text: str) -> Plan | None:
    """Return the question what to change, where a story is named and no new value."""
    if _OF_STORY.search(text) is None or re.match(r"(?:change|update|edit|modify|raise|lower|bump|increase|decrease)\b", text, _I) is None:
        return None
    return Plan(
        "talk",
        say="I did not find a new value in that, so nothing was changed. Say it as in “set the priority of STORY-3 to P0” or "
        "“move STORY-3 to Done”.",
    )


def _not_all() -> Plan:
    return Plan(
        "talk",
        say="I change only stories that you name, so nothing was changed. List them first, then say for example "
        "“set STORY-2, STORY-3 and STORY-5 to Done”.",
    )
