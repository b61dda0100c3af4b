"""Several servers on one PostgreSQL: whichever dies, freezes or is cut off, nothing is lost or doubled."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.faults import oracle
from tests.faults.balancer import Balancer
from tests.postgres import Postgres, missing, postgres
from tests.processes import wait_until
from tests.server_fixtures import Client, ServerProcess, server
from websockets.exceptions import WebSocketException

from edchat_widget import Chat

TOKEN = "token-of-the-team"
LEASE = 2
KILLED = 137
FOUR = [
    {"type": "message", "id": f"m-{n}", "csn": n + 1, "data": {"content": f"make Story {n}a | Story {n}b"}}
    for n in range(4)
]
TWO = {"type": "message", "id": "m-1", "csn": 1, "data": {"content": "make Login | Logout"}}


@contextmanager
def replica(folder: Path, url: str, *options: str, lease: int = LEASE, **env: str) -> Iterator[ServerProcess]:
    given = {"EDCHAT_DATABASE": url, "EDCHAT_TOKEN": TOKEN, "EDCHAT_LEASE": str(lease), **env}
    with server(folder, *options, **given) as running:
        yield running


@pytest.fixture
def database(postgres_server: Postgres) -> str:
    return postgres_server.database()


def log_of(running: ServerProcess) -> str:
    return (running.data_dir / "server.log").read_text(encoding="utf-8")


def pid_of(running: ServerProcess) -> int:
    assert running.process.pid is not None
    return running.process.pid


def port_of(running: ServerProcess) -> int:
    port = urlsplit(running.url).port
    assert port is not None
    return port


@pytest.mark.fault("F15", "a balancer that flips for each connection and cuts it in the middle of a stream")
def test_a_balancer_that_switches_all_the_time_loses_nothing(
    tmp_path: Path, postgres_server: Postgres, database: str, record_property: Any
) -> None:
    url = postgres_server.url(database)
    with ExitStack() as stack:
        both = [stack.enter_context(replica(tmp_path / name, url, "--pause", "0.02")) for name in ("a", "b")]
        balancer = stack.enter_context(Balancer([port_of(each) for each in both], [900, 1500, 2500, 20_000]))
        client = Client(replace(both[0], url=balancer.url))
        seen: set[str] = set()
        shown: list[oracle.Log] = []
        while len(oracle.endings(client.log)) < len(FOUR):
            with suppress(OSError, WebSocketException):
                client.open()
                seen.add(client.welcome["replica"])
                for frame in FOUR[client.welcome["accepted_csn"]:]:
                    client.send(frame)
                while len(oracle.endings(client.log)) < len(FOUR):
                    client.recv()
            client.close()
            shown.append(dict(client.log))
        assert len(seen) == 2, "only one server was ever reached"
        record_property("cases", balancer.connections)
        views = [oracle.check_session(each, shown=shown, states=["completed"] * 4) for each in both]
        assert views[0] == views[1] == oracle.fold(client.log)
        assert oracle.made(views[0]) == sorted(f"STORY-{n}" for n in range(1, 9))
        assert oracle.stories(both[0]) == sorted(f"Story {n}{letter}" for n in range(4) for letter in "ab")


@pytest.mark.fault("F15", "a balancer that sends each request to another server, seen by a Chat")
@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_a_chat_behind_a_balancer_needs_no_stickiness(
    tmp_path: Path, postgres_server: Postgres, database: str, websocket: bool
) -> None:
    url = postgres_server.url(database)
    with ExitStack() as stack:
        both = [stack.enter_context(replica(tmp_path / name, url)) for name in ("a", "b")]
        balancer = stack.enter_context(Balancer([port_of(each) for each in both], [None]))
        chat = stack.enter_context(
            Chat(balancer.url, token=TOKEN, session="s1", data_dir=tmp_path / "home", enable_websocket=websocket)
        )
        for n in range(3):
            assert len(chat.ask(f"make Story {n}", timeout=30).stories) == 1
        view = oracle.check_session(both[1], states=["completed"] * 3)
        assert oracle.made(view) == ["STORY-1", "STORY-2", "STORY-3"]


@pytest.mark.fault("F15", "kill -9 of the server that has the run, the others take over")
@pytest.mark.parametrize(
    "point", ["claimed", "effect_written", "effect_committed", "finish_written"]
)
def test_the_run_of_a_killed_server_is_taken_over(
    tmp_path: Path, postgres_server: Postgres, database: str, point: str
) -> None:
    url = postgres_server.url(database)
    with replica(tmp_path / "a", url, EDCHAT_FAIL_POINT=point) as first:
        client = Client(first).open()
        store = client.welcome["store"]
        client.send(TWO)
        assert first.wait() == KILLED, log_of(first)
        seen_before = oracle.read_to_the_cut(client)
    with replica(tmp_path / "b", url) as second:
        client.server = second
        client.open()
        assert client.welcome["store"] == store, "another replica is taken for another database"
        client.send(TWO)
        assert client.until("ack")["data"]["duplicate"] is True
        oracle.until_over(client)
        assert oracle.stories(second) == ["Login", "Logout"]
        view = oracle.check_session(second, shown=[seen_before], stayed=client)
        assert oracle.made(view) == ["STORY-1", "STORY-2"]
        assert len(oracle.texts(view)) == 2, view
        client.close()


@pytest.mark.fault("F15", "the server that has the run is frozen for longer than its lease, and wakes")
def test_a_server_that_wakes_after_its_run_was_taken_over_writes_nothing(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    url = postgres_server.url(database)
    with ExitStack() as stack:
        both = [stack.enter_context(replica(tmp_path / name, url, "--pause", "0.1")) for name in ("a", "b")]
        clients = [Client(each, client=f"c{n}").open() for n, each in enumerate(both)]
        by_name = {client.welcome["replica"]: n for n, client in enumerate(clients)}
        assert len(by_name) == 2
        clients[0].send(TWO)
        clients[0].until("token")
        [(owner,)] = postgres_server.execute("SELECT owner FROM runs", database=database)
        zombie, client = both[by_name[owner]], clients[1 - by_name[owner]]
        os.kill(pid_of(zombie), signal.SIGSTOP)
        try:
            oracle.until_over(client)
        finally:
            os.kill(pid_of(zombie), signal.SIGCONT)
        wait_until(lambda: "has another owner now" in log_of(zombie), what="the zombie sees that it is fenced")
        views = [oracle.check_session(each, stayed=client) for each in both]
        assert views[0] == views[1]
        assert oracle.stories(zombie) == ["Login", "Logout"]
        assert oracle.made(views[0]) == ["STORY-1", "STORY-2"]
        oracle.until_over(clients[by_name[owner]])
        for each in clients:
            each.close()


@pytest.mark.fault("F15", "a server is stopped in the middle of a run")
def test_a_stopped_server_hands_its_run_over_at_once(
    tmp_path: Path, postgres_server: Postgres, database: str
) -> None:
    url = postgres_server.url(database)
    told = ("--pause", "0.1", "--drain", "0.1")
    # a lease longer than the test: whoever waits for it fails
    with replica(tmp_path / "b", url, *told, lease=300) as other:
        with replica(tmp_path / "a", url, *told, lease=300) as first:
            client = Client(first).open()
            client.send(TWO)
            client.until("tool_execution", status="completed")
            os.kill(pid_of(first), signal.SIGTERM)
            seen_before = oracle.read_to_the_cut(client)
            assert first.wait() == 0
        client.server = other
        client.open()
        oracle.until_over(client)
        view = oracle.check_session(other, shown=[seen_before], stayed=client)
        assert oracle.made(view) == ["STORY-1", "STORY-2"]
        client.close()


@pytest.mark.fault("F22", "a stop that is said to another server than the one that has the run")
def test_a_run_is_stopped_through_another_server(tmp_path: Path, postgres_server: Postgres, database: str) -> None:
    url = postgres_server.url(database)
    with ExitStack() as stack:
        both = [stack.enter_context(replica(tmp_path / name, url, "--pause", "0.05")) for name in ("a", "b")]
        clients = [Client(each, client=f"c{n}").open() for n, each in enumerate(both)]
        clients[0].say("slow 1000")
        clients[0].until("token")
        [(owner,)] = postgres_server.execute("SELECT owner FROM runs", database=database)
        other = next(client for client in clients if client.welcome["replica"] != owner)
        other.csn += 1
        other.send({"type": "cancel", "id": "stop", "csn": other.csn, "data": {}})
        for client in clients:
            oracle.until_over(client)
            client.close()
        oracle.check_session(both[0], states=["cancelled"])


@pytest.mark.fault("F16", "PostgreSQL is away while a run goes on and a message is said")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
def test_a_database_that_goes_away_and_comes_back_loses_nothing(tmp_path: Path, how: signal.Signals) -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    away = float(os.environ.get("EDCHAT_TEST_OUTAGE", "2"))
    with ExitStack() as stack:
        pg = stack.enter_context(postgres())
        name = pg.database()
        url = pg.url(name)
        running = stack.enter_context(replica(tmp_path / "a", url, "--pause", "0.05"))
        chats = [
            stack.enter_context(Chat(running.url, token=TOKEN, session=name, data_dir=tmp_path / name,
                                     reconnect_interval=0.2))
            for name in ("s1", "s2")
        ]
        first = chats[0].send("make Login | Logout")
        wait_until(
            lambda: pg.execute("SELECT 1 FROM stories", database=name), what="the run has begun to act"
        )
        pg.stop(how)
        second = chats[1].send("make Search")
        with running.http(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            end = time.monotonic() + away
            while time.monotonic() < end:
                asked = {"message": "make Nothing", "session_id": "s3"}
                refused = http.post("/api/agent/process", json=asked)
                assert refused.status_code == 503, refused.text
                assert "edchat-pg" not in refused.text, "the database's address is told to everybody"
                time.sleep(0.2)
            assert http.get("/health").status_code == 503
        pg.start()
        for reply in (first, second):
            reply.result(timeout=60)
        assert oracle.stories(running) == ["Login", "Logout", "Search"], "a refused message was half taken"
        for session in ("s1", "s2"):
            oracle.check_session(running, session)
        with running.http() as http:
            wait_until(lambda: http.get("/health").status_code == 200, what="healthy again")


FUSE = """
    CREATE SEQUENCE IF NOT EXISTS fuse_{table};
    CREATE OR REPLACE FUNCTION burn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval(TG_ARGV[0]) = TG_ARGV[1]::bigint THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER burn AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION burn('fuse_{table}', '{nth}')"""
TABLES = ("clients", "inbox", "runs", "events", "checkpoints", "checkpoint_writes", "stories", "tool_calls")


@pytest.mark.fault("F16", "the connection to the database is cut inside each transaction of a run")
@pytest.mark.parametrize("nth", [1, 2])
def test_a_connection_that_is_cut_in_any_transaction_takes_nothing_along(
    tmp_path: Path, postgres_server: Postgres, database: str, nth: int, record_property: Any
) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(replica(tmp_path / "a", postgres_server.url(database)))
        for table in TABLES:
            # a sequence is not taken back with the transaction that it counts
            postgres_server.execute(FUSE.format(table=table, nth=nth), database=database)
        chat = stack.enter_context(
            Chat(running.url, token=TOKEN, session="s1", data_dir=tmp_path / "home", reconnect_interval=0.1)
        )
        chat.send("make Login | Logout").result(timeout=90)
        for table in TABLES:
            [(burnt,)] = postgres_server.execute(f"SELECT last_value FROM fuse_{table}", database=database)
            assert burnt >= nth, f"nothing was cut in {table}"
        record_property("cases", len(TABLES))
        assert oracle.stories(running) == ["Login", "Logout"]
        view = oracle.check_session(running)
        assert len(oracle.made(view)) == 2
