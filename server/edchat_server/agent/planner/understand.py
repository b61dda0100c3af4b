
"""One message and the conversation so far in, a plan out. Nothing else goes in and nothing else happens."""

import re

from .create import only_gaps, plan_create
from .fields import find_fields, known_epic
from .plan import Asked, Call, Conversation, Plan
from .query import plan_query
from .refer import story_ids
from .talk import lost, no_action, small_talk
from .text import Masked, mask, normalise, split_list, strip_end
from .update import changes_in, looks_like_update, plan_update
from .words import NOUN, NUMBER_WORDS, PLURAL, PRIORITY, SINGULAR, TYPE_WORDS, either

READ_MAX = 4_000
HEAD_MAX = 600
DESCRIPTION_MAX = 20_000

_I = re.IGNORECASE
_POLITE = re.compile(
    r"^(?:(?:hi|hey|hello|ok|okay|please|pls|kindly|now|then|and|also|so|well|great|thanks|thank\syou|perfect|alright|actually|next|first|"
    r"hallo|bitte|und|dann|just|quickly|good\s(?:morning|afternoon|evening)|guten\s(?:tag|morgen)|finally|yes|no|nein|ja)\b[\s,!.:;–-]*"
    r"|(?:can|could|would|will)\s(?:you|we)\s(?:please\s|also\s|now\s|quickly\s)*(?!create\s\w+\?$)"
    r"|(?:i(?:'d|’d|\swould)\slike|i\swant|i\sneed|we\sneed|we\swant|i'd\slove|we(?:'d|\swould)\slike)\s(?:you\s)?to\s|let's\s|lets\s|go\sahead\sand\s"
    r"|(?:kannst|könntest|würdest)\sdu\s(?:bitte\s|mir\s)*|ich\smöchte\s|wir\sbrauchen\s(?=\w))",
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
    rf"get(?=\s+an?\b)|eine?n?(?=\s+neue)|füge|i\sneed|we\sneed|i\swant|we\swant|there\sshould\sbe|(?:can|could)\s(?:i|we)\s(?:get|have)|have|turn\sthis\sinto|"
    rf"erstelle?|erzeuge?|lege?|neue[rs]?|schreibe?|mach(?:e)?|brauche[n]?)\b[\s,:]*(?P<before>{_BEFORE}{{0,7}}?)"
    rf"(?P<noun>{NOUN})\b{_NOT_OBJECT}(?P<body>(?:.|\n)*)$",
    _I,
)
_LABELLED = re.compile(
    rf"^(?P<before>(?:new\s|neue\s)?(?:p[0-9]\s)?)(?P<noun>{NOUN})\s*(?:[:：–]|-\s)\s*(?P<body>\S(?:.|\n)*)$",
    _I,
)
_IMPLICIT = re.compile(
    r"^(?:create|add|new|draft|capture|log|introduce|erstelle|füge)\b[\s:]*(?P<body>\S(?:.|\n)*)$", _I
)
_IMPERATIVE = re.compile(
    r"^(?:fix|implement|build|improve|refactor|support|allow|enable|integrate|migrate|upgrade|remove|replace|write|redesign|optimi[sz]e|"
    r"investigate|research|document|set\sup|design|investigate|speed|reduce|test|automate|user\s\w+|show|send|let|encrypt|validate|track)\b",
    _I,
)
_FORM_TITLE = re.compile(
    r"^[ *_#-]{0,6}(?:story|title|titel|summary|name)[*_]{0,2}\s?[:=][*_]{0,2}\s*(?=\S)", _I
)
_FORM_ANY = re.compile(r"^[ *_#-]{0,6}[\w ]{2,30}[*_]{0,2}\s?[:=]", _I)
_USER_STORY = re.compile(r"^as\s(?:an?|the)\s[^\n]{2,120}?,?\si(?:\s|['’])", _I)
_PRIORITY_FIRST = re.compile(rf"^(?P<before>p[0-9]|{PRIORITY})\s*[:–-]\s*(?P<body>\S(?:.|\n)*)$", _I)
# Asked, not wished: whatever else such a sentence looks like, it changes nothing.
_QUESTION = re.compile(
    r"^(?:who|whom|whose|what(?:['’]s)?|which|when|where|why|how|is|are|was|were|does|did|do|has|have\s(?:we|you|they)|any|"
    r"wer|was|welche[rs]?|wann|wo|wie|ist|sind|hat|gibt)\b",
    _I,
)
_BARE = re.compile(
    rf"^(?P<before>(?:(?:p[0-9]|{PRIORITY})(?:\spriority)?[\s-])?)(?P<noun>{SINGULAR})\s+(?=(?:for|about|to|on|für)\s)(?P<body>\S(?:.|\n)*)$",
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
    plan = _reply(masked, conversation) if conversation.asked else None
    return plan or small_talk(text) or _wish(masked, _without_politeness(masked.text), conversation) or lost()


def _wish(masked: Masked, text: str, conv: Conversation) -> Plan | None:
    plan = no_action(text)
    if plan:
        return plan
    if _USER_STORY.match(text):
        return plan_create(masked, text, "", several=False, conv=conv)
    if _QUESTION.match(text):
        return plan_query(masked, text, conv)
    if looks_like_update(text, conv) and not _clear_create(text, conv):
        plan = plan_update(masked, text, conv)
        if plan:
            return plan
    created = _create(masked, text, conv)
    if created:
        return created
    plan = _bare_fields(masked, text, conv) or plan_query(masked, text, conv)
    if plan:
        return plan
    return _implicit(masked, text, conv)


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
        return _typed(masked, match["body"], match["before"], noun, conv)
    return None


def _typed(masked: Masked, body: str, before: str, noun: str, conv: Conversation) -> Plan:
    plan = plan_create(masked, body, before, several=re.fullmatch(PLURAL, noun, _I) is not None, conv=conv)
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
    """``Add Redis session cache, P1``; also a list of lines that each carry a priority."""
    match = _IMPLICIT.match(text)
    if match:
        return plan_create(masked, match["body"], "", several=False, conv=conv)
    _, items = split_list(text)
    if len(items) >= 2 and all(find_fields(masked, f"{i} ").args.get("priority") for i in items):
        return plan_create(masked, text, "", several=True, conv=conv)
    if _IMPERATIVE.match(text) and find_fields(masked, text).args.keys() & {"priority", "points", "epic"}:
        return plan_create(masked, text, "", several=False, conv=conv)
    return None


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


def _clear_create(text: str, conv: Conversation) -> bool:
    """Say whether it is a new story, although the sentence looks like a change."""
    if _CRITERION.match(text):
        return False
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
    for _ in range(8):
        shorter = _POLITE.sub("", text, count=1).lstrip()
        if shorter == text or not shorter:
            break
        text = shorter
    return strip_end(_THANKS_AT_END, text) or text
