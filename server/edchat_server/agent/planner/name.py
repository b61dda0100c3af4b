# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""Finds the words of a change that name a story: what is left when verb, field and value are taken out."""

import re

from .fields import GAP
from .words import NOUN, NUMBER_WORDS, ORDINAL, PRIORITY, STATUS, either

_I = re.IGNORECASE
_FIELD = (
    r"(?:priority|prio|priorität|status|state|points?|story\spoints?|estimate|estimation|epic|title|name|assignee|owner|labels?|tags?|type|"
    r"description|user\sstory|technical\sdetails|acceptance\scriteri(?:on|a)|criteri(?:on|a)|acs?|definition\sof\sdone|dod|column)"
)
_PREPOSITION = r"(?:of|for|to|on|in|from|as|at|with|by|into|under|over|about|called|titled|named|von|der|für|auf|nach|zu|im|bei)"
_COPULA = r"(?:is|are|was|be|should|shall|must|can|has|have|been|needs?|ist|sind|soll)"
_ARTICLE = r"(?:an?|the|this|that|our|my|another|one|die|das|den|dem|eine?n?)"
_ADVERB = (
    r"(?:now|please|pls|also|again|too|instead|back|up|down|level|levels|asap|only|still|already|just|really|very|so|then|and|or|und|bitte|all|"
    r"more|higher|lower|today|immediately|directly|actually|maybe|next|again|right|away|there|here|yet|first|rather|new|not|no|yes|zu|sofort|jetzt)"
)
_FRONT = re.compile(
    rf"^(?:[\s,;:.!?()]+|(?:{_ARTICLE}|{_PREPOSITION}|{_COPULA}|{_ADVERB}|i|we|you|ich|wir)\b(?!-)|"
    rf"{_FIELD}(?=\s(?:{_PREPOSITION}|{_COPULA})\b|\W*$)|{NOUN}(?=\s{_PREPOSITION}\b|\W*$))+",
    _I,
)
_BACK = re.compile(
    rf"(?:[\s,;:.!?()=–—-]+|(?<![\w-])(?:{_ARTICLE}|{_PREPOSITION}|{_COPULA}|{_ADVERB}|priority|status|points|estimate|epic|title|[0-9]{{1,3}})\b)+$", _I
)
# One noun only, and none that titles end in: the "gift card story" is about gift cards.
_NOUN_BEHIND = re.compile(r"\s(?:user\s)?(?:story|ticket|task|bug|spike)$", _I)
# Words that say nothing about which story: alone, they name none.
_EMPTY = re.compile(
    rf"\b(?:{NOUN}|{_ARTICLE}|{_PREPOSITION}|{_COPULA}|{_ADVERB}|{_FIELD}|{PRIORITY}|{STATUS}|{ORDINAL}|{either(NUMBER_WORDS)}|"
    r"backlog|board|sprint|it|its|them|they|these|those|both|me|us|him|her|i|we|you|he|she|es|sie|working|work|because|since|but|if|when|"
    r"what|why|who|something|everything|anything|things?|urgent|urgently|more|less|important|bit|little|p?[0-9]+)\b",
    _I,
)
_VERB = re.compile(
    r"^[\s,]*(?:set|change|update|make|move|mark|rename|retitle|assign|reassign|unassign|add|append|remove|bump|raise|lower|"
    r"increase|decrease|estimate|close|finish|complete|start|begin|reopen|re-open|block|unblock|put|tag|label|describe|"
    r"edit|modify|drop|prioriti[sz]e|deprioriti[sz]e|convert|turn|give|call|promote|demote|resolve|send|push|drag|"
    r"setze?|ändere|verschiebe?|markiere?|benenne|weise|füge|schließe|starte)\b",
    _I,
)


def names_in(rest: str) -> tuple[str, ...]:
    """Return the phrases that could name a story, from a sentence with gaps where its values were."""
    return tuple(name for part in rest.split(GAP) if (name := _name(part)))


def name_in_front(rest: str) -> str:
    """Return the phrase before the first value, if it could name a story."""
    return _name(rest.partition(GAP)[0])


def _name(part: str) -> str:
    part = _FRONT.sub("", _VERB.sub("", part))[:200]
    part = _BACK.sub("", _NOUN_BEHIND.sub("", _BACK.sub("", part))).strip(" .,:;'’")
    return part if re.search(r"\w{2}", _EMPTY.sub(" ", part)) else ""
