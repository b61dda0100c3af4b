# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)

"""Small talk, and what the planner says when it cannot do what was wished."""

import re

from .plan import Plan
from .words import NOUN, PRIORITY

_I = re.IGNORECASE

CAN_DO = (
    "I can:\n\n"
    "- **create** stories: “Create a P1 story for user authentication in the Security epic”, or several in a list\n"
    "- **change** them: “set STORY-3 to P0”, “move it to In Progress”, “add acceptance criterion: …”\n"
    "- **find** them: “list P0 stories”, “what's ready in Checkout?”, “how many bugs are open?”, “show STORY-2”"
)
WHO = (
    "I am edchat's **offline planner**: a set of rules, not a language model. I need no key and no network, and I "
    "understand plain sentences about stories."
)
_RULES = "I am the **offline planner**, a set of rules and no language model."

_GREETING = re.compile(
    r"(?:hi|hello|hey|good\s(?:morning|afternoon|evening)|hallo|moin|guten\s(?:tag|morgen|abend)|servus|yo)(?:\s(?:there|all|team|"
    r"everyone|bot|agent))?[\s!.,?:)👋]*(?:how\sare\syou[\s!.?]*)?",
    _I,
)
_THANKS = re.compile(
    r"(?:(?:ok(?:ay)?|great|perfect|cool|nice|super|awesome|good|alright|wonderful|excellent)[\s,!.]*)*"
    r"(?:thanks?(?:\s(?:you|a\slot|so\smuch|very\smuch))*|thx|cheers|danke(?:\s\w+)?|merci|well\sdone|good\sjob|great\swork|you(?:['’]re|\sare)\s(?:great|awesome|the\sbest|amazing|a\sstar)|i\slove\s(?:it|this))?"
    r"[\s!.,:)👍🙏]*",
    _I,
)
_BYE = re.compile(r"(?:(?:ok(?:ay)?|cool|great|thanks|alright)[\s,.!]+){0,3}(?:that['’]?s\s(?:all|it)(?:\s(?:for\s)?(?:today|now))?|bye|goodbye|see\syou(?:\slater)?|tschüss|ciao|good\snight)[\s!.]*", _I)
_HOW = re.compile(
    r"how\sare\syou(?:\sdoing)?(?:\stoday)?[\s?!.]*|how's\sit\sgoing[\s?]*|wie\sgeht(?:'s|\ses\sdir)?[\s?]*",
    _I,
)
_IDENTITY = re.compile(
    r"\b(?:who\sare\syou|what\sare\syou|are\syou\s(?:an?\s)?(?:ai|bot|robot|human|real|chatgpt|gpt\S*|claude|llm|language\smodel|offline|online)|"
    r"which\s(?:model|llm|ai)|what\s(?:model|llm)|what(?:'s|\sis)\syour\sname|wer\sbist\sdu|your\smodel)\b",
    _I,
)
_LANGUAGE = re.compile(r"\b(?:do|can|sprichst|verstehst|kannst)\s(?:you|du)\b[^\n]{0,20}\b(?:german|english|french|spanish|deutsch|englisch)\b", _I)
_HELP = re.compile(
    r"(?:help(?:\sme)?|what\scan\s(?:you\sdo|i\s(?:ask|say|do)(?:\syou)?)|what\sdo\syou\sdo|how\sdo(?:es)?\s(?:i|this|you|it)\s(?:use|work)\b.*|commands?|hilfe|was\skannst\sdu|/help|\?+|"
    r"how\s(?:do|can|would|should)\s(?:i|we)\b.*|can\syou\shelp(?:\sme)?)[\s?!.]*",
    _I,
)
_HYPOTHETICAL = re.compile(
    r"^(?:should\s(?:i|we)|would\sit|what\sif|what\shappens|why|is\sit\s(?:possible|ok|better|wise)|do\syou\s(?:think|know|like)|"
    r"when\s(?:should|will|is)|how\s(?:long|much\stime|do|can|should|would)|could\si|may\si|are\syou\sable|is\sthere\sa\sway|sollten\swir|warum|"
    r"who\s(?:should|will|would)|what\sdoes|what\sdo\syou\sthink)\b",
    _I,
)
_ABILITY = re.compile(
    rf"^(?:can|could|do)\syou\s(?:also\s)?(?:create|make|add|list|show|update|change|edit|write)\s(?:new\s|my\s)?{NOUN}\s*\?+$",
    _I,
)
_NOT = re.compile(
    r"^(?:please\s)?(?:don't|don’t|do\snot|never|dont|stop|cancel|abort|forget\s(?:it|that)|never\s?mind|nein|nicht|no)\b",
    _I,
)
_DELETE = re.compile(
    rf"^(?:delete|destroy|erase|purge|wipe|archive|drop(?![^\n]{{1,80}}\sto\s)|trash|lösche?|undo|revert|roll\s?back|"
    rf"remove(?=\s(?:story|it\b|that\b|this\b|them\b|all\b|the\s(?:story|{NOUN})|#?[0-9]|every)))\b",
    _I,
)
_EPIC = re.compile(
    rf"^(?:create|add|make|new|open|rename|merge)\s(?:an?\s|the\s|new\s)*epics?\b(?!\s{NOUN})", _I
)
_ISSUE = re.compile(
    r"\b(?:github|gitlab|jira)\b[^\n]{0,40}\bissue\b|\bissue\sfor\s(?:story|it\b|that\b|#)", _I
)

_PRIORITISE = re.compile(rf"^(?:re-?|de-?)?prioriti[sz]e\b(?![^\n]{{0,200}}\b(?:p[0-9]|{PRIORITY})\b)", _I)
_RESHAPE = re.compile(
    rf"^(?:(?:can|could|will)\s(?:you|we|i)\s)?(?:split|divide|break(?=\s[^\n]{{1,80}}\s(?:up|down|into)\b|\s(?:up|down)\b)|merge|combine|join|duplicate|copy|clone|teile|kopiere)\b"
    rf"[^\n]{{0,80}}\b(?:stor(?:y|ies)|#?[0-9]+|it|this|that|them|{NOUN}|(?:in(?:to)?|up|down)(?:\s\w+)?)\W*$",
    _I,
)

_MISSING_FIELD = re.compile(
    rf"^(?!(?:add|make|give|put)\s(?:\w+\s){{0,4}}?{NOUN}\b\s?(?:for|about|to|that|called|in|:))"
    r"(?:set|change|update|add|move|put|push|give|make|assign|schedule|plan|setze?|verschiebe?|it|this|that|its|stor(?:y|ies)[\s_-]?#?[0-9]{1,9}|#[0-9]{1,9})\b"
    r"[^\n]{0,60}?\b(?:(?P<due>due\sdate|deadline|due|fällig\w*|fälligkeit\w*)(?=\s(?:to|for|of|on|by|is|at|in|next|this|today|tomorrow|\w+day|am|auf|bis|[0-9])\b|\s?[:=]|\W*$)"
    r"|(?P<sprint>sprint|milestone|iteration|cycle|release)\s(?:[0-9]|v[0-9]|to\b)|(?:to|into|in)\s(?:the\s)?(?:next|this|current)\s(?P<next>sprint|milestone|iteration|cycle|release))",
    _I,
)


def small_talk(text: str) -> Plan | None:
    """Return what to say to small talk and to questions about the planner itself; None for all else."""
    if len(text) > 200:
        return None
    if _GREETING.fullmatch(text):
        return Plan("talk", say=f"Hello. {WHO}\n\n{CAN_DO}")
    if _IDENTITY.search(text):
        return Plan(
            "talk", say=f"{WHO} Set `EDCHAT_MODEL` on the server to talk to a language model instead."
        )
    if _LANGUAGE.search(text):
        return Plan("talk", say="I read plain English and German sentences, and I answer in English.")
    if _HELP.fullmatch(text):
        return Plan("talk", say=CAN_DO)
    if _HOW.fullmatch(text):
        return Plan("talk", say="All is well, thank you. What shall I put into the backlog?")
    if _BYE.fullmatch(text):
        return Plan("talk", say="Goodbye. The backlog stays as it is.")
    if _THANKS.fullmatch(text):
        return Plan("talk", say="You're welcome.")
    return None


def no_action(text: str) -> Plan | None:
    """Return what to say where nothing must happen: negations, questions of opinion, what is not possible."""
    if _NOT.match(text):
        return Plan("talk", say="All right, I changed nothing.")
    if _DELETE.match(text):
        return Plan(
            "talk",
            say="I cannot delete or undo yet, so nothing was changed. You can set a story to Done, rename it or change "
            "its fields instead.",
        )
    if _ISSUE.search(text):
        return Plan("talk", say="I cannot open issues in other systems yet; nothing was changed.")
    if _EPIC.match(text):
        return Plan(
            "talk",
            say="An epic comes into being with its first story: name it there, as in “create a story for … in the "
            "Onboarding epic”. Nothing was changed.",
        )
    if _ABILITY.match(text):
        return Plan("talk", say=f"Yes. {CAN_DO}")
    if _HYPOTHETICAL.match(text):
        return Plan("talk", say=f"I cannot judge that, so nothing was changed. {_RULES}")
    if _PRIORITISE.match(text):
        return Plan(
            "talk",
            say="I change a priority only when you name the story and the priority, as in “set STORY-3 to P0”, so nothing was "
            "changed. “What should I work on next?” lists the most important open stories.",
        )
    if _RESHAPE.match(text):
        return Plan(
            "talk",
            say="I cannot split, merge or copy stories yet, so nothing was changed. You can create the new stories, as in "
            "“create two stories: … and …”, and change the old one.",
        )
    return _missing_field(text)


def _missing_field(text: str) -> Plan | None:
    """Return what to say to the wish for a field that stories do not have; None for all else."""
    match = _MISSING_FIELD.match(text)
    if match is None:
        return None
    say = "Due dates are not there yet, so nothing was changed."
    if not match["due"]:
        name = (match["sprint"] or match["next"]).casefold()
        say = f"Stories cannot be put into a {name} yet, so nothing was changed. A label, as in “add label {name}-14”, does for now."
    return Plan("talk", say=f"{say} What you can set: status, priority, epic, points, labels, assignee and the texts.")


def lost() -> Plan:
    """Return what to say to what was not understood."""
    return Plan(
        "unknown",
        say=f"I did not understand that, so nothing was changed. {_RULES} Try “Create a P1 story for …”, “set STORY-3 to "
        "Done” or “list P0 stories”, or say **help**.",
    )
