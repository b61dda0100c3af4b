# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""What a story gets when its author gave only a title: sentence, criteria, definition of done, estimate."""

import re

from edchat_protocol.artifacts import POINTS, StoryType

from .themes import theme_of

_BUG = re.compile(
    r"\b(?:bugs?|fix|fixes|broken|crash(?:es|ed|ing)?|errors?|fails?|failing|failure|defect|regression|exception|"
    r"does(?:n.t| not) work|wrong|can(?:no|['’])t|unable to|no longer|takes [0-9]+ (?:s|min)\w*|fehler|kaputt|"
    r"abst[uü]rz\w*|geht nicht|funktioniert nicht)\b",
    re.IGNORECASE,
)
_SPIKE = re.compile(
    r"\b(?:spike|investigat\w*|research|evaluat\w*|explor\w*|proof of concept|poc|feasibility|prototype|"
    r"find out|untersuch\w*)\b|^(?:can|could|should|why|how|which|what)\b.*\?$",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"\b(?:refactor\w*|upgrad\w*|migrat\w*|clean ?up|remove dead|rename|bump|chore|set ?up|configur\w*|"
    r"deploy\w*|document(?:ation)?|docs|ci/cd|pipeline|dependenc\w*|tech(?:nical)? debt|backup|cache|"
    r"index(?:es|ing)?|aufräumen)\b",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?:(?:sign|log|check|opt)(?= (?:in|out|up|on)\b)|accept|add|allow|apply|archive|ask|assign|automate|block|browse|cancel|collect|compare|connect|"
    r"copy|define|delegate|duplicate|get|give|have|hide|invite|keep|learn|mention|notify|offer|prepare|print|receive|"
    r"record|refund|remember|rotate|run|scan|stop|subscribe|undo|unlock|verify|watch|build|change|configure|create|delete|deploy|disable|display|document|download|edit|enable|"
    r"encrypt|evaluate|explore|export|find|fix|implement|import|improve|integrate|introduce|investigate|let|limit|"
    r"log|make|manage|measure|migrate|monitor|move|optimi[sz]e|pay|prevent|provide|publish|redesign|reduce|"
    r"refactor|remove|rename|replace|research|reset|restore|rewrite|save|schedule|search|see|select|send|set|share|"
    r"show|simplify|sort|speed|store|submit|support|switch|sync|test|track|translate|update|upgrade|upload|use|"
    r"validate|view|write)\b(?!-)",
    re.IGNORECASE,
)
_HEAVY = re.compile(
    r"\b(?:migrat\w*|re-?write|re-?design|re-?architect\w*|multi-?tenan\w*|multi-?region|distributed|"
    r"microservices?|real-?time|offline|end-to-end|encrypt\w*|sso|saml|oauth2?|payments?|billing|"
    r"disaster recovery|machine learning|recommendation|compliance|gdpr|legacy|platform|marketplace|"
    r"zero.downtime|sharding|event sourcing)\b",
    re.IGNORECASE,
)
_MEDIUM = re.compile(
    r"\b(?:integrat\w*|api|import|export|sync\w*|webhooks?|search|dashboard|report\w*|workflow|permissions?|roles|"
    r"notifications?|upload|authenticat\w*|cache|caching|database|mobile|ios|android|queue)\b",
    re.IGNORECASE,
)
_LIGHT = re.compile(
    r"\b(?:typo|text|label|wording|copy|color|colour|icon|link|tooltip|rename|padding|margin|font|favicon|spelling|"
    r"log message|button|placeholder)\b",
    re.IGNORECASE,
)
_NAMES = re.compile(
    r"(?:redis|slack|jira|stripe|paypal|google|apple|github|gitlab|kafka|postgres\w*|docker|kubernetes|notion|"
    r"salesforce|hubspot|azure|excel|safari|chrome|firefox|android|english|german|french|spanish)\b",
    re.IGNORECASE,
)


_ABLE = re.compile(
    r"(?:an? |the )?(?P<who>user|customer|admin|administrator|manager|editor|author|guest|member|visitor|shopper|agent|developer)s? can "
    r"(?P<what>(?!not\b).{3,150})",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|can|can['’]t|cannot|must|should|will|does|do|has|have|when|who|what|why|how|that|not|never|if|so|by next)\b|[,:;“”\"]",
    re.IGNORECASE,
)
# One thing that can be counted, by the last word before "for" or "of": it takes an article.
_COUNTABLE = re.compile(
    r"\b(?:page|banner|button|digest|cache|checklist|form|field|list|dashboard|report|app|widget|filter|box|link|menu|tour|e-?mail|view|chart|"
    r"state|template|wizard|calendar|map|tooltip|icon|api|flow|screen|tab|log|feed|editor|meter|policy|profile|plan|portal|service|tool|table|"
    r"toggle|badge|card|cart|code|counter|export|import|form|footer|header|guide|handbook|import|index|inbox|job|key|library|message|migration|"
    r"modal|panel|picker|pipeline|player|plugin|popup|preview|process|queue|reminder|runbook|scheduler|score|section|server|sidebar|site|"
    r"survey|switch|system|timer|token|upload|version|warning|webhook|window|workflow|picnic|marketplace|assistant|bot|gateway|navigation bar)"
    r"(?=\s(?:for|of|in|on|with|to|by|from)\b|$)",
    re.IGNORECASE,
)
_GERMAN = re.compile(
    r"[äöüß]|\bpasswort\b|\b(?:und|oder|für|mit|der|die|das|den|dem|ein|eine|einen|meine?n?|nach|von|beim?|im|am|nicht|keine?|wird|sind|ist)\b|"
    r"\w{3}(?:ung|keit|heit|schaft|modus|ieren|laden|korb|konto|eichern|suche|versand|bestellung|rechnung(?:en)?)\b",
    re.IGNORECASE,
)


def is_german(text: str) -> bool:
    """Say whether a title looks German."""
    return _GERMAN.search(text) is not None


def infer_type(text: str) -> StoryType:
    """Return bug, spike, task or story, by the words of the title."""
    if _SPIKE.search(text):
        return "spike"
    if _BUG.search(text):
        return "bug"
    return "task" if _TASK.search(text) else "story"


def user_story_for(title: str, story_type: StoryType) -> str:
    """Return an ``As a … I want … so that …`` sentence."""
    theme = theme_of(title)
    persona, benefit = {
        "bug": ("user", "I can finish what I started"),
        "spike": ("team member", "we decide on facts before we build"),
        "task": ("engineer on the team", "the next change is easier and safer"),
        "story": ("user", "I can do my work with less effort"),
    }[story_type]
    if theme is not None and story_type != "spike":
        persona = theme.persona
        benefit = theme.benefit if story_type != "bug" else benefit
    able = _ABLE.match(title) if story_type == "story" else None
    if able:
        mine = re.sub(r"\btheir\b", "my", able["what"].rstrip(" .!"))
        persona, want = able["who"].casefold(), f"to {mine}"
    else:
        want = _want(title, story_type)
    return f"As {_with_article(persona)}, I want {want} so that {benefit}."


def criteria_for(title: str, story_type: StoryType, user_story: str = "") -> tuple[str, ...]:
    """Return acceptance criteria that name the subject: the happy path, a failure, what the subject needs."""
    if story_type == "bug":
        return (
            f"Given the steps behind “{title}”, when they are repeated, then the expected result appears",
            f"Given cases close to “{title}”, when they are tried, then they work as before",
            "An automated test fails without the fix and passes with it",
        )
    if story_type == "spike":
        return (
            f"The question behind “{title}” is answered in writing, with the evidence",
            "At least two options are compared by cost, risk and time",
            "A recommendation and the stories that follow from it are in the backlog",
        )
    it = subject_of(title, story_type)
    goal = _goal_of(user_story)
    first = (f"A person for whom this story is made tries it and confirms: “{goal}”",) if goal else ()
    theme = theme_of(title) or theme_of(user_story)
    if theme is not None:
        return (*first, *(c.format(it=it, It=it[:1].upper() + it[1:]) for c in theme.criteria))
    if story_type == "task":
        return (
            *first,
            f"Given the staging environment, when {it} is done, then everything that worked before still works",
            f"Given {it} goes wrong half-way, when it is taken back, then nothing is lost",
            "What changed and how to check it is written down for the team",
        )
    return (
        *first,
        f"Given a permitted user, when they use {it}, then they get to the end without help",
        f"Given invalid or missing input, when {it} is used, then a message says why and nothing is saved",
        f"Given a user without permission, when they try {it}, then it is refused and nothing changes",
    )


def done_for(title: str, story_type: StoryType) -> tuple[str, ...]:
    """Return a definition of done that fits the kind of work."""
    if story_type == "spike":
        return (
            "The findings were presented to the team",
            "The time box was kept or its extension agreed",
            "Throw-away code was deleted or marked as such",
        )
    if story_type == "bug":
        return (
            f"The cause of “{title}” is written down in the story",
            "The fix is reviewed, merged and covered by a regression test",
            "The person who reported it has confirmed it",
        )
    return (
        "Every acceptance criterion is covered by an automated test",
        "The change is reviewed, merged and running in staging",
        "User-facing texts and documentation are up to date",
    )


def estimate(title: str, story_type: StoryType, *, criteria: int = 0, details: str = "") -> int:
    """Return points of the scale: the heavier the words, the more criteria and details, the more points."""
    text = f"{title}\n{details[:2000]}"
    weight = {"bug": 1, "task": 1, "story": 2, "spike": 2}[story_type]
    weight += 2 * len(_matches(_HEAVY, text)) + bool(_MEDIUM.search(text))
    weight -= 2 * bool(_LIGHT.search(text))
    weight += (criteria > 4) + (criteria > 8) + (len(details) > 400)
    return POINTS[max(0, min(weight, len(POINTS) - 1))]


def subject_of(title: str, story_type: StoryType = "story") -> str:
    """Return what to call the title's subject inside a sentence.

    A short name gives ``user login`` or ``the weekly digest``. Whatever else a title can be (an order, a sentence,
    several things, another language) reads badly there, and is ``this feature``.
    """
    subject = _inside(title)
    if not _is_name(subject):
        return "this feature" if story_type == "story" else "this change"
    return f"the {subject}" if _COUNTABLE.search(subject) else subject


def _want(title: str, story_type: StoryType) -> str:
    subject = _inside(title)
    if story_type == "bug":
        fault = re.sub(r"^fix(?:ing)?\s(?:the\s)?", "", title, flags=re.IGNORECASE)
        return f"“{fault[:1].upper()}{fault[1:]}” to be fixed"
    order = _order_in(subject)
    if order and not _GERMAN.search(title):
        thing = order.removeprefix("support ")
        return f"to {order}" if thing == order else f"support for {thing}"
    if story_type == "spike":
        return f"to know more about {subject}" if _is_name(subject) else f"an answer to “{title}”"
    if _GERMAN.search(title) or _SENTENCE.search(subject):
        return f"“{title}”"
    return _with_article(subject) if _COUNTABLE.search(subject) else subject


def _inside(title: str) -> str:
    """Return the title without its full stop, and with a small letter in front unless it is a name."""
    subject = title.rstrip(" .!?:;")
    head = subject.partition(" ")[0]
    if (head[1:].islower() or len(head) == 1 or "-" in head) and not _NAMES.match(head) and not _GERMAN.search(title):
        return subject[:1].lower() + subject[1:]
    return subject


def _is_name(subject: str) -> bool:
    several = re.search(r"\b(?:and|or|vs)\b|[^s\Wiu]s(?=\s(?:for|of|in|on|with|to|by|from)\b|$)", subject)
    return not (_order_in(subject) or _SENTENCE.search(subject) or several or len(subject.split()) > 6 or _GERMAN.search(subject))


def _order_in(subject: str) -> str:
    """Return ``reset passwords`` for itself and for ``resetting passwords``; nothing for what is no order."""
    if _VERB.match(subject):
        return subject
    head, _, rest = subject.partition(" ")
    stem = head.casefold().removesuffix("ing")
    if rest and stem != head.casefold():
        for base in (stem, f"{stem}e", stem[:-1]):
            if _VERB.fullmatch(base):
                return f"{base} {rest}"
    return ""


def _with_article(name: str) -> str:
    head = name.partition(" ")[0]
    if head.isupper() and len(head) > 1:
        return f"{'an' if head[0] in 'AEFHILMNORSX' else 'a'} {name}"
    vowel = re.match(r"(?!one\b|uni|use|eu)[aeiou]", name, re.IGNORECASE)
    return f"{'an' if vowel else 'a'} {name}"


def _goal_of(user_story: str) -> str:
    _, found, goal = user_story.partition("so that ")
    return goal.rstrip(" .") if found and len(goal) < 200 else ""


def _matches(pattern: re.Pattern[str], text: str) -> set[str]:
    return {m.casefold() for m in pattern.findall(text)}
