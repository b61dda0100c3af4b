# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""From a wish for stories to calls of create_story."""

import re
from typing import Any

from edchat_server.backlog.themes import suggest_epic

from .fields import GAP, Found, criteria_items, find_fields, has_block, known_epic, priority_value, take_epic
from .plan import Asked, Call, Conversation, Plan
from .text import Masked, escape, has_quote, is_quote, only_quote, split_list, split_numbered, split_words, strip_end
from .words import NUMBER_WORDS, PRIORITY, PRIORITY_WORDS, SINGULAR, TYPE_WORDS

MAX_AT_ONCE = 10
MAX_ASKED = 50
TITLE_MAX = 200

_I = re.IGNORECASE
_LEAD = re.compile(
    r"^(?:(?:an(?=\s(?:für|zu|über|mit)\b)|(?:one|another)(?=\s(?:for|about|to)\b)|for|about|titled|entitled|called|named|regarding|namely|"
    r"(?-i:that|which|on|to|so that|where)|von|für (?:den|die|das)|für|zu|über|hinzu|"
    r"with (?:the )?(?:title|name)|(?:the )?title(?: is)?|mit dem titel)\b(?!-)\s*|[\s:：,;.–—-]+)+",
    _I,
)
_BOLD = re.compile(r"(\*{2,3})(?=\S)([^*\n]{1,200}?)(?<=\S)\1")
_REPORTED = re.compile(r"^(?:\w+\s)?(?:users?|customers?|people|somebody|someone|we)\s(?:report|say|complain|see)(?:ed|s)?\s(?:about\s|that\s)", _I)
_ARTICLE = re.compile(r"^(?:an?|the|our|some|eine?n?|der|die|das)\s+(?=\S)", _I)
_TRAIL = re.compile(
    r"(?:[\s,;:.!?–—-]|(?<![\w-])(?:and|the|an?|please|pls|und|bitte|thanks|thank you|danke|an|auf|erstellen|anlegen|hinzufügen|erzeugen)$)+$",
    _I,
)
# "login in the Security epic": the word belongs to the field behind it. "Sign in, P1": it belongs to the title.
_BEFORE_FIELD = re.compile(
    r"(?<!\bsign)(?<!\blog)(?<!\bopt)(?<!\bcheck)(?:\s(?:and|with|in|as|for|to|at|by|on|of|the|an?|mit|im|set|auf|und))+\s*$", _I
)
_ASKS = re.compile(r"(?:can|could|how|why|what|which|should|does|do|is|are|who|wie|warum|was|welche)\b", _I)
_ONLY_GLUE = re.compile(
    r"^[\s,;:.()–—-]*(?:(?:and|with|in|as|for|to|at|by|on|of|the|an?|please|und|mit|im|bitte|it|is|it's|make|set|"
    r"should|be|also|give|has|having|all|put)[\s,;:.()–—-]*)*$",
    _I,
)
_NEXT_STORY = re.compile(
    rf"\s*(?:,|;|\band\b|&|\bund\b|\bplus\b)\s*(?:and\s+)?(?=an?\s|another\s|eine?n?\s|p[0-9]|{PRIORITY})"
    rf"(?P<before>(?:an?\s+|another\s+|eine?n?\s+)?(?:(?:p[0-9]|{PRIORITY})(?:\s(?:priority|prio))?[\s-]+)?)"
    rf"(?P<noun>{SINGULAR})\s+(?=for\b|to\b|about\b|called\b|für\b)",
    _I,
)
_TO_EPIC = re.compile(r"\sto\s(?:the\s)?(?P<e>(?-i:[A-ZÄÖÜ])\w+(?:\s(?-i:[A-ZÄÖÜ])\w+)?)$", _I)
_UNDER_NAME = re.compile(
    r"^\s*(?:in|under|im)\s+(?P<e>(?-i:[A-ZÄÖÜ])[\w&-]+(?:\s(?-i:[A-ZÄÖÜ])[\w&-]+)?)\s*(?=:)", _I
)
_IN_EPIC = re.compile(
    r"^\s*(?:in|under|for|to)\s+(?:the\s)?(?P<e>[\w&-]+(?:\s[\w&-]+)??)\s*(?=for\b|:|to\b|about\b|called\b|that\b)",
    _I,
)
_EXCEPT = re.compile(
    rf"[,;.(]?\s*\b(?:make\s+)?(?:all|everything|each|both|alle|beide)\b(?P<mid>[^.\n;]{{0,30}}?)\b(?P<p>p[0-9]|{PRIORITY})\b"
    rf"(?:[\s-](?:priority|prio))?\)?,?\s*(?:(?:except|but|apart from|other than|excluding|außer)\s+(?:for\s+|that\s+)?"
    rf"(?P<exc>[^.\n;]{{1,400}}))?",
    _I,
)
_EXCEPTION = re.compile(
    rf"(?:the\s+|for\s+|der\s+|die\s+|das\s+)*(?P<name>[^,(:]{{2,80}}?)\s*(?:,\s*|\(|:\s*|\s)?(?:which\s+|that\s+)?(?:should\s+be\s+|"
    rf"is\s+|as\s+|at\s+|to\s+|with\s+|=\s*|-\s*)?\(?(?P<p>p[0-9]|{PRIORITY})\b\)?",
    _I,
)


def plan_create(masked: Masked, body: str, before: str, *, several: bool, conv: Conversation) -> Plan:
    """Return the plan for a wish to create.

    `body` is the text behind ``create a story``, `before` what stood between verb and noun (``a P1``).
    """
    shared = find_fields(masked, f"{before} \n", epics=conv.epics).args if before else {}
    _epic_in_front(before, shared, conv)
    count = _number_in(before)
    several = several or (count or 1) > 1
    parts = [(before, body), *_more_stories(body)]
    if len(parts) > 1:
        parts[0] = (before, _NEXT_STORY.split(body, maxsplit=1)[0])
        plans = [plan_create(masked, b, w, several=False, conv=conv) for w, b in parts]
        return _plan_for([call.args for plan in plans for call in plan.calls])
    body = _epic_at_start(body, shared, conv)
    overall, exceptions, body = _overall_priority(body)
    if overall:
        shared["priority"] = overall
    items, body = _items(masked, body, shared, several=several, conv=conv)
    if not items:
        found = find_fields(masked, body, epics=conv.epics)
        items = [{**shared, **story_args(masked, found)}]
    _apply_exceptions(items, exceptions)
    return _plan_for([_with_epic(item) for item in items])


def story_args(masked: Masked, found: Found) -> dict[str, Any]:
    """Return the arguments of create_story for text whose fields are already found."""
    args = dict(found.args)
    title, technical, description = _sort_out(found.rest)
    if has_quote(title) and not is_quote(title) and clean_probe(title).startswith("\ue000"):
        description = f"{title}\n{description}" if len(title) > 60 else description
        title = only_quote(title)
    title = clean_title(masked, title)
    if not title and "user_story" in args:
        title = _title_of_sentence(args["user_story"])
    if len(title) > TITLE_MAX:
        description = f"{masked.restore(title, marks=True)}\n{description}"
        title = title[: TITLE_MAX - 1].rsplit(" ", 1)[0].rstrip(" ,;") + "…"
    args["title"] = title
    technical = _lone_epic(technical, args)
    for name, part in (("technical_details", technical), ("description", description)):
        text = masked.restore(part, marks=True).strip()
        if text and _ONLY_GLUE.match(text) is None:
            args[name] = f"{args[name]}\n{text}" if args.get(name) else text
    return args


def _lone_epic(technical: str, args: dict[str, Any]) -> str:
    """Take a known epic's name that stands alone between commas out of the technical details."""
    parts = technical.split(", ")
    names = [p for p in parts if known_epic(p, ())]
    if not names or "epic" in args:
        return technical
    args["epic"] = known_epic(names[0], ())
    return ", ".join(p for p in parts if p != names[0])


def clean_title(masked: Masked, text: str) -> str:
    """Return a title as it should be written: no connecting words around it, a capital in front."""
    text = _BOLD.sub(r"\2", text.replace(GAP, " "))
    if is_quote(text):
        return masked.restore(text.strip(" .,:;"))
    text = _REPORTED.sub("", _LEAD.sub("", text.strip()))
    text = _ARTICLE.sub("", text)
    asks = text.rstrip().endswith("?") and _ASKS.match(text) is not None
    text = strip_end(_TRAIL, text).strip(" *_#|-–—:;,") + ("?" if asks else "")
    text = re.sub(r"\s+", " ", masked.restore(text, marks=not is_quote(text)))
    text = re.sub(r"\s(?:story|ticket)$", "", text, flags=_I) if len(text.split()) > 2 else text
    return text[:1].upper() + text[1:] if text[1:2].islower() or text[1:2] in {"", " ", "-"} else text


def only_gaps(rest: str) -> str:
    """Return what is left of a text besides gaps and connecting words."""
    return "" if _ONLY_GLUE.match(rest.replace(GAP, " ")) else rest.replace(GAP, " ")


def _sort_out(rest: str) -> tuple[str, str, str]:
    """Return title, technical details and description of what is left when the fields are taken out."""
    rest = re.sub(rf"[(\[]\s*(?:{GAP}[\s,;/|]*)+[)\]]", GAP, rest)
    tokens = re.split(rf"({GAP}|[,;]\s|\n|[.!?]\s+(?=[A-ZÄÖÜ\ue000]))", rest)
    title, technical, lines = "", [], []
    gap = comma = False
    paragraph = False
    for whole, following in zip(tokens, [*tokens[1:], ""], strict=True):
        token = strip_end(_BEFORE_FIELD, whole) if following == GAP else whole
        if token == GAP:
            gap = True
        elif token[:1] in {",", ";"}:
            comma = True
        elif token.startswith("\n") or re.fullmatch(r"[.!?]\s+", token):
            paragraph = paragraph or bool(clean_probe(title))
        elif token.strip() and _ONLY_GLUE.match(token) is None:
            part = token.strip()
            if part.count("(") != part.count(")") or part.startswith("("):
                part = part.strip("() ")
            if not clean_probe(title):
                title = part
                gap = comma = False
            elif paragraph:
                lines.append(part)
            elif comma and (gap or re.search(r"[0-9]", part)):
                technical.append(part)
            else:
                title += (", " if comma else " ") + part
                comma = False
        elif token.strip() and clean_probe(title) and not gap and not paragraph and not comma:
            title += token
    return title, ", ".join(technical), "\n".join(lines)


def clean_probe(title: str) -> str:
    """Return what is left of a title without its connecting words."""
    return _LEAD.sub("", title.strip()).strip()


def _items(
    masked: Masked, body: str, shared: dict[str, Any], *, several: bool, conv: Conversation
) -> tuple[list[dict[str, Any]], str]:
    if has_block(body):
        return [], body
    head, listed = split_list(body)
    if len(listed) < 2:
        head, listed = split_numbered(body)
    if len(listed) < 2 and several:
        head, listed = _unbulleted(body)
    if len(listed) >= 2:
        found = find_fields(masked, f"{head} ", epics=conv.epics)
        if not several and clean_title(masked, _sort_out(found.rest)[0]).rstrip(":"):
            args = {**shared, **story_args(masked, found)}
            args["title"] = re.sub(r"\s+(?:with|mit|including|incl\.?)$", "", args["title"], flags=_I)
            args.setdefault(
                "acceptance_criteria", list(criteria_items(masked, "\n".join(f"- {i}" for i in listed)))
            )
            return [args], ""
        shared.update({k: v for k, v in found.args.items() if k != "acceptance_criteria"})
        return [_item(masked, item, shared, conv) for item in listed], ""
    if several:
        found = find_fields(masked, body, epics=conv.epics)
        parts = _inline(found, body, masked, conv, shared)
        if len(parts) >= 2:
            return parts, ""
    return [], body


def _inline(
    found: Found, body: str, masked: Masked, conv: Conversation, shared: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the stories of ``x (P1), y and z``: what belongs to one item only stays with it."""
    epic = {k: v for k, v in found.args.items() if k == "epic"}
    if epic:
        body = _without_epic(masked, body, conv)
    head, colon, tail = body.lstrip(" :").partition(":")
    if colon and len(head) < 80 and len(split_words(tail)) > 1:
        shared.update(find_fields(masked, f"{head} ", epics=conv.epics).args)
        topic = suggest_epic(masked.restore(head))
        if topic:
            shared.setdefault("epic", topic)
        body = tail
    shared.update(epic)
    parts = [_item(masked, part, {}, conv) for part in split_words(body)]
    stories: list[dict[str, Any]] = []
    for part in parts:
        if part["title"]:
            stories.append(part)
        elif stories:
            stories[-1].update({k: v for k, v in part.items() if k != "title"})
    return [{**shared, **story} for story in stories]


def _without_epic(masked: Masked, body: str, conv: Conversation) -> str:
    found = Found(body)
    take_epic(masked, found, conv.epics)
    return found.rest.replace(GAP, " ")


def _item(masked: Masked, item: str, shared: dict[str, Any], conv: Conversation) -> dict[str, Any]:
    item = re.sub(r"(\*{1,3}|__)([^*_\n]{1,200})\1", r"\2", item)
    found = find_fields(masked, f"{item} ", epics=conv.epics)
    lone = re.match(rf"\s*(?P<p>{PRIORITY})\s*[:–-]\s*", found.rest, _I)
    if lone and "priority" not in found.args:
        found.args["priority"] = priority_value(lone["p"])
        found.rest = found.rest[lone.end() :]
    kind = re.match(r"\s*(?P<t>bug|task|spike|story|chore)\s*[:–-]\s*", found.rest.lstrip(GAP + " "), _I)
    if kind:
        found.rest = found.rest.lstrip(GAP + " ")[kind.end() :]
        if kind["t"].casefold() != "story":
            found.args.setdefault("type", TYPE_WORDS[kind["t"].casefold()])
    return {**shared, **story_args(masked, found)}


def _unbulleted(body: str) -> tuple[str, tuple[str, ...]]:
    head, _, tail = body.partition("\n")
    lines = tuple(line.strip() for line in tail.split("\n") if line.strip())
    if len(lines) >= 2 and (not head.strip() or head.rstrip().endswith(":")):
        return head, lines
    return body, ()


def _more_stories(body: str) -> list[tuple[str, str]]:
    """Find ``… and a P1 story for …`` behind the first story: (what is before its noun, what follows)."""
    found = list(_NEXT_STORY.finditer(body)) if len(body) < 2_000 else []
    ends = [*(m.start() for m in found[1:]), len(body)][: len(found)]
    return [(f"{m['before']} {m['noun']}", body[m.end() : end]) for m, end in zip(found, ends, strict=True)]


def _epic_at_start(body: str, shared: dict[str, Any], conv: Conversation) -> str:
    """``a story in Checkout for gift cards``: the epic's name right behind the noun."""
    match = _UNDER_NAME.match(body) or _IN_EPIC.match(body)
    known = known_epic(match["e"], conv.epics) if match else None
    if match and known is None and match.re is _UNDER_NAME:
        known = match["e"]
    if match is None or known is None:
        return body
    shared.setdefault("epic", known)
    return body[match.end() :]


def _number_in(text: str) -> int | None:
    for word in re.findall(r"\w+", text.casefold()):
        if word in NUMBER_WORDS:
            return NUMBER_WORDS[word]
        if word.isdecimal() and len(word) <= 2:
            return int(word)
    return None


def _epic_in_front(before: str, shared: dict[str, Any], conv: Conversation) -> None:
    """``a Checkout story``: a known epic's name between article and noun."""
    words = [w for w in re.findall(r"[\w&-]+", before) if w.casefold() not in PRIORITY_WORDS]
    for size in (3, 2, 1):
        known = known_epic(" ".join(words[-size:]), conv.epics) if len(words) >= size else None
        if known and "epic" not in shared:
            shared["epic"] = known
            return


def _overall_priority(body: str) -> tuple[str | None, list[tuple[str, str]], str]:
    """Take ``all P2 except the welcome email P1`` out of the text."""
    match = _EXCEPT.search(body)
    if match is None:
        return None, [], body
    exceptions = [
        (found["name"].strip().casefold(), priority_value(found["p"]))
        for part in re.split(
            r"\s*(?:,\s*(?:and\s+)?|\band\s+|\bund\s+)(?!p[0-9]\b)", match["exc"] or "", flags=_I
        )
        if (found := _EXCEPTION.match(part.strip()))
    ]
    return priority_value(match["p"]), exceptions, f"{body[: match.start()]} {body[match.end() :]}".strip()


def _apply_exceptions(items: list[dict[str, Any]], exceptions: list[tuple[str, str]]) -> None:
    for name, priority in exceptions:
        words = set(re.findall(r"\w+", name))
        scores = [len(words & set(re.findall(r"\w+", item["title"].casefold()))) for item in items]
        if scores and max(scores) > 0:
            items[scores.index(max(scores))]["priority"] = priority


def _with_epic(args: dict[str, Any]) -> dict[str, Any]:
    to = _TO_EPIC.search(args["title"])
    if to and (known := known_epic(to["e"], ())) and args.get("epic") in {None, known}:
        return {**args, "title": args["title"][: to.start()], "epic": known}
    if not args.get("epic"):
        epic = (
            _named_in(args["title"])
            or suggest_epic(args["title"])
            or suggest_epic(str(args.get("user_story", "")))
        )
        if epic:
            args = {**args, "epic": epic}
    return args


def _named_in(title: str) -> str | None:
    """Return the epic whose name stands, with a capital, behind "in": ``Show the tax in Checkout``."""
    match = re.search(r"\b(?:in|under)\s(?:the\s)?([A-ZÄÖÜ]\w+(?:\s[A-ZÄÖÜ]\w+)?)", title)
    return known_epic(match[1], ()) if match else None


def _plan_for(items: list[dict[str, Any]]) -> Plan:
    if not any(item["title"] for item in items):
        args = {k: v for k, v in items[0].items() if k != "title"} if len(items) == 1 else {}
        return Plan(
            "ask", say="What should the story be about? A few words are enough.", asked=Asked("title", args)
        )
    calls = tuple(Call("create_story", item) for item in items if item["title"])
    if len(calls) > MAX_AT_ONCE:
        return too_many(calls, f"That would create {len(calls)} stories")
    return Plan("create", calls)


def too_many(calls: tuple[Call, ...], what: str) -> Plan:
    """Return a question in place of many calls; nothing happens before the answer is yes."""
    if len(calls) > MAX_ASKED:
        return Plan(
            "talk",
            say=f"{what}. I take at most {MAX_ASKED} in one message; please send them in parts. Nothing was changed.",
        )
    listed = "\n".join(f"{n}. {escape(str(c.args.get('title') or c.args.get('id')))}" for n, c in enumerate(calls, 1))
    pending = [{"tool": c.tool, "args": c.args} for c in calls]
    return Plan(
        "ask",
        say=f"{what}:\n\n{listed}\n\nShall I? Say **yes** to go ahead, anything else leaves the backlog as it is.",
        asked=Asked("confirm", {"calls": pending}),
    )


_WANT = re.compile(
    r"\bI(?:\s(?:want|need|would like|should be able|can)|['’]d like)\s+(?:to\s+)?(?P<t>.+?)(?:,?\s+(?:so that|so I|in order to|because)\b|\.?$)"
    r"|\b(?:möchte|will|kann|brauche) ich\s+(?P<de>.+?)(?:,?\s+(?:damit|sodass|um)\b|\.?$)",
    _I,
)


def _title_of_sentence(sentence: str) -> str:
    match = _WANT.search(sentence)
    title = (match["t"] or match["de"] if match else sentence).strip(" ,.")
    title = re.sub(r"^(?:be able to|have|see that)\s+|\s+(?:können|haben)$", "", title, flags=_I)
    title = _ARTICLE.sub("", title)
    return title[:1].upper() + title[1:]
