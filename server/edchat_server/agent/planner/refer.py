# ruff: noqa: E501 (a pattern cut in two is harder to read than a long one)
"""Which stories a sentence means: by id, by "it" and "the second", by words of a title that was shown."""

import re
from dataclasses import dataclass

from .fields import GAP
from .plan import Conversation, StoryRef
from .words import NOUN, NUMBER_WORDS, ORDINAL, ORDINALS, SINGULAR, STATUS, STORY_ID

_I = re.IGNORECASE
_IDS = re.compile(rf"(?<!\w)(?:{STORY_ID}|(?P<bare>(?<=\bnumber\s)[0-9]{{1,9}}\b))", _I)
_MORE_IDS = re.compile(r"\s*(?:,|and|und|&|,\s*and)\s*#?(?P<n>[0-9]{1,9})\b(?!\s*(?:points?|pts?|sp)\b)", _I)
_ORDINAL = re.compile(
    rf"\b(?:the|den|die|das|der)\s+(?P<o>{ORDINAL})(?:\s+(?:one|story|ticket|item|task|bug|of\s(?:them|these)))?\b",
    _I,
)
_PLACES = re.compile(r"\b(?P<end>first|last)\s(?P<n>two|three|four|five|[2-9])\b", _I)
_MANY = re.compile(
    r"\b(?:them(?:\s(?:all|both))?|both(?:\s(?:of\s(?:them|these)|stories))?|all\sof\s(?:them|these)|all\s(?:three|two|four|five)|"
    r"these(?:\s(?:two|three|stories))?|those(?:\s(?:two|three|stories))?|beide|alle\sdrei)\b",
    _I,
)
_ONE = re.compile(
    rf"\b(?:it|that\sone|this\sone|(?:this|that|the\ssame)\s(?:story|ticket|task|bug|spike|item|one)|"
    rf"the\s(?:story|ticket)(?!\s(?:about|on|for|called|titled|named|with|that|which|where)\b)|"
    # "this saved filters story" and "the story that …" name one; they do not point at the last one.
    rf"its|es|sie|diese\s{NOUN}|die\sstory|(?<!story\s)(?<!ticket\s)(?<!bug\s)(?<!task\s)(?:that|this)(?!\s(?:[\w-]+\s){{1,4}}{SINGULAR}\b))\b",
    _I,
)

_BEFORE_TITLE = re.compile(r"(?:(?:i|we)(?:['’]ve|\shave)?\s)?(?:\w+\s)?(?:the\s)?", _I)
_BEHIND_TITLE = re.compile(
    rf"(?:\s{NOUN}\b)?(?:\s(?:is|are|was|has|should|can|to|as|from|in|into|with|ist|auf|nach|{STATUS})\b|\s?(?:->|→|=|:)|\W*$)", _I
)


@dataclass(frozen=True)
class Meant:
    """The stories meant. `explicit`: each was named, by id, by place or by title.

    `vague`: words like "it" stood there; with no stories in `ids`, nothing was shown that they could mean.
    """

    ids: tuple[str, ...] = ()
    explicit: bool = False
    vague: bool = False
    span: tuple[int, int] = (0, 0)


def story_ids(text: str) -> tuple[str, ...]:
    """Return the ids in the text, in order, each once."""
    found: list[str] = []
    for match in _IDS.finditer(text):
        found.append(match["n"] or match["bare"])
        position = match.end()
        while (more := _MORE_IDS.match(text, position)) is not None:
            found.append(more["n"])
            position = more.end()
    return tuple(dict.fromkeys(f"STORY-{int(n)}" for n in found))


def without_ids(text: str) -> str:
    """Return the text with a gap where each id was."""
    return _IDS.sub(GAP, text)


def who_is_meant(text: str, conv: Conversation) -> Meant:
    """Return the stories that the text speaks of."""
    ids = story_ids(text)
    if ids:
        first = _IDS.search(text)
        return Meant(ids, explicit=True, span=first.span() if first else (0, 0))
    several = _PLACES.search(text)
    if several and len(conv.listed or conv.shown) > 1:
        count = NUMBER_WORDS.get(several["n"].casefold()) or int(several["n"])
        pool = conv.listed or conv.shown
        part = pool[:count] if several["end"].casefold() == "first" else pool[-count:]
        return Meant(tuple(r.id for r in part), explicit=True, span=several.span())
    places = list(_ORDINAL.finditer(text))
    if places:
        pool = conv.listed or conv.shown
        picked = tuple(dict.fromkeys(i for m in places if (i := _at(pool, ORDINALS[m["o"].casefold()]))))
        if picked or not pool:
            return Meant(picked, explicit=True, vague=not picked, span=places[0].span())
    many = _MANY.search(text)
    if many:
        pool = conv.shown if len(conv.shown) > 1 else conv.listed
        return Meant(tuple(r.id for r in pool), vague=True, span=many.span())
    titled = by_title(text, conv)
    if titled:
        return Meant((titled,), explicit=True)
    one = _ONE.search(text)
    if one:
        only = (conv.shown[-1].id,) if conv.shown else ()
        if len(conv.shown) > 1:
            only = ()
        return Meant(only, vague=True, span=one.span())
    return Meant()


def by_title(text: str, conv: Conversation) -> str:
    """Return the one story, of those seen, that ``the … story`` names by words of its title; else nothing."""
    titled = [ref.id for ref in conv.known if ref.title and _says_of(text, ref.title)]
    if len(titled) == 1:
        return titled[0]
    match = re.search(
        r"\b(?:the|die|den|das)\s+(?P<w>[\w &/-]{3,80}?)\s+(?:story|ticket|bug|task|spike|one)\b", text, _I
    )
    if match is None:
        return ""
    fits = titled_with(match["w"], conv)
    return fits[0].id if len(fits) == 1 else ""


def titled_with(phrase: str, conv: Conversation) -> tuple[StoryRef, ...]:
    """Return the stories seen whose title is the phrase, or else those that have all its words."""
    words = set(re.findall(r"\w+", phrase.casefold()))
    titles = [(ref, re.findall(r"\w+", ref.title.casefold())) for ref in conv.known]
    exact = tuple(ref for ref, title in titles if set(title) == words)
    return exact or tuple(ref for ref, title in titles if words <= set(title))


def _says_of(text: str, title: str) -> bool:
    """Say whether something is said or asked of the title: ``Apple Pay is blocked``, ``move Apple Pay to Done``."""
    before, found, behind = text.casefold().partition(title.casefold())
    return bool(found) and _BEFORE_TITLE.fullmatch(before) is not None and _BEHIND_TITLE.match(behind) is not None


def reference(story_id: str, conv: Conversation) -> StoryRef:
    """Return what the conversation knows of a story."""
    return next((ref for ref in conv.known if ref.id == story_id), StoryRef(story_id))


def _at(pool: tuple[StoryRef, ...], place: int) -> str:
    return pool[place].id if -len(pool) <= place < len(pool) else ""
