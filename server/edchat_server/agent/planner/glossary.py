# ruff: noqa: E501 (an explanation reads better in one line)
"""Explains the words of the trade in a sentence or two, when somebody asks."""

import re

from .plan import Conversation, Plan
from .words import either

_MEANINGS = {
    "user story": "A **user story** says who wants what, and why: “As a customer, I want to pay with Apple Pay so that checkout is faster.” It is small enough for one sprint, and its acceptance criteria say when it is done.",
    "bug": "A **bug** is something that should work and does not. Say what happens, what should happen, and how to make it happen again.",
    "task": "A **task** is work that users do not see for themselves, such as an upgrade or a clean-up.",
    "spike": "A **spike** is research in a fixed time: it ends with an answer and a recommendation, not with a feature.",
    "epic": "An **epic** is a larger goal that groups stories. It comes into being with its first story.",
    "acceptance criteria": "**Acceptance criteria** are the checks that a story has to pass: “Given a wrong password, when I sign in, then I see why it failed.” Each can be tested with yes or no.",
    "definition of done": "The **definition of done** is what holds for finished work of any kind: reviewed, tested, documented. Acceptance criteria belong to one story; this belongs to the team.",
    "story points": "**Story points** compare the effort of stories, not hours: 1, 2, 3, 5, 8 or 13. What is larger should be split.",
    "priority": "**P0** is critical and comes first, **P1** is high, **P2** is normal and the default, **P3** is low.",
    "backlog": "The **backlog** is the list of all that might be built, the most important first. Stories start there with the status Backlog.",
    "status": "A story goes from **Backlog** to **Ready**, **In Progress**, **In Review** and **Done**; **Blocked** means that it waits for something.",
}  # fmt: skip
_OTHER_NAMES = {
    "story": "user story", "stories": "user story", "user stories": "user story", "bugs": "bug", "tasks": "task", "spikes": "spike",
    "epics": "epic", "acceptance criterion": "acceptance criteria", "akzeptanzkriterien": "acceptance criteria", "dod": "definition of done",
    "points": "story points", "story point": "story points", "priorities": "priority", "p0": "priority", "p1": "priority", "p2": "priority",
    "p3": "priority", "statuses": "status", "fehler": "bug",
}  # fmt: skip
_TERM = rf"(?:{either(_MEANINGS, _OTHER_NAMES)})"
_ASKED = re.compile(
    rf"^(?:(?:what(?:['’]s|\s(?:is|are|does|do))|whats|explain|define|how\s(?:do|does)|was\s(?:ist|sind|heißt|bedeutet)|tell\sme)\s(?:exactly\s|genau\s)?|(?=(?:the\s)?difference))"
    rf"(?P<article>(?:an?|the|eine?|der)\s)?(?:(?:difference|unterschied)\s(?:between|zwischen)\s(?:(?:an?|the|eine[mr]?)\s)?)?(?P<one>{_TERM})"
    rf"(?:\s(?:and|or|vs\.?|versus|und|oder)\s(?:(?:an?|the|eine[mr]?)\s)?(?P<two>{_TERM}))?"
    r"(?P<meaning>\s(?:mean|means|work|for|stand\sfor)\b)?[\s?.!]*$",
    re.IGNORECASE,
)


def plan_explanation(text: str, conv: Conversation) -> Plan | None:
    """Return the meaning of a word that the text asks for; None if it asks for none.

    After a story was shown, "the status" is that story's.
    """
    asked = _ASKED.match(text)
    if asked is None:
        return None
    if (asked["article"] or "").casefold() == "the " and not asked["two"] and (conv.shown or "definition" not in asked["one"].casefold()):
        return None
    terms = [_OTHER_NAMES.get(t.casefold(), t.casefold()) for t in (asked["one"], asked["two"]) if t]
    return Plan("talk", say="\n\n".join(_MEANINGS[t] for t in dict.fromkeys(terms)))
