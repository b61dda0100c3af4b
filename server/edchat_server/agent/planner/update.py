# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""From a wish for a change to calls of update_story."""

import re
from dataclasses import dataclass
from typing import Any

from .create import too_many
from .name import name_in_front, names_in
from .plan import Asked, Call, Conversation, Plan, StoryRef
from .refer import Meant, reference, story_ids, titled_with, who_is_meant
from .text import Masked, escape
from .values import ADD_ITEM, ORDER, RENAME, STEP, TEXT_FIELD, read_changes
from .words import PRIORITY, SINGULAR, STATUS, either

MAX_UNNAMED = 3
_Group = tuple[tuple[str, ...], dict[str, Any], bool]


@dataclass(frozen=True)
class _Unclear:
    """Words that fit the titles of several stories, and what was to be changed."""

    words: str
    fits: tuple[StoryRef, ...]
    args: dict[str, Any]

_I = re.IGNORECASE
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
_OTHER_OBJECT = re.compile(r"^(?:close|finish|complete|resolve|start|begin|starte|schließe|reopen|re-open|unblock|block)\s+(?!all\b|every|alle\b)\w", _I)
_NEXT_ID = re.compile(
    r"(\bstory-[0-9]{1,9})(\s*(?:,\s*and|,|and|und|&)\s*)#?([0-9]{1,9})\b(?!\s*(?:points?|pts?|sp)\b)", _I
)
_ARROW = re.compile(r"\s*(?:-+>|=>|→)\s*")
_CLAUSE = re.compile(r"\s*(?:;|\n|\.\s|,\s*(?:and\s+|then\s+|und\s+)?|\s(?:and\sthen|and|then|und)\s)\s*", _I)
_EVERYTHING = re.compile(
    rf"\b(?:all|every|everything|each|alle)\b(?!\sof\s(?:them|these))(?!\s(?:{either(('two', 'three'))})\b)",
    _I,
)


def looks_like_update(text: str, conv: Conversation) -> bool:
    """Say whether the text wishes a change of stories that exist."""
    meant = who_is_meant(text, conv)
    if ORDER.match(text):
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
        args.pop(STEP, None)
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
    return read_changes(masked, text, conv)[0]


def _changes_by_story(masked: Masked, text: str, conv: Conversation) -> list[_Group] | _Unclear:
    """Return (stories, changes, each was named) for each part of the sentence that has its own stories."""
    groups: list[_Group] = []
    waiting: tuple[str, ...] = ()
    verb = ""
    for clause in _clauses(text):
        args, rest = read_changes(masked, clause, conv)
        order = ORDER.match(clause)
        if not (args or order or _is_label(clause, groups)) and verb:
            args, rest = read_changes(masked, f"{verb} {clause}", conv)
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
            if groups and (ORDER.match(clause) or _SAID.match(clause)):
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
            if 0 < place < 60 and not RENAME.search(text[:place] + "x"):
                text = f"{text[:place]}{ref.id}{text[place + len(ref.title) :]}"
    return text


def _stepped(args: dict[str, Any], story_id: str, conv: Conversation) -> dict[str, Any]:
    """Return the changes with "higher" and "lower" turned into a priority; without it if today's is not known."""
    now = reference(story_id, conv).priority
    plain = {k: v for k, v in args.items() if k != STEP}
    if STEP in args and len(now) == 2 and now[1].isdecimal():
        return {**plain, "priority": f"P{max(0, min(3, int(now[1]) + args[STEP]))}"}
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
        (m.start() for p in (RENAME, ADD_ITEM, TEXT_FIELD) if (m := p.search(text))), default=len(text)
    )
    head, tail = text[:free], text[free:]
    pieces = [p for p in _CLAUSE.split(head) if p and p.strip()]
    if tail and pieces and not _COMPLETE.search(pieces[-1]):
        tail = f"{pieces.pop()} {tail}"
    return [*pieces, *([tail] if tail else [])]

_COMPLETE = re.compile(rf"\b(?:{STATUS}|p[0-9]|{PRIORITY}|points?)\b|[0-9]\s*$|\bto\s\S+$", _I)


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
