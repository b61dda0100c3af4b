"""The rig of the network's faults: a real server process, the fault proxy, and the kernel's real client.

Everything that the client did is judged by what the server's database holds in the end.
"""

import asyncio
import contextlib
import json
import random
import re
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.fault_proxy import FaultProxy, Line, Script, most_within
from tests.server_fixtures import ServerProcess, fold

from edchat_protocol.messages import TextPart, ToolCallPart
from edchat_widget._io.driver import Driver, new_id
from edchat_widget._io.transport import Connect, Endpoint, connect
from edchat_widget.settings import Settings
from edchat_widget.view import View

QUICK = {"reconnect_interval": 0.02}
MOST_CONNECTS = 10
_OF_SESSION = re.compile(rb"session_id=([\w.~-]+)|/v2/sessions/([\w.~-]+)/")
FINAL = {"completed", "failed", "cancelled"}

Shape = dict[str, list[tuple[Any, ...]]]


def session_of(head: bytes) -> str:
    """Return the session that a request is about."""
    found = _OF_SESSION.search(head)
    return (found[1] or found[2]).decode() if found else ""


def kind_of(head: bytes) -> str:
    """Return what a connection is for, by its first request: ws, sse, poll, post or other."""
    if b"\r\nupgrade: websocket" in head.lower():
        return "ws"
    line = head.split(b"\r\n", 1)[0]
    if line.startswith(b"POST"):
        return "post"
    if b"/events" in line:
        return "poll" if b"wait=" in line else "sse"
    return "other"


class Plans:
    """Which script each session's connections get: by kind, in order, once each; then none."""

    def __init__(self) -> None:
        self._scripts: dict[tuple[str, str], deque[Script]] = defaultdict(deque)

    def plan(self, session: str, kind: str, *scripts: Script) -> None:
        self._scripts[session, kind].extend(scripts)

    def __call__(self, head: bytes) -> Script:
        waiting = self._scripts.get((session_of(head), kind_of(head)))
        return waiting.popleft() if waiting else Script()


@dataclass
class Network:
    """A server, and a proxy before it."""

    server: ServerProcess
    proxy: FaultProxy
    folder: Path
    plans: Plans
    views: dict[str, View] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def kernel(
        self, session: str, *, opener: Connect = connect, jitter: Callable[[], float] = random.random, **settings: Any
    ) -> AsyncIterator[Driver]:
        """A kernel's conversation through the proxy; its last view is kept for `judge`."""
        endpoint = Endpoint(self.proxy.url, self.server.ready["token"])

        async def resolve(*, renew: bool = False) -> Endpoint:
            return endpoint

        given = Settings(url=endpoint.url, token=endpoint.token, data_dir=self.folder / "kernel", **(QUICK | settings))
        driver = Driver(given, session, resolve, opener=opener, jitter=jitter)
        driver.start()
        try:
            yield driver
        finally:
            self.views[session] = driver.snapshot().view
            await driver.close()

    def lines(self, session: str) -> dict[str, Line]:
        """The open connections of a session, by kind."""
        return {kind_of(line.head): line for line in self.proxy.lines.values() if session_of(line.head) == session}

    def connects(self, session: str) -> list[float]:
        """When this session's connections were begun."""
        return [at for at, head in self.proxy.stats.heads if session_of(head) == session]


@contextlib.asynccontextmanager
async def network(server: ServerProcess, folder: Path) -> AsyncIterator[Network]:
    """Put a proxy before the server."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    plans = Plans()
    async with FaultProxy(host, int(port), plans) as proxy:
        yield Network(server, proxy, folder, plans)


async def all_answered(driver: Driver, *message_ids: str, seconds: float = 30) -> View:
    """Return the first view in which each of these messages has its whole answer, and nothing waits to be
    acknowledged."""
    wanted = set(message_ids)

    def done(view: View) -> bool:
        return view.queued == 0 and wanted <= {m.id for m in view.messages if m.state == "answered"}

    try:
        async with asyncio.timeout(seconds):
            return await driver.until(done)
    except TimeoutError:
        states = {m.id: (m.state, m.detail) for m in driver.view.messages}
        raise AssertionError(f"no answer within {seconds} s: {states}, {driver.view.connection}") from None


async def until(condition: Callable[[], Any], *, seconds: float = 10, what: str = "") -> Any:
    """Return the first true value of `condition`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (value := condition()):
        assert loop.time() < end, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.01)
    return value


def say(driver: Driver, text: str) -> str:
    """Submit a message; return its id."""
    message_id = new_id()
    driver.submit(message_id, text)
    return message_id


# ------------------------------------------------------------------------------------------------- judgement


class Truth:
    """What the server's database says, read when the server has ended."""

    def __init__(self, database: Path) -> None:
        with contextlib.closing(sqlite3.connect(database)) as db:
            self.logs: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
            for session, seq, body in db.execute("SELECT session, seq, body FROM events ORDER BY session, seq"):
                self.logs[session][seq] = json.loads(body)
            self.heads = dict(db.execute("SELECT id, last_seq FROM sessions"))
            self.runs = list(db.execute("SELECT session, input_id, state FROM runs ORDER BY n"))
            self.titles = Counter(json.loads(body)["title"] for (body,) in db.execute("SELECT body FROM stories"))


def judge(net: Network, asked: dict[str, list[str]], stories: Iterable[str], *, cancelled: bool = False) -> None:
    """Hold every invariant against what happened. The server must have ended.

    `asked`: for each session, the texts in the order in which they were submitted; `stories`: every title.
    """
    truth = Truth(net.server.data_dir / "edchat.db")
    assert truth.titles == Counter(stories), f"stories lost or doubled: {truth.titles - Counter(stories)} too many, "\
        f"{Counter(stories) - truth.titles} too few"
    runs = Counter((session, input_id) for session, input_id, _ in truth.runs)
    assert not [run for run, count in runs.items() if count > 1], "a message became two runs"
    assert {state for *_, state in truth.runs} <= (FINAL if cancelled else {"completed"}), truth.runs
    for session, texts in asked.items():
        log, view = truth.logs[session], net.views[session]
        assert sorted(log) == list(range(1, len(log) + 1)), f"{session}: a gap in the log"
        assert truth.heads[session] == len(log)
        assert shape_of_view(view) == shape_of_log(log), f"{session}: the view is not what the log says"
        assert [m.text for m in view.messages if m.role == "user"] == texts, f"{session}: order"
        assert view.queued == 0, f"{session}: something waits still"
    no_spin(net)
    no_secret(net)


def no_spin(net: Network) -> None:
    """At most ten connects in any three seconds for each client."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, head in net.proxy.stats.heads:
        if kind_of(head) != "post":  # a POST is no attempt to connect, and has a connection of its own at times
            times[session_of(head)].append(at)
    counts = {session: most_within(at, 3.0) for session, at in times.items()}
    worst = {session: count for session, count in counts.items() if count > MOST_CONNECTS}
    assert not worst, f"connects within 3 s: {worst}"


def no_secret(net: Network) -> None:
    """No token in the server's log, in its audit log, in an address or in the kernel's files."""
    token = net.server.ready["token"].encode()
    for _, head in net.proxy.stats.heads:
        assert token not in head.split(b"\r\n", 1)[0], "the token is in an address"
    files = [*net.server.data_dir.rglob("*"), *(net.folder / "kernel").rglob("*")]
    for file in files:
        if file.is_file():
            assert token not in file.read_bytes(), f"the token is in {file.name}"


def shape_of_log(log: dict[int, dict[str, Any]]) -> Shape:
    """Return what a person sees of a log, by kind."""
    shape: Shape = {"user": [], "text": [], "tool": []}
    for kind, *rest in fold(log):
        if kind in shape and rest != [""]:
            shape[kind].append((rest[0], rest[1] == "completed") if kind == "tool" else (rest[0],))
    return {kind: sorted(parts) if kind == "tool" else parts for kind, parts in shape.items()}


def shape_of_view(view: View) -> Shape:
    """Return what the panel shows, by kind."""
    shape: Shape = {"user": [], "text": [], "tool": []}
    for message in view.messages:
        for part in message.parts:
            if isinstance(part, TextPart) and part.text:
                shape["user" if message.role == "user" else "text"].append((part.text,))
            elif isinstance(part, ToolCallPart):
                shape["tool"].append((part.tool, part.state == "output-available"))
    shape["tool"].sort()
    return shape
