"""What a story gets when its author gave only a title: sentence, criteria, definition of done, estimate."""

import re

from edchat_protocol.artifacts import POINTS, StoryType

from .themes import theme_of

_BUG = re.compile(
    r"\b(?:bugs?|fix|fixes|broken|crash(?:es|ed|ing)?|errors?|fails?|failing|failure|defect|regression|exception|"
    r"does(?:n.t| not) work|wrong|fehler|kaputt|abst[uü]rz\w*)\b",
    re.IGNORECASE,
)
_SPIKE = re.compile(
    r"\b(?:spike|investigat\w*|research|evaluat\w*|explor\w*|proof of concept|poc|feasibility|prototype|"
    r"untersuch\w*)\b",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"\b(?:refactor\w*|upgrad\w*|migrat\w*|clean ?up|remove dead|rename|bump|chore|set ?up|configur\w*|"
    r"deploy\w*|document(?:ation)?|docs|ci/cd|pipeline|dependenc\w*|tech(?:nical)? debt|backup|cache|"
    r"index(?:es|ing)?|aufräumen)\b",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?:add|allow|build|change|configure|create|delete|deploy|disable|display|document|download|edit|enable|"
    r"encrypt|evaluate|explore|export|find|fix|implement|import|improve|integrate|introduce|investigate|let|limit|"
    r"log|make|manage|measure|migrate|monitor|move|optimi[sz]e|pay|prevent|provide|publish|redesign|reduce|"
    r"refactor|remove|rename|replace|research|reset|restore|rewrite|save|schedule|search|see|select|send|set|share|"
    r"show|simplify|sort|speed|store|submit|support|switch|sync|test|track|translate|update|upgrade|upload|use|"
    r"validate|view|write)\b",
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
    persona = {"bug": "user", "spike": "team member", "task": "engineer on the team"}.get(story_type, "user")
    benefit = {
        "bug": "I can finish what I started",
        "spike": "we decide on facts before we build",
        "task": "the next change is easier and safer",
    }.get(story_type, "I can reach my goal in the product itself")
    if theme is not None:
        persona = theme.persona
        benefit = theme.benefit if story_type in {"story", "task"} else benefit
    want = _want(title, story_type)
    article = "an" if persona[0] in "aeiou" and not persona.startswith("user") else "a"
    return f"As {article} {persona}, I want {want} so that {benefit}."


def criteria_for(title: str, story_type: StoryType, user_story: str = "") -> tuple[str, ...]:
    """Return acceptance criteria that name the subject: the happy path, a failure, what the subject needs."""
    it = subject_of(title)
    if story_type == "bug":
        return (
            f"Given the steps behind “{title}”, when they are repeated, then the expected result appears",
            f"Given the neighbouring cases of “{title}”, when they are tried, then they work as before",
            "An automated test fails without the fix and passes with it",
        )
    if story_type == "spike":
        return (
            f"The question behind “{title}” is answered in writing, with the evidence",
            "At least two options are compared by cost, risk and time",
            "A recommendation and the stories that follow from it are in the backlog",
        )
    goal = _goal_of(user_story)
    first = (f"Given the person of this story, when they use {it}, then {goal}",) if goal else ()
    theme = theme_of(title) or theme_of(user_story)
    if theme is not None:
        return (*first, *(c.format(it=it, It=it[:1].upper() + it[1:]) for c in theme.criteria))
    return (
        *first,
        f"Given a permitted user, when they use {it}, then it can be completed from start to end",
        f"Given invalid or missing input, when {it} is tried, then a message says why and nothing is saved",
        f"Given a user without permission, when {it} is tried, then it is refused and nothing changes",
    )


def done_for(title: str, story_type: StoryType) -> tuple[str, ...]:
    """Return a definition of done that fits the kind of work."""
    it = subject_of(title)
    if story_type == "spike":
        return (
            f"The findings on {it} were presented to the team",
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
        f"Every acceptance criterion of {it} is covered by an automated test",
        "The change is reviewed, merged and running in staging",
        f"User-facing texts and documentation of {it} are up to date",
    )


def estimate(title: str, story_type: StoryType, *, criteria: int = 0, details: str = "") -> int:
    """Return points of the scale: the heavier the words, the more criteria and details, the more points."""
    text = f"{title}\n{details[:2000]}"
    weight = {"bug": 1, "task": 1, "story": 2, "spike": 2}[story_type]
    weight += 2 * len(_matches(_HEAVY, text)) + bool(_MEDIUM.search(text))
    weight -= 2 * bool(_LIGHT.search(text))
    weight += (criteria > 4) + (criteria > 8) + (len(details) > 400)
    return POINTS[max(0, min(weight, len(POINTS) - 1))]


def subject_of(title: str) -> str:
    """Return the title as it reads inside a sentence: ``User login`` gives ``user login``."""
    subject = title.rstrip(" .!?:;")
    head = subject.partition(" ")[0]
    if (head[1:].islower() or len(head) == 1 or "-" in head) and not _NAMES.match(head):
        subject = subject[:1].lower() + subject[1:]
    return f"“{subject}”" if _VERB.match(subject) else subject


def _want(title: str, story_type: StoryType) -> str:
    subject = subject_of(title).strip("“”")
    if story_type == "bug":
        return f"“{title}” to be fixed"
    return f"to {subject}" if _VERB.match(subject) else subject


def _goal_of(user_story: str) -> str:
    _, found, goal = user_story.partition("so that ")
    return goal.rstrip(" .") if found and len(goal) < 200 else ""


def _matches(pattern: re.Pattern[str], text: str) -> set[str]:
    return {m.casefold() for m in pattern.findall(text)}
