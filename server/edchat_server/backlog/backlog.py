"""The backlog in its tables. All of it happens inside a transaction that somebody else began."""

import re
from typing import Any

import msgspec
from msgspec import UNSET

from edchat_protocol.artifacts import Story
from edchat_server.sql import Connection

from . import defaults, german, rules
from .errors import AmbiguousStory, InvalidField, StoryNotFound, VersionConflict, shorten
from .model import DEFAULT_PRIORITY, StoryChange, StoryDraft, StoryQuery

LIMIT_MAX = 500
_WORD = re.compile(r"\w+")
_CONTAINS = "replace(search, ?, '') <> search"  # what both databases know, without wildcards
_STORY_FIELDS = Story.__struct_fields__
_BOOKKEEPING = {"version", "created_at", "updated_at", "run_id"}


class Revision(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One change of one story: who, when, by which run, and the story before (None: created) and after."""

    story: str
    version: int
    changed_at: str
    actor: str
    run_id: str | None
    before: Story | None
    after: Story


class Backlog:
    """Stories and epics on a connection whose transaction the caller has begun, and ends.

    `now` is the time of every change, ISO 8601 in UTC. Nothing here commits, waits or reads a clock. Errors
    are `BacklogError`s and leave nothing half-done that a rollback would not take back.
    """

    def __init__(self, conn: Connection, now: str) -> None:
        self._conn = conn
        self._now = now

    # ------------------------------------------------------------------------------------------- writing

    def create_story(self, draft: StoryDraft, *, run_id: str | None, actor: str) -> Story:
        """Return the new story, with defaults where the draft is empty.

        Raises:
            InvalidField: a value outside its rules; no number is used up.
        """
        story = _story_from(draft, epic=self._known_epic(rules.epic_of(draft.epic)))
        number = self._next_number()
        story = msgspec.structs.replace(
            story, id=f"STORY-{number}", created_at=self._now, updated_at=self._now, run_id=run_id
        )
        self._remember_epic(story.epic)
        self._write(number, story)
        self._record(number, None, story, run_id, actor)
        return story

    def update_story(
        self,
        reference: str,
        change: StoryChange,
        *,
        run_id: str | None,
        actor: str,
        expected_version: int | None = None,
    ) -> Story:
        """Return the changed story, one version on; a change that changes nothing leaves the version alone.

        Raises:
            StoryNotFound, AmbiguousStory: `reference` names no story or several.
            VersionConflict: the story is not at `expected_version` any more.
            InvalidField: a value outside its rules.
        """
        before = self.get_story(reference)
        if expected_version is not None and expected_version != before.version:
            seen = self._at_version(before.id, expected_version)
            since = differences(seen, before) if seen else ()
            raise VersionConflict(before, seen, expected_version, since)
        changed = _changed(before, change)
        changed = msgspec.structs.replace(changed, epic=self._known_epic(changed.epic))
        if changed == before:
            return before
        after = msgspec.structs.replace(changed, version=before.version + 1, updated_at=self._now)
        number = _number(after)
        self._remember_epic(after.epic)
        self._write(number, after)
        self._record(number, before, after, run_id, actor)
        return after

    # ------------------------------------------------------------------------------------------- reading

    def get_story(self, reference: str) -> Story:
        """Return the story with this id (``STORY-12``, ``story 12``, ``#12``, ``12``) or this title.

        Raises:
            StoryNotFound: nothing fits.
            AmbiguousStory: the title, or the words of it, fit several stories.
        """
        number = rules.number_of(reference)
        if number is not None:
            row = self._conn.execute("SELECT body FROM stories WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise StoryNotFound(f"STORY-{number}")
            return _decode(row[0])
        return self._by_title(reference)

    def list_stories(self, query: StoryQuery) -> tuple[tuple[Story, ...], int]:
        """Return a page of the stories that fit, and how many fit in all.

        Raises:
            InvalidField: an unknown priority, status or type, or a limit outside 1 to 500.
        """
        if not 1 <= query.limit <= LIMIT_MAX:
            raise InvalidField("limit", f"The limit is 1 to {LIMIT_MAX}; {query.limit} is not.")
        if query.offset < 0:
            raise InvalidField("offset", f"The offset is 0 or more; {query.offset} is not.")
        where, values = _conditions(query)
        total = self._conn.execute(f"SELECT count(*) FROM stories WHERE {where}", values).fetchone()[0]  # noqa: S608
        rows = self._conn.execute(
            f"SELECT body FROM stories WHERE {where} ORDER BY priority, number LIMIT ? OFFSET ?",  # noqa: S608
            (*values, query.limit, query.offset),
        )
        return tuple(_decode(row[0]) for row in rows), int(total)

    def epics(self) -> tuple[tuple[str, int], ...]:
        """Return each epic's name with its number of stories, by name."""
        rows = self._conn.execute(
            "SELECT e.name, count(s.number) FROM epics e LEFT JOIN stories s ON s.epic_key = e.key "
            "GROUP BY e.key ORDER BY e.key"
        )
        return tuple((str(name), int(count)) for name, count in rows)

    def history(self, reference: str) -> tuple[Revision, ...]:
        """Return every change of a story, the first one first."""
        story = self.get_story(reference)
        rows = self._conn.execute(
            "SELECT version, changed_at, actor, run_id, before, after FROM story_history "
            "WHERE number = ? ORDER BY version",
            (_number(story),),
        )
        return tuple(
            Revision(
                story=story.id,
                version=version,
                changed_at=at,
                actor=actor,
                run_id=run,
                before=_decode(before) if before else None,
                after=_decode(after),
            )
            for version, at, actor, run, before, after in rows
        )

    # ------------------------------------------------------------------------------------------ internals

    def _next_number(self) -> int:
        row = self._conn.execute(
            "INSERT INTO backlog_counters (name, value) VALUES ('story', 1) "
            "ON CONFLICT (name) DO UPDATE SET value = backlog_counters.value + 1 RETURNING value"
        ).fetchone()
        return int(row[0])

    def _known_epic(self, name: str) -> str:
        row = self._conn.execute("SELECT name FROM epics WHERE key = ?", (rules.key_of(name),)).fetchone()
        return str(row[0]) if row else name

    def _remember_epic(self, name: str) -> None:
        self._conn.execute(
            "INSERT INTO epics (key, name, created_at) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (rules.key_of(name), name, self._now),
        )

    def _write(self, number: int, story: Story) -> None:
        keys = rules.key_of(story.epic), rules.key_of(story.assignee or "")
        self._conn.execute(
            "INSERT INTO stories (number, body, epic_key, assignee_key, search) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (number) DO UPDATE SET body = excluded.body, epic_key = excluded.epic_key, "
            "assignee_key = excluded.assignee_key, search = excluded.search",
            (number, _encode(story), *keys, _search(story)),
        )

    def _record(
        self, number: int, before: Story | None, after: Story, run_id: str | None, actor: str
    ) -> None:
        bodies = _encode(before) if before else None, _encode(after)
        self._conn.execute(
            "INSERT INTO story_history (number, version, changed_at, actor, run_id, before, after) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, after.version, self._now, actor, run_id, *bodies),
        )

    def _at_version(self, story_id: str, version: int) -> Story | None:
        row = self._conn.execute(
            "SELECT after FROM story_history WHERE number = ? AND version = ?",
            (rules.number_of(story_id), version),
        ).fetchone()
        return _decode(row[0]) if row else None

    def _by_title(self, reference: str) -> Story:
        words = _WORD.findall(rules.key_of(reference))
        if not words:
            raise StoryNotFound(reference)
        where, values = _conditions(StoryQuery(text=" ".join(words[:20])))
        rows = self._conn.execute(f"SELECT body FROM stories WHERE {where} ORDER BY number", values)  # noqa: S608
        found = [_decode(row[0]) for row in rows]
        wanted = rules.key_of(reference)
        exact = [s for s in found if rules.key_of(s.title) == wanted]
        near = [s for s in found if _has_words(s.title, words)]
        fits = exact or near
        if not fits:
            raise StoryNotFound(reference)
        if len(fits) > 1:
            raise AmbiguousStory(reference, fits)
        return fits[0]


def _has_words(title: str, words: list[str]) -> bool:
    """Say whether the title has all the words, whole, in singular or plural: "port" does not name an export."""
    own = {form for word in _WORD.findall(rules.key_of(title)) for form in (word, word.removesuffix("s"))}
    return all(word in own or word.removesuffix("s") in own for word in words)


def differences(before: Story, after: Story) -> tuple[str, ...]:
    """Return what changed between two versions, as ``priority P2 → P0``."""
    found = []
    for name in _STORY_FIELDS:
        old, new = getattr(before, name), getattr(after, name)
        if old == new or name in _BOOKKEEPING:
            continue
        label = name.replace("_", " ")
        if isinstance(old, tuple):
            found.append(f"{label} {_list_difference(old, new)}")
        else:
            found.append(f"{label} {_brief(old)} → {_brief(new)}")
    return tuple(found)


def _brief(value: object) -> str:
    return shorten(str(value), 80) if value not in {None, ""} else "none"


def _list_difference(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    added = [f"+ {shorten(i, 80)}" for i in new if i not in old]
    removed = [f"- {shorten(i, 80)}" for i in old if i not in new]
    return ", ".join(added + removed) or "reordered"


def _story_from(draft: StoryDraft, *, epic: str) -> Story:
    title = rules.title_of(draft.title)
    story_type = rules.type_of(draft.type) if draft.type else defaults.infer_type(title)
    details = rules.block_of("technical_details", draft.technical_details)
    description = rules.block_of("description", draft.description)
    sentence = rules.clean_line(rules.block_of("user_story", draft.user_story))
    given = rules.items_of("acceptance_criteria", draft.acceptance_criteria)
    done = rules.items_of("definition_of_done", draft.definition_of_done)
    points = rules.points_of(draft.points)
    if points is None:
        extent = f"{details}\n{description}"
        points = defaults.estimate(title, story_type, criteria=len(given), details=extent)
    if draft.language.casefold().startswith("de") or (not draft.language and defaults.is_german(title)):
        sentence_for_it = german.user_story_for(title, story_type)
        criteria, checks = german.criteria_for(title, story_type), german.done_for(story_type)
    else:
        sentence_for_it = defaults.user_story_for(title, story_type)
        criteria, checks = defaults.criteria_for(title, story_type, sentence), defaults.done_for(title, story_type)
    return Story(
        id="",
        title=title,
        epic=epic,
        priority=rules.priority_of(draft.priority or DEFAULT_PRIORITY),
        status=rules.status_of(draft.status or "Backlog"),
        type=story_type,
        user_story=sentence or sentence_for_it,
        description=description,
        acceptance_criteria=given or criteria,
        definition_of_done=done or checks,
        points=points,
        labels=rules.labels_of(draft.labels),
        assignee=rules.assignee_of(draft.assignee),
        technical_details=details,
        url=rules.url_of(draft.url),
    )


def _changed(story: Story, change: StoryChange) -> Story:
    fields: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        value = getattr(change, name)
        if value is not UNSET:
            fields[name] = check(value)
    for name, added in (
        ("acceptance_criteria", change.add_acceptance_criteria),
        ("definition_of_done", change.add_definition_of_done),
        ("labels", change.add_labels),
    ):
        if added:
            fields[name] = _CHECKS[name]((*fields.get(name, getattr(story, name)), *added))
    if change.remove_labels:
        gone = {rules.key_of(label.lstrip("# ")) for label in change.remove_labels}
        fields["labels"] = tuple(i for i in fields.get("labels", story.labels) if rules.key_of(i) not in gone)
    return msgspec.structs.replace(story, **fields)


_CHECKS: dict[str, Any] = {
    "title": rules.title_of,
    "epic": rules.epic_of,
    "priority": rules.priority_of,
    "status": rules.status_of,
    "type": rules.type_of,
    "user_story": rules.clean_line,
    "description": lambda text: rules.block_of("description", text),
    "acceptance_criteria": lambda items: rules.items_of("acceptance_criteria", items),
    "definition_of_done": lambda items: rules.items_of("definition_of_done", items),
    "points": rules.points_of,
    "labels": rules.labels_of,
    "assignee": rules.assignee_of,
    "technical_details": lambda text: rules.block_of("technical_details", text),
    "url": rules.url_of,
}


def _conditions(query: StoryQuery) -> tuple[str, list[Any]]:
    terms, values = ["1 = 1"], list[Any]()

    def add(term: str, value: str) -> None:
        terms.append(term)
        values.append(value)

    if query.priority:
        add("priority = ?", rules.priority_of(query.priority))
    if query.status and rules.key_of(query.status) == "open":
        add("status <> ?", "Done")
    elif query.status:
        add("status = ?", rules.status_of(query.status))
    if query.type:
        add("type = ?", rules.type_of(query.type))
    if query.epic:
        add("epic_key = ?", rules.key_of(query.epic))
    if query.assignee:
        add("assignee_key = ?", rules.key_of(query.assignee.lstrip("@")))
    if query.label:
        add(_CONTAINS, f"\x1f{rules.key_of(query.label.lstrip('# '))}\x1f")
    for word in rules.key_of(query.text).split(" ")[:50]:
        if word:
            add(_CONTAINS, word)
    return " AND ".join(terms), values


def _search(story: Story) -> str:
    # Labels stand between separators, so that one search column serves whole labels and parts of words.
    texts = (
        story.id,
        story.title,
        story.user_story,
        story.description,
        story.technical_details,
        story.epic,
        story.assignee or "",
        *story.acceptance_criteria,
    )
    labels = "".join(f"\x1f{rules.key_of(label)}" for label in story.labels)
    return " ".join(rules.key_of(t) for t in texts) + labels + "\x1f"


def _number(story: Story) -> int:
    number = rules.number_of(story.id)
    if number is None:
        raise AssertionError(f"a stored story has the id {story.id!r}")
    return number


def _encode(story: Story) -> str:
    return msgspec.json.encode(story).decode()


def _decode(body: str) -> Story:
    return msgspec.json.decode(body, type=Story)
