
import re
import sqlite3
from collections.abc import Iterator

import pytest

from edchat_protocol.artifacts import POINTS
from edchat_server.backlog import (
    AmbiguousStory,
    Backlog,
    BacklogError,
    InvalidField,
    StoryChange,
    StoryDraft,
    StoryNotFound,
    StoryQuery,
    VersionConflict,
)
from edchat_server.backlog.defaults import criteria_for, estimate, infer_type, user_story_for
from edchat_server.backlog.schema import prepare
from edchat_server.sql import SQLITE

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    for _ in range(2):
        prepare(conn, SQLITE)
    conn.execute("BEGIN IMMEDIATE")
    yield conn
    conn.close()


@pytest.fixture
def backlog(conn: sqlite3.Connection) -> Backlog:
    return Backlog(conn, NOW)


def create(backlog: Backlog, title: str = "User authentication", **fields: object):
    return backlog.create_story(StoryDraft(title=title, **fields), run_id="r1", actor="ws-s1")  # type: ignore[arg-type]


def change(backlog: Backlog, ref: str, expected_version: int | None = None, **fields: object):
    wish = StoryChange(**fields)  # type: ignore[arg-type]
    return backlog.update_story(ref, wish, run_id="r2", actor="ann", expected_version=expected_version)


def test_title_alone_makes_a_whole_story(backlog: Backlog) -> None:
    story = create(backlog)
    assert (story.id, story.priority, story.epic, story.status) == (
        "STORY-1",
        "P2",
        "Engineering Tasks",
        "Backlog",
    )
    assert story.user_story.startswith("As a registered user, I want user authentication so that ")
    assert len(story.acceptance_criteria) >= 3
    assert any("user authentication" in c for c in story.acceptance_criteria)
    assert story.definition_of_done
    assert story.points in POINTS
    assert (story.version, story.created_at, story.run_id) == (1, NOW, "r1")


def test_defaults_differ_with_the_subject(backlog: Backlog) -> None:
    titles = [
        "User authentication",
        "Redis session cache",
        "Refund an order",
        "Fix crash on save",
        "Team picnic",
    ]
    stories = [create(backlog, t) for t in titles]
    assert len({s.acceptance_criteria for s in stories}) == len(titles)
    assert len({s.user_story for s in stories}) == len(titles)
    assert [s.type for s in stories] == ["story", "task", "story", "bug", "story"]


def test_given_fields_are_kept(backlog: Backlog) -> None:
    story = create(
        backlog,
        epic="Checkout",
        priority="p0",
        status="in_progress",
        type="BUG",
        points=13,
        labels=("#mvp", "MVP", "x"),
        acceptance_criteria=("a b", " a  b ", ""),
        assignee="@ann",
        user_story="As a …",
        url="https://example.org/1",
    )
    assert (story.epic, story.priority, story.status, story.type) == ("Checkout", "P0", "In Progress", "bug")
    assert (story.points, story.labels, story.acceptance_criteria) == (13, ("mvp", "x"), ("a b",))
    assert (story.assignee, story.user_story, story.url) == ("ann", "As a …", "https://example.org/1")


def test_every_estimate_of_the_scale_can_be_reached() -> None:
    titles = [
        "Fix typo in button label", "Fix broken footer", "Reset the cart", "User authentication", "Redesign the cart",
        "Migrate billing to a multi-tenant platform",
    ]  # fmt: skip
    assert [estimate(t, infer_type(t)) for t in titles] == list(POINTS)


@pytest.mark.parametrize(
    ("title", "wish"),
    [
        ("User authentication", "a registered user, I want user authentication so that"),
        ("Sign in with Google", "a registered user, I want to sign in with Google so that"),
        ("Log-in with passkeys", "a registered user, I want log-in with passkeys so that"),
        ("Weekly digest", "a user, I want a weekly digest so that"),
        ("On-call handover checklist", "a user, I want an on-call handover checklist so that"),
        ("API for partners", "a developer of a connected system, I want an API for partners so that"),
        ("User settings page", "a registered user, I want a user settings page so that"),
        ("Users can delete their account", "a user, I want to delete my account so that"),
        ("Resetting passwords by email", "a registered user, I want to reset passwords by email so that"),
        ("Support PDF export", "a product manager, I want support for PDF export so that"),
        ("Buy now, pay later", "a user, I want “Buy now, pay later” so that"),
        ("Warenkorb speichern", "a customer, I want “Warenkorb speichern” so that"),
        ("Login page takes 8 seconds to load", "a registered user, I want “Login page takes 8 seconds to load” to be"),
        ("Fix typo in button label", "a user, I want “Typo in button label” to be fixed so that"),
        ("Can we drop Redis?", "a team member, I want an answer to “Can we drop Redis?” so that"),
        ("Evaluate Kafka vs RabbitMQ", "a team member, I want to evaluate Kafka vs RabbitMQ so that"),
        ("API documentation", "a reader, I want API documentation so that"),
    ],
)
def test_sentence_reads_naturally_for_titles_of_all_kinds(title: str, wish: str) -> None:
    assert user_story_for(title, infer_type(title)).startswith(f"As {wish}")


@pytest.mark.parametrize(
    ("title", "criterion"),
    [
        ("Redis session cache", "Given the Redis session cache is unavailable, when a request comes in"),
        ("Guest checkout", "Given a valid order, when guest checkout is completed"),
        ("Reduce p95 latency of the search API", "when this feature is measured"),
        ("Migrate the database to Postgres 16", "Given this change fails half-way"),
        ("Customers can track their orders", "when this feature is completed"),
        ("iOS 18 widgets", "when this feature is used, then all of it"),
    ],
)
def test_criteria_name_the_subject_only_where_it_reads_well(title: str, criterion: str) -> None:
    assert any(criterion in c for c in criteria_for(title, infer_type(title)))


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"title": ""}, "title", "3 to 200"),
        ({"title": " a\x00b "}, "title", "3 to 200"),
        ({"title": "x" * 201}, "title", "3 to 200"),
        ({"title": "abc", "priority": "P4"}, "priority", "P0, P1, P2, P3"),
        ({"title": "abc", "status": "Somewhere"}, "status", "In Progress"),
        ({"title": "abc", "type": "saga"}, "type", "spike"),
        ({"title": "abc", "points": 4}, "points", "1, 2, 3, 5, 8, 13"),
        ({"title": "abc", "points": True}, "points", "13"),
        ({"title": "abc", "epic": "e" * 101}, "epic", "100"),
        ({"title": "abc", "url": "javascript:alert(1)"}, "url", "https://"),
        ({"title": "abc", "labels": tuple(map(str, range(21)))}, "labels", "20"),
        ({"title": "abc", "description": "x" * 20_001}, "description", "20000"),
    ],
)
def test_bad_value_names_the_field_and_what_is_allowed(
    backlog: Backlog, fields: dict, field: str, allowed: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        backlog.create_story(StoryDraft(**fields), run_id=None, actor="a")
    assert caught.value.field == field
    assert str(caught.value)[0].isupper()
    assert str(caught.value).endswith(".")
    assert allowed in str(caught.value)
    assert create(backlog).id == "STORY-1", "a refused story must not use up a number"


def test_numbers_are_never_used_again(backlog: Backlog, conn: sqlite3.Connection) -> None:
    create(backlog)
    create(backlog)
    conn.execute("DELETE FROM stories")
    assert create(backlog).id == "STORY-3"


@pytest.mark.parametrize(
    "ref", ["STORY-1", "story-1", "Story 1", "#1", "1", " story1 ", "user authentication", "AUTHENTICATION"]
)
def test_story_is_found_however_it_is_named(backlog: Backlog, ref: str) -> None:
    create(backlog)
    assert backlog.get_story(ref).id == "STORY-1"


def test_unknown_and_ambiguous_names(backlog: Backlog) -> None:
    create(backlog, "Login page")
    create(backlog, "Login button")
    with pytest.raises(AmbiguousStory, match=r"STORY-1 .*STORY-2"):
        backlog.get_story("login")
    for ref in ("STORY-9", "logout", "log", "", "%", "' OR 1=1 --"):
        with pytest.raises(StoryNotFound):
            backlog.get_story(ref)


@pytest.mark.parametrize(
    "title", ["Passwort-Reset", "Warenkorb speichern", "Suche kaputt für Gäste", "Prüfung evaluieren: evaluate"]
)
def test_german_title_gets_german_defaults(backlog: Backlog, title: str) -> None:
    story = create(backlog, title)
    assert story.user_story.startswith("Als ")
    texts = " ".join((story.user_story, *story.acceptance_criteria, *story.definition_of_done))
    assert not re.search(r"\b(?:the|when|and|is)\b", texts)


def test_change_keeps_history(backlog: Backlog) -> None:
    create(backlog)
    after = change(backlog, "1", priority="p0", add_labels=("auth",), assignee="Ann")
    assert (after.version, after.priority, after.labels, after.assignee) == (2, "P0", ("auth",), "Ann")
    first, second = backlog.history("1")
    assert (first.before, first.actor, first.run_id) == (None, "ws-s1", "r1")
    assert (second.actor, second.run_id, second.changed_at, second.after) == ("ann", "r2", NOW, after)
    assert second.before == first.after


def test_change_of_nothing_is_no_version(backlog: Backlog) -> None:
    before = create(backlog)
    assert change(backlog, "1", priority="P2", title="User  authentication") == before
    assert len(backlog.history("1")) == 1


def test_lists_grow_shrink_and_clear(backlog: Backlog) -> None:
    create(backlog, acceptance_criteria=("one",), labels=("a", "b"), assignee="Ann")
    after = change(
        backlog,
        "1",
        add_acceptance_criteria=("two",),
        remove_labels=("A",),
        add_labels=("c",),
        assignee="",
        points=None,
    )
    assert (after.acceptance_criteria, after.labels, after.assignee, after.points) == (
        ("one", "two"),
        ("b", "c"),
        None,
        None,
    )


def test_change_against_an_older_version_shows_both(backlog: Backlog) -> None:
    create(backlog)
    change(backlog, "1", expected_version=1, priority="P0")
    with pytest.raises(VersionConflict, match=r"version 2.*version 1.*P2 → P0") as caught:
        change(backlog, "1", expected_version=1, priority="P3")
    assert caught.value.seen is not None
    assert (caught.value.seen.priority, caught.value.current.priority) == ("P2", "P0")
    assert backlog.get_story("1").priority == "P0"


def test_refused_change_changes_nothing(backlog: Backlog) -> None:
    before = create(backlog)
    with pytest.raises(BacklogError, match="status"):
        change(backlog, "1", priority="P0", status="Limbo")
    assert backlog.get_story("1") == before


def test_epic_has_one_spelling(backlog: Backlog) -> None:
    create(backlog, epic="Sicherheit & Größe")
    create(backlog, epic="SICHERHEIT  &  GRÖSSE")
    assert backlog.epics() == (("Sicherheit & Größe", 2),)
    assert backlog.list_stories(StoryQuery(epic="sicherheit & grösse"))[1] == 2


def test_list_filters_counts_and_pages(backlog: Backlog) -> None:
    create(backlog, "Login", priority="P1", status="Ready", epic="Security", labels=("auth",), assignee="Ann")
    create(backlog, "Logout", priority="P0", status="Done", epic="Security", labels=("authentication",))
    create(backlog, "Crash on 100% zoom", priority="P1", type="bug")
    found = lambda **q: [s.id for s in backlog.list_stories(StoryQuery(**q))[0]]  # noqa: E731
    assert found() == ["STORY-2", "STORY-1", "STORY-3"], "by priority, then by number"
    assert found(priority="p1") == ["STORY-1", "STORY-3"]
    assert found(status="ready") == ["STORY-1"]
    assert found(status="open") == ["STORY-1", "STORY-3"]
    assert found(epic="SECURITY") == ["STORY-2", "STORY-1"]
    assert found(label="#AUTH") == ["STORY-1"], "a label is a whole word"
    assert found(assignee="@ann") == ["STORY-1"]
    assert found(type="bug") == ["STORY-3"]
    assert found(text="100%") == ["STORY-3"]
    assert found(text="SECURITY logout") == ["STORY-2"]
    assert found(text="_") == []
    page, total = backlog.list_stories(StoryQuery(limit=1, offset=1))
    assert ([s.id for s in page], total) == (["STORY-1"], 3)
    for bad in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"priority": "P9"}, {"status": "x"}):
        with pytest.raises(InvalidField):
            found(**bad)


def test_it_never_commits(conn: sqlite3.Connection, backlog: Backlog) -> None:
    create(backlog)
    change(backlog, "1", priority="P0")
    assert conn.in_transaction
    conn.execute("ROLLBACK")
    assert backlog.list_stories(StoryQuery()) == ((), 0)


@pytest.mark.parametrize(
    "text",
    [
        "日本語のストーリー",
        "<script>alert(1)</script>",
        "Ünïcödé 😀 story",
        "a'b\"c;--",
        "lone \ud800 surrogate",
    ],
)
def test_any_text_is_kept_as_text(backlog: Backlog, text: str) -> None:
    story = create(backlog, text, description=text, labels=("l",))
    assert story.title == text.replace("\ud800", "").replace("  ", " ")
    assert backlog.get_story(story.id) == story
