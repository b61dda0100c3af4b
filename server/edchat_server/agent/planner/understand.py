# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)

"""One message and the conversation so far in, a plan out. Nothing else goes in and nothing else happens."""

import re
from dataclasses import replace

from .create import only_gaps, plan_create
from .fields import GAP, USER_STORY, find_fields, known_epic
from .glossary import plan_explanation
from .plan import Asked, Call, Conversation, Plan
from .query import plan_query
from .refer import story_ids, who_is_meant
from .spelling import mend
from .talk import lost, no_action, small_talk
from .text import Masked, mask, normalise, split_list, split_numbered, strip_end
from .update import changes_in, looks_like_update, plan_update
from .words import NOUN, NUMBER_WORDS, PLURAL, PRIORITY, SINGULAR, TYPE_WORDS, either

READ_MAX = 4_000
HEAD_MAX = 600
DESCRIPTION_MAX = 20_000

_I = re.IGNORECASE
_GERMAN = re.compile(
    r"\b(?:erstelle?n?|erzeugen?|anlegen|lege|füge|schreibe|bitte|eine[nrms]?|neue[rsn]?|für|und|möchte|brauchen?|kannst|wir|ich|nach|"
    r"priorität|aufgabe|fehler|das|im\sepic)\b",
    _I,
)
# An emoji or a mark of bold in front of the order is no part of it.
_DECORATION = re.compile(r"^(?:[^\w\s\x00-\x7f\ue000\ue001“„«‘•–—→…¿¡]\ufe0f?\s*)+(?=\S)")
_BOLD_ORDER = re.compile(r"^\*{2,3}([^*\n]{1,80})\*{2,3}(?=\W)")
_POLITE = re.compile(
    r"^(?:(?:hi|hey|hello|ok|okay|please|pls|kindly|now|then|and|also|so|well|great|thanks|thank\syou|perfect|alright|actually|next|first|"
    r"hallo|bitte|und|dann|just|quickly|good\s(?:morning|afternoon|evening)|guten\s(?:tag|morgen)|finally|yes|no|nein|ja)\b[\s,!.:;–-]*"
    r"|(?:can|could|would|will)\s(?:you|we)\s(?:please\s|also\s|now\s|quickly\s)*(?!create\s\w+\?$)"
    r"|(?:i(?:'d|’d|\swould)\slike|i\swant|i\sneed|we\sneed|we\swant|i'd\slove|we(?:'d|\swould)\slike)\s(?:you\s)?to\s|let's\s|lets\s|(?:we|you)\s(?:should|could)\s(?:really\s|also\s|probably\s)?(?=(?:have|create|add|write|file|open)\s)|go\sahead\sand\s"
    r"|(?:kannst|könntest|würdest)\sdu\s(?:bitte\s|mir\s)*|ich\s(?:möchte|brauche|hätte\sgerne?)\s|wir\sbrauchen\s(?=\w))",
    _I,
)
_NOT_OBJECT = (
    r"(?!\s+(?:points?|map\w*|boards?|lists?|pages?|views?|editor|templates?|details?|trackers?|tracking|systems?|management|"
    r"count\w*|numbers?|titles?|exports?|imports?|search|titles|payments?|cards?|ids?|priorit\w+)\b)(?![\s_-]{0,2}#?[0-9]+\b(?![.)]))"
)
_BEFORE = (
    rf"(?:(?:an?|the|me|us|this|these|following|new|another|one|more|some|few|couple|of|separate|quick|small|for|my|our|"
    rf"eine?n?|neue[rsn]?|mir|die|diese|folgende|as|to|in|backlog|{either(NUMBER_WORDS)}|[0-9]{{1,2}}|{PRIORITY}|priority|prio|p[0-9]|"
    rf"bug|task|spike|user|technical|engineering|\w+)[\s,-]+)"
)
_CREATE = re.compile(
    rf"^(?:create|add|make|write|draft|open|file|log|raise|capture|record|prepare|set\sup|enter|generate|new|start|put|give|need|want|"
    rf"get(?=\s+an?\b)|eine?n?(?=\s+neue)|füge|i\sneed|we\sneed|i\swant|we\swant|there\sshould\sbe|(?:can|could)\s(?:i|we)\s(?:get|have)|(?:i|we)(?:['’]d|\swould)\slike|have|turn\sthis\sinto|"
    rf"erstelle?|erzeuge?|lege?|neue[rs]?|schreibe?|mach(?:e)?|brauche[n]?)\b[\s,:]*(?P<before>{_BEFORE}{{0,7}}?)"
    rf"(?P<noun>{NOUN})\b{_NOT_OBJECT}(?P<body>(?:.|\n)*)$",
    _I,
)
_LABELLED = re.compile(
    rf"^(?P<before>(?:new\s|neue\s)?(?:(?:p[0-9]|[0-9]|{either(NUMBER_WORDS)})\s)?)(?P<noun>{NOUN})(?P<mark>(?:\s\(?p[0-9]\)?)?)(?:\s(?:idea|request|proposal))?"
    rf"(?:\s(?:anlegen|erstellen|erzeugen|hinzufügen))?\s*(?:[:：–]|-\s)\s*(?P<body>\S(?:.|\n)*)$",
    _I,
)
_IMPLICIT = re.compile(
    r"^(?:create|add|new|draft|capture|log|introduce|erstelle|füge)\b[\s:]*(?P<body>\S(?:.|\n)*)$", _I
)
_FORM_TITLE = re.compile(
    r"^[ *_#-]{0,6}(?:story|title|titel|summary|name)[*_]{0,2}\s?[:=][*_]{0,2}\s*(?=\S)", _I
)
_FORM_ANY = re.compile(r"^[ *_#-]{0,6}[\w ]{2,30}[*_]{0,2}\s?[:=]", _I)
_PRIORITY_FIRST = re.compile(
    rf"^[\[(]?(?P<before>p[0-9]|{PRIORITY})(?:[\])]\s*[:–-]?|\s*[:–-])\s*(?P<body>\S(?:.|\n)*)$", _I
)
_PRIORITIES_INLINE = re.compile(r"[,;]\s*(?:and\s)?(?=p[0-9]\s*[:–-])", _I)  # P1: SSO, P2: audit log
# "The app crashes. Please file a bug for that, P1": the wish stands behind what it is about.
_WISH_BEHIND = re.compile(
    rf"(?:[.!;\n]|\s[–—-])\s{{0,3}}(?:(?:so|now|and|please|pls|can\syou|could\syou|let's)[\s,]+)*"
    rf"(?:create|make|add|write|file|log|open|raise|draft)\s(?P<before>(?:(?:an?|the|one|new|p[0-9]|{PRIORITY}|priority|separate)\s){{0,4}})"
    rf"(?P<noun>{NOUN})(?:\s(?:for|from|about|out\sof|of)\s(?:it|this|that|(?P<many>these|those|them|each|all|both))\b(?:\sof\s(?:them|these|those)|\sone)?)?"
    rf"(?P<tail>,[^\n.]{{1,80}})?[\s.!?]*$",
    _I,
)
_SENTENCE_END = re.compile(
    rf"[.!;\n]\s{{1,3}}(?:(?:so|please|pls|then|also|now|and)[\s,]+)*(?=(?:create|add|write|file|log|open|draft)\s(?:\w+\s){{0,3}}?{NOUN}\b)", _I
)
_NEED = re.compile(r"^(?:(?:we|i)\s(?:still\s|also\s|will\s)?(?:need|want)|here\sis|here\sare)\b(?=[^\n]{0,80}:)[\s:]*", _I)
_SUBJECT = re.compile(
    r"^(?:i|we|you|he|she|they|it|this|that|these|those|there|here|if|when|because|but|maybe|perhaps|thanks|lol|haha|hm+|not|no|yes|well|sure|ok|"
    r"ich|wir|du|er|sie|es|das|wenn|vielleicht)\b|^\w+['’](?:s|m|re|ve|ll|d)\b",
    _I,
)
_OF_FIELD = re.compile(rf"\b(?:about|on|for|of|to|than|is|are|was|the|a|an|be|or)\s{GAP}$", _I)  # "not sure about P1"
_FIELD_WORD = re.compile(r"\bp[0-9]\b|\b(?:points?|pts|sp|prio|priority|priorität|epic)\b", _I)
# Asked, not wished: whatever else such a sentence looks like, it changes nothing.
_QUESTION = re.compile(
    r"^(?:who|whom|whose|what(?:['’]s)?|which|when|where|why|how|is|are|was|were|does|did|do|has|have\s(?:we|you|they)|any|"
    r"wer|was|welche[rs]?|wann|wo|wie|ist|sind|hat|gibt)\b",
    _I,
)
_BARE = re.compile(
    rf"^(?:an?\s|eine?n?\s)?(?P<before>(?:(?:p[0-9]|{PRIORITY})(?:\spriority)?[\s-])?)(?P<noun>{SINGULAR})\s+(?=(?:for|about|to|on|für)\s)(?P<body>\S(?:.|\n)*)$",
    _I,
)
_THANKS_AT_END = re.compile(r"[\s,]+(?:please|pls|thanks|thank\syou|bitte|danke)[\s!.]*$", _I)
_YES = re.compile(
    r"(?:yes|yep|yeah|sure|ok(?:ay)?|do\s(?:it|so)|go\s(?:ahead|on)|please\s(?:do|go\sahead)|confirm(?:ed)?|ja|gerne)(?:[\s,]+(?:please|do\sit|go\sahead))?[\s!.]*",
    _I,
)
_TO_STORY = re.compile(
    r"\b(?:to|for|on)\s+(?:stor(?:y|ies)[\s_-]?#?[0-9]|#[0-9]|it\b|that\sone|this\sone|them\b|the\s\w+\s(?:one|story)\b|(?:this|that)\sstory\b)",
    _I,
)
# "add a bug label to …", "add a task to STORY-3": the noun is not what shall be created.
_NO_NEW_STORY = re.compile(
    r"^\s*(?:labels?|tags?|type)\b|^\s*(?:to|for|on)\s+(?:stor(?:y|ies)[\s_-]?|#)[0-9]+\W*$", _I
)
_CRITERION = re.compile(
    r"^(?:add|append)\b[^\n]{0,40}\b(?:criteri(?:on|a)|definition\sof\sdone|dod|acs?|labels?|tags?|description|technical\sdetails)\b",
    _I,
)


def understand(text: str, conversation: Conversation) -> Plan:
    """Return what to do about the message.

    It never raises, and takes time in proportion to the length of the text. Quotations and listed texts are
    stored, never obeyed.
    """
    text = normalise(text)
    if len(text) > READ_MAX:
        return _understand_long(text, conversation)
    return _understand(text, conversation) if text else lost()


def _understand_long(text: str, conv: Conversation) -> Plan:
    """Read the beginning as the wish; the whole text becomes the description of the one story it asks for."""
    cut = max(text.rfind("\n", 0, HEAD_MAX), 0) or max(text.rfind(" ", 0, HEAD_MAX), 0) or HEAD_MAX
    plan = _understand(text[:cut], conv)
    if plan.kind != "create" or len(plan.calls) != 1:
        return Plan(
            "unknown",
            say=f"The message has {len(text)} characters, and I read at most {READ_MAX} unless they describe one "
            "new story. Nothing was changed; please send it in parts.",
        )
    kept = text if len(text) <= DESCRIPTION_MAX else text[: DESCRIPTION_MAX - 1] + "…"
    note = (
        "" if kept == text else f"The description holds the first {DESCRIPTION_MAX} characters of the text."
    )
    call = plan.calls[0]
    return Plan("create", (Call(call.tool, {**call.args, "description": kept}),), say=note)


def _understand(text: str, conversation: Conversation) -> Plan:
    masked = mask(text)
    masked = Masked(mend(masked.text), masked.quotes)
    plan = _reply(masked, conversation) if conversation.asked else None
    plan = plan or small_talk(text) or _wish(masked, _without_politeness(masked.text), conversation) or lost()
    return _in_german(plan) if plan.kind == "create" and _GERMAN.search(masked.text) else plan


def _in_german(plan: Plan) -> Plan:
    calls = (Call(c.tool, {**c.args, "language": "de"}) if c.tool == "create_story" else c for c in plan.calls)
    return replace(plan, calls=tuple(calls))


def _wish(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    plan = plan_explanation(text, conv) or no_action(text)
    if plan:
        return plan
    if USER_STORY.match(text):
        return plan_create(masked, text, "", several=False, conv=conv)
    text = _wish_in_front(text, conv)
    if _QUESTION.match(text):
        return plan_query(masked, text, conv)
    if looks_like_update(text, conv) and not _clear_create(text, conv):
        plan = _two_wishes(masked, text, conv) or plan_update(masked, text, conv)
        if plan:
            return plan
    plan = (
        (_list_of_stories(masked, text, conv) if _PRIORITIES_INLINE.search(text) else None)
        or _create(masked, text, conv)
        or _bare_fields(masked, text, conv)
        or _list_of_stories(masked, text, conv)
        or plan_query(masked, text, conv)
    )
    return plan or _implicit(masked, text, conv) or _later_wish(masked, text, conv)


def _two_wishes(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """``Set STORY-1 to Done. Create a task for the follow-up``: both; None if one of them is not clear."""
    end = _SENTENCE_END.search(text)
    second = _create(masked, text[end.end() :], conv) if end else None
    first = plan_update(masked, text[: end.start()], conv) if end and second else None
    if not (first and second and first.calls and second.calls):
        return None
    return Plan("create", (*first.calls, *second.calls))


def _later_wish(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """``The release is on Friday. Create a story for the changelog``: the first sentence only says why."""
    end = _SENTENCE_END.search(text)
    return _create(masked, text[end.end() :], conv) if end else None


def _create(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    match = _CREATE.match(text)
    if match and _is_object(match["before"], conv):
        noun, body = match["noun"], match["body"]
        before = match["before"] + (f" {noun}" if noun.casefold() in TYPE_WORDS else "")
        return _typed(masked, body, before, noun, conv)
    form = _form(masked, text, conv)
    if form:
        return form
    match = _LABELLED.match(text) or _BARE.match(text) or _PRIORITY_FIRST.match(text)
    if match:
        noun = match.groupdict().get("noun") or "story"
        before = f"{match['before']} {match.groupdict().get('mark') or ''}"
        return _typed(masked, match["body"], before, noun, conv)
    return None


def _typed(masked: Masked, body: str, before: str, noun: str, conv: Conversation) -> Plan:
    plan = plan_create(masked, body, before, several=re.fullmatch(SINGULAR, noun, _I) is None, conv=conv)
    kind = TYPE_WORDS.get(noun.casefold())
    if kind is None:
        return plan
    calls = tuple(Call(c.tool, {**c.args, "type": c.args.get("type") or kind}) for c in plan.calls)
    asked = plan.asked and Asked(plan.asked.what, {"type": kind, **plan.asked.args})
    return Plan(plan.kind, calls, plan.say, asked)


def _bare_fields(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """``8 points`` or ``high priority, please``, said of the one story that was just shown."""
    if len(conv.shown) != 1 or len(text) > 120:
        return None
    found = find_fields(masked, f", {text}", epics=conv.epics)
    if not found.args or re.search(r"\w", only_gaps(found.rest)):
        return None
    args = {("add_labels" if k == "labels" else k): v for k, v in found.args.items()}
    return Plan("update", (Call("update_story", {"id": conv.shown[0].id, **args}),))


def _form(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """``Title: …`` and other fields, each in a line of its own."""
    lines = text.split("\n")
    titles = [line for line in lines if _FORM_TITLE.match(line)]
    if len(lines) < 2 or len(titles) != 1 or not _FORM_ANY.match(lines[0]):
        return None
    rest = [line for line in lines if line is not titles[0]]
    body = "\n".join([_FORM_TITLE.sub("", titles[0]), *rest])
    return plan_create(masked, body, "", several=False, conv=conv)


def _implicit(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """``Add Redis session cache, P1``, and the same without a verb."""
    match = _IMPLICIT.match(text)
    if match:
        several = re.match(r"(?:all\s)?(?:these|those|the\sfollowing|folgendes?)\b", match["body"], _I) is not None
        return plan_create(masked, match["body"], "", several=several, conv=conv)
    return plan_create(masked, text, "", several=False, conv=conv) if _is_note(masked, text, conv) else None


def _is_note(masked: Masked, text: str, conv: Conversation) -> bool:
    """Say whether it is a title with a story's fields before or behind it, as one jots it down.

    Sentences with a subject of their own, questions, and what speaks of stories that exist are none.
    """
    if _SUBJECT.match(text) or text.endswith("?") or len(text) > 300 or not _FIELD_WORD.search(text):
        return False
    meant = who_is_meant(text, conv)
    if meant.ids or meant.explicit:
        return False
    rest = find_fields(masked, text, epics=conv.epics).rest.strip(" ,;.()[]:–-")
    return GAP in (rest[:1], rest[-1:]) and re.search(r"\w{2}", rest) is not None and not _OF_FIELD.search(rest)


def _list_of_stories(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    """``Stories for the beta:`` with lines below it, or lines that each carry a priority."""
    by_priority = _PRIORITIES_INLINE.split(text)
    if len(by_priority) > 1 and _PRIORITY_FIRST.match(text):
        text = "\n".join(f"- {item}" for item in by_priority)
    head, items = split_list(text)
    if len(items) < 2:
        head, items = split_numbered(text)
    if len(items) < 2:
        return None
    headed = re.fullmatch(rf"[^\n]{{0,80}}\b{PLURAL}\b[^\n]{{0,80}}:", head, _I) is not None
    if not headed and not all(find_fields(masked, f"{i} ").args.get("priority") for i in items):
        return None
    return plan_create(masked, text.removeprefix(head) if headed else text, head, several=True, conv=conv)


def _wish_in_front(text: str, conv: Conversation) -> str:
    """Turn ``The app crashes. Please file a bug for that, P1`` into ``create a bug, P1: The app crashes``."""
    begin = max(0, len(text) - 200)
    for wish in _WISH_BEHIND.finditer(text, begin):
        what = _NEED.sub("", text[: wish.start()]).strip(" .!\n–-")
        if what and not (_QUESTION.match(what) or _CREATE.match(what) or looks_like_update(what, conv)):
            tail = (wish["tail"] or "").strip(" ,.!")
            noun = _plural(wish["noun"]) if wish["many"] else wish["noun"]
            return f"create {wish['before']}{noun}: {what}{f', {tail}' if tail else ''}"
    return text


def _reply(masked: Masked, conv: Conversation) -> Plan | None:
    """Read the message as the answer to what was asked; None if it is something else."""
    asked, text = conv.asked, masked.text
    if asked is None:
        return None
    if asked.what == "confirm":
        if not _YES.fullmatch(text):
            return None
        calls = tuple(Call(str(c["tool"]), dict(c["args"])) for c in asked.args["calls"])
        return Plan("create" if calls and calls[0].tool == "create_story" else "update", calls)
    if asked.what == "which":
        ids = story_ids(text) or tuple(f"STORY-{int(n)}" for n in re.findall(r"^#?([0-9]{1,9})[.!]?$", text))
        extra = changes_in(masked, text, conv) if len(text) > 20 else {}
        return (
            Plan("update", tuple(Call("update_story", {"id": i, **asked.args, **extra}) for i in ids))
            if ids
            else None
        )
    plain = _without_politeness(text)
    if small_talk(text) or no_action(plain) or looks_like_update(plain, conv) or _CREATE.match(plain):
        return None
    if plan_query(masked, plain, conv) or text.endswith("?") or len(text) > 2000:
        return None
    plan = plan_create(masked, plain, "", several=False, conv=conv)
    return Plan(
        plan.kind, tuple(Call(c.tool, {**asked.args, **c.args}) for c in plan.calls), plan.say, plan.asked
    )


def _plural(noun: str) -> str:
    return noun if noun.endswith("s") else re.sub(r"(?<=stor)y$", "ie", noun, flags=_I) + "s"


def _clear_create(text: str, conv: Conversation) -> bool:
    """Say whether it is a new story, although the sentence looks like a change."""
    if _CRITERION.match(text):
        return False
    if _LABELLED.match(text) or _BARE.match(text) or _PRIORITY_FIRST.match(text):
        return True
    created = _CREATE.match(text)
    if created and not _is_object(created["before"], conv):
        return False
    if created:
        return _NO_NEW_STORY.match(created["body"]) is None
    return re.match(r"^add\b", text, _I) is not None and not _TO_STORY.search(text)


def _is_object(before: str, conv: Conversation) -> bool:
    """Say whether the noun is what shall be created: hardly any word of meaning stands before it."""
    if re.search(r"\b(?:it|that|them|stor(?:y|ies)\s?-?[0-9]+|#[0-9]+)\b", before, _I):
        return False
    plain = re.sub(
        rf"\b(?:an?|the|me|us|this|these|following|new|another|one|more|some|few|couple|of|separate|quick|small|my|our|as|to|in|backlog|"
        rf"eine?n?|neue[rsn]?|mir|die|diese|folgende|priority|prio|p[0-9]|user|technical|{either(NUMBER_WORDS)}|[0-9]+|{PRIORITY})\b",
        " ",
        before,
        flags=_I,
    )
    words = re.findall(r"[\w&-]+", plain)
    return len(words) <= 1 or known_epic(" ".join(words), conv.epics) is not None


def _without_politeness(text: str) -> str:
    text = _BOLD_ORDER.sub(r"\1", _DECORATION.sub("", text))
    for _ in range(8):
        shorter = _POLITE.sub("", text, count=1).lstrip()
        if shorter == text or not shorter:
            break
        text = shorter
    return strip_end(_THANKS_AT_END, text) or text
