"""What must hold after every fault, asked of a running server and of those who watched."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.server_fixtures import Client, ServerProcess
from tests.server_fixtures import fold as fold_run
from websockets.exceptions import ConnectionClosed

FINAL = {"completed", "failed", "cancelled", "uncertain"}
Log = dict[int, dict[str, Any]]
Seen = tuple[str, ...]


def whole_log(running: ServerProcess, session: str = "s1") -> Log:
    """The log from its first event, by replay."""
    reader = Client(running, session=session, client="reader").open()
    epoch = reader.welcome["epoch"]
    reader.close()
    reader = Client(running, session=session, client="reader2", epoch=epoch).open()
    assert reader.welcome["resume"] == "replay"
    return to_the_head(reader)


def snapshot(running: ServerProcess, session: str = "s1") -> Log:
    """What somebody gets who comes late."""
    reader = Client(running, session=session, client="late").open()
    assert reader.welcome["resume"] == "snapshot" or reader.welcome["head"] == 0
    return to_the_head(reader)


def to_the_head(reader: Client) -> Log:
    while reader.cursor < reader.welcome["head"]:
        reader.recv()
    reader.close()
    return reader.log


def read_to_the_cut(client: Client) -> Log:
    """Read until the connection ends; return what was shown until then."""
    try:
        while True:
            client.recv()
    except (ConnectionClosed, OSError):
        pass
    client.close()
    return dict(client.log)


def until_over(client: Client, runs: int = 1) -> None:
    """Read until this many runs have ended."""
    while sum(len(states) for states in endings(client.log).values()) < runs:
        client.recv()


def endings(log: Log) -> dict[str, list[str]]:
    """Return the last states that each run was given; there should be one."""
    found: dict[str, list[str]] = {}
    for event in log.values():
        if event["type"] == "status" and event["data"]["status"] in FINAL:
            found.setdefault(event["run"], []).append(event["data"]["status"])
    return found


def fold(log: Log) -> list[Seen]:
    """Return what a person sees of a log: run by run, as a panel shows it, in the order of their messages."""
    runs: dict[str, Log] = {}
    for seq in sorted(log):
        runs.setdefault(log[seq]["run"], {})[seq] = log[seq]
    return [part for run in runs.values() for part in fold_run(run)]


def stories(running: ServerProcess) -> list[str]:
    with running.http(headers={"Authorization": f"Bearer {running.ready['token']}"}) as http:
        found: list[str] = [story["title"] for story in http.get("/api/stories?limit=200").json()["stories"]]
        return sorted(found)


def check_session(
    running: ServerProcess, session: str = "s1", *, shown: Iterable[Log] = (), stayed: Client | None = None,
    states: Iterable[str] = ("completed",),
) -> list[Seen]:
    """Check one conversation and return what a person sees of it.

    `shown`: what somebody was shown at some time. `stayed`: a client that is at the head. `states`: how the
    runs ended, in their order.
    """
    log = whole_log(running, session)
    assert sorted(log) == list(range(1, len(log) + 1)), "a gap in the log"
    for old in shown:
        assert {seq: log[seq] for seq in old} == old, "what was shown has changed"
    view = fold(log)
    assert view == fold(snapshot(running, session)), "the snapshot shows something else than the log"
    if stayed is not None:
        assert view == fold(stayed.log), "who stayed and who came later see different things"
    assert list(endings(log).values()) == [[state] for state in states], "an end for each run, and one"
    asked = Counter(e["mid"] for e in log.values() if e["type"] == "message" and e["data"].get("role") == "user")
    assert not [mid for mid, times in asked.items() if times > 1], "a message was taken twice"
    assert not [part for part in view if part[:1] == ("tool",) and part[2] == "running"], "a tool runs for ever"
    return view


def made(view: Iterable[Seen]) -> list[str]:
    """Return the ids of the stories that the tools of a view made."""
    return sorted(story for part in view if part[:2] == ("tool", "create_story") for story in part[3:])


def texts(view: Iterable[Seen]) -> list[str]:
    """Return the agent's texts in a view."""
    return [part[1] for part in view if part[0] == "text"]


def shown_in(view: Iterable[Seen]) -> Counter[Seen]:
    """Return what a panel has to show of a view."""
    seen: Counter[Seen] = Counter()
    for kind, *rest in view:
        if kind in ("text", "user", "assistant"):
            seen["text", rest[0]] += 1
        elif kind == "tool":
            seen["tool", rest[0]] += 1
            seen.update(("story", story) for story in rest[2:])
    return +seen
