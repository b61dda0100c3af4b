"""F20: the configured server dies and comes back. Only what was never written moves to the server on this machine;
what was written stays in doubt and settles; nothing is lost, nothing is doubled. Real processes."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.processes import AgentServer
from tests.processes import wait_until as waited

from edchat_widget import Chat, ConnectError
from edchat_widget._io import forks, launcher

LOGIN, EXPORT, IMPORT = (f"Create a P1 story for {what}" for what in ("user login", "data export", "data import"))


def wait_until(condition: Callable[[], Any], what: str) -> None:
    waited(condition, seconds=60, what=what)  # another server may have to start


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The kernel's data directory, where the server on this machine lives, too."""
    directory = tmp_path / "kernel"
    yield directory
    launcher.stop(directory)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[AgentServer]:
    server = AgentServer(tmp_path / "primary")
    yield server
    server.stop()


def open_chat(primary: AgentServer, home: Path, **more: Any) -> Chat:
    options: dict[str, Any] = {"max_reconnect_attempts": 2, "reconnect_interval": 0.05, "failover": "ask"}
    return Chat(primary.url, session="s", data_dir=home, **(options | more))


def here(chat: Chat) -> bool:
    return "on this machine" in (chat.connection.server or "") and chat.connection.state == "connected"


def titles(chat: Chat) -> list[str]:
    return sorted(s.title for s in chat.stories())


def said(chat: Chat) -> list[tuple[str, str]]:
    return [(m.text, m.state) for m in chat.messages if m.role == "user"]


def kinds(chat: Chat) -> list[str]:
    return [m.role for m in chat.messages]


def offered(chat: Chat) -> str | None:
    offer = chat.connection.offer
    return offer.kind if offer else None


@pytest.mark.fault("F20", "dies before the first connection")
def test_a_server_that_was_never_there_is_replaced_without_asking(primary: AgentServer, home: Path) -> None:
    with open_chat(primary, home, max_reconnect_attempts=10) as chat:
        assert len(chat.ask(LOGIN, timeout=60).stories) == 1
        assert here(chat)
        assert f"{primary.url} cannot be reached" in (chat.connection.notice or "")
        assert said(chat) == [(LOGIN, "answered")]
        assert len(chat.stories()) == 1


@pytest.mark.fault("F20", "dies with messages queued")
def test_a_server_that_dies_is_replaced_only_when_the_reader_wants_it(primary: AgentServer, home: Path) -> None:
    primary.start()
    with open_chat(primary, home) as chat:
        chat.ask(LOGIN, timeout=60)
        primary.kill()
        wait_until(lambda: offered(chat) == "failover", what="the offer")
        assert "Go on with the server on this machine?" in (chat.connection.offer.text if chat.connection.offer else "")
        with pytest.raises(ConnectError, match=r"chat\.failover\(\)"):
            chat.ask("list my stories", timeout=30)
        waiting = chat.send(EXPORT)
        assert not launcher.find(home), "nobody asked for it yet"
        chat.failover()
        assert len(waiting.result(60).stories) == 1
        assert said(chat)[-1] == (EXPORT, "answered")
        assert kinds(chat)[:3] == ["user", "assistant", "user"]  # the question that was taken back
        assert kinds(chat)[3:] == ["note", "user", "assistant"]
        assert len(titles(chat)) == 1  # the backlog of this machine


def test_the_agent_on_this_machine_knows_what_was_said_before(primary: AgentServer, home: Path) -> None:
    primary.start()
    with open_chat(primary, home) as chat:
        chat.ask(LOGIN, timeout=60)
        primary.kill()
        wait_until(lambda: offered(chat) == "failover", what="the offer")
        chat.failover()
        chat.ask(EXPORT, timeout=60)
        fork = forks.of(home, primary.url, "s")[-1]
        assert fork.history[0].content == LOGIN
        assert fork.store
        assert fork.seq > 0


@pytest.mark.fault("F20", "dies with a message written that it took, comes back")
def test_what_was_written_is_in_doubt_and_settles_as_accepted(primary: AgentServer, home: Path) -> None:
    primary.start()
    with open_chat(primary, home) as chat:
        chat.ask(LOGIN, timeout=60)
        primary.stop()
        primary.env["EDCHAT_FAIL_POINT"] = "accept_committed"
        primary.start()
        chat.reconnect()
        wait_until(lambda: chat.connection.state == "connected", what="connected again")
        chat.send(EXPORT)  # committed by the server, which dies before it can say so
        assert primary.process is not None
        primary.process.wait(20)
        chat.send(IMPORT)
        wait_until(lambda: offered(chat) == "failover", what="the offer")
        chat.failover()
        wait_until(lambda: (IMPORT, "answered") in said(chat), what="answered here")
        assert (EXPORT, "in_doubt") in said(chat)
        assert kinds(chat) == ["user", "assistant", "user", "note", "user", "assistant"]
        doubtful = next(m for m in chat.messages if m.state == "in_doubt")
        assert "It settles when that server answers again." in (doubtful.detail or "")
        del primary.env["EDCHAT_FAIL_POINT"]
        primary.start()
        chat.reconnect()  # by itself it looks once a minute
        wait_until(lambda: (EXPORT, "answered") in said(chat), what="settled, with its answer")
        assert offered(chat) == "failback"
        assert here(chat), "nobody wanted to return yet"
        chat.failback()
        wait_until(lambda: chat.connection.server == primary.url, what="back")
        assert len(primary.stories()) == 2
        assert [t for t, _ in said(chat)] == [LOGIN, EXPORT]
        reminder = next(m for m in chat.messages if m.role == "note")
        assert "1 message went to the server on this machine" in reminder.text
        own, local = chat.sessions
        assert own.current
        fork = forks.of(home, primary.url, "s")[0]
        assert local.forked_from == {"store": fork.store, "session": "s", "seq": fork.seq}
        with local.open() as meanwhile:
            assert [m.text for m in meanwhile.messages if m.role == "user"] == [IMPORT]
            assert len(meanwhile.stories()) == 1


@pytest.mark.fault("F20", "dies with a message written that it did not take, comes back")
def test_what_was_written_and_never_arrived_is_offered_again_and_not_sent_by_itself(
    primary: AgentServer, home: Path
) -> None:
    primary.start()
    with open_chat(primary, home) as chat:
        chat.ask(LOGIN, timeout=60)
        primary.stop()
        primary.env["EDCHAT_FAIL_POINT"] = "accept_before"
        primary.start()
        chat.reconnect()
        wait_until(lambda: chat.connection.state == "connected", what="connected again")
        chat.send(EXPORT)
        assert primary.process is not None
        primary.process.wait(20)
        wait_until(lambda: offered(chat) == "failover", what="the offer")
        chat.failover()
        wait_until(lambda: here(chat), what="the server on this machine")
        assert (EXPORT, "in_doubt") in said(chat)
        chat.ask("list my stories", timeout=60)
        del primary.env["EDCHAT_FAIL_POINT"]
        primary.start()
        chat.reconnect()
        wait_until(lambda: (EXPORT, "failed") in said(chat), what="settled")
        lost = next(m for m in chat.messages if m.state == "failed")
        assert lost.detail == f"{primary.url} does not have this message."
        assert len(primary.stories()) == 1
        chat._do(lambda: chat._driver.retry(lost.id, "again"))
        wait_until(lambda: (EXPORT, "answered") in said(chat), what="asked again, here")
        assert [t for t, _ in said(chat)].count(EXPORT) == 1
        assert len(primary.stories()) == 1


@pytest.mark.fault("F20", "dies while it answers, comes back")
def test_an_answer_that_was_cut_by_the_servers_end_is_completed_when_it_is_back(
    tmp_path: Path, home: Path
) -> None:
    with AgentServer(tmp_path / "primary", pace=8) as primary, open_chat(primary, home, failover="auto") as chat:
        running = chat.send(LOGIN)
        wait_until(lambda: any(m.state == "streaming" and m.text for m in chat.messages), what="half an answer")
        primary.kill()
        wait_until(lambda: here(chat), what="the server on this machine took over by itself")
        chat.ask(EXPORT, timeout=60)
        assert len(chat.stories()) == 1, "the run that was cut is not run here"
        primary.start()
        chat.reconnect()
        assert len(running.result(60).stories) == 1
        assert len(primary.stories()) == 1
        assert offered(chat) == "failback"
        assert kinds(chat) == ["user", "assistant", "note", "user", "assistant"]


@pytest.mark.fault("F20", "comes back before anything was said")
def test_a_server_that_is_back_before_anything_was_said_is_returned_to_without_asking(
    primary: AgentServer, home: Path
) -> None:
    with open_chat(primary, home) as chat:
        wait_until(lambda: here(chat), what="the server on this machine")
        primary.start()
        chat.reconnect()
        wait_until(lambda: chat.connection.server == primary.url, what="back")
        assert chat.ask(LOGIN, timeout=60).stories
        assert len(primary.stories()) == 1
        assert "note" not in kinds(chat)


def test_who_wants_no_failover_gets_none(primary: AgentServer, home: Path) -> None:
    with open_chat(primary, home, failover="never") as chat:
        chat.send(LOGIN)
        wait_until(lambda: chat.connection.state == "disconnected", what="given up")
        assert chat.connection.offer is None
        primary.start()
        chat.reconnect()
        wait_until(lambda: said(chat) == [(LOGIN, "answered")], what="answered by its own server")
        assert launcher.find(home) is None


KERNEL = textwrap.dedent("""
    import os, signal, sys, time
    from edchat_widget import Chat
    from edchat_widget._core import doubts
    from edchat_widget._io import driver
    url, data_dir, point = sys.argv[1:]

    def die(*_args):
        os.kill(os.getpid(), signal.SIGKILL)

    if point == "fork_stored":
        driver.Driver.store_all = die
    elif point == "rows_stored":
        doubts.Doubts.leave = die
    elif point == "rows_left":
        driver.Driver.take_over = die
    elif point == "rows_taken":
        driver.Driver.start = (lambda old: lambda self: die() if "~" in self.view.session else old(self))(
            driver.Driver.start)
    chat = Chat(url, session="s", data_dir=data_dir, max_reconnect_attempts=2, reconnect_interval=0.05, failover="ask")
    for text in sys.stdin.read().splitlines():
        chat.send(text)
    chat.failover()
    time.sleep(60)
""")


@pytest.mark.fault("F20", "the kernel is killed between the steps of the change")
@pytest.mark.parametrize("point", ["fork_stored", "rows_stored", "rows_left", "rows_taken"])
def test_a_kernel_that_dies_while_it_changes_servers_loses_and_doubles_nothing(
    primary: AgentServer, home: Path, point: str
) -> None:
    dead = primary.url  # never started: all is queued
    died = subprocess.run(
        [sys.executable, "-c", KERNEL, dead, str(home), point], input=f"{LOGIN}\n{EXPORT}\n{IMPORT}\n", text=True,
        capture_output=True, timeout=90, check=False, env={**os.environ, "EDCHAT_FAILOVER": "ask"},
    )
    assert died.returncode == -9, died.stderr
    with open_chat(primary, home) as chat:
        wait_until(lambda: [s for _, s in said(chat)] == ["answered"] * 3, what="all answered here")
        assert [t for t, _ in said(chat)] == [LOGIN, EXPORT, IMPORT]
        assert len(chat.stories()) == 3
        primary.start()
        chat.reconnect()
        wait_until(lambda: offered(chat) == "failback", what="the way back")
        chat.failback()
        wait_until(lambda: chat.connection.server == primary.url, what="back")
        assert primary.stories() == []


@pytest.mark.fault("F20", "the kernel ends after the change")
def test_the_next_kernel_goes_on_with_the_server_on_this_machine(primary: AgentServer, home: Path) -> None:
    with open_chat(primary, home) as chat:
        chat.ask(LOGIN, timeout=60)
    primary.start()
    with open_chat(primary, home) as chat:
        wait_until(lambda: offered(chat) == "failback", what="the way back")
        wait_until(lambda: here(chat), what="the server on this machine")
        assert said(chat) == [(LOGIN, "answered")]
        chat.ask("list my stories", timeout=60)
        chat.failback()
        wait_until(lambda: chat.connection.server == primary.url, what="back")
        assert kinds(chat) == ["note"]
        chat.ask(EXPORT, timeout=60)
    with open_chat(primary, home) as chat:
        assert kinds(chat) == ["note", "user", "assistant"]
        assert chat.connection.server == primary.url


def test_a_new_chat_begun_without_the_server_stays_on_this_machine(primary: AgentServer, home: Path) -> None:
    with open_chat(primary, home) as chat:
        chat.ask(LOGIN, timeout=60)
        chat.clear()
        assert kinds(chat) == ["note"]
        assert here(chat) or chat.connection.state == "connecting"
        chat.ask(EXPORT, timeout=60)
        assert said(chat) == [(EXPORT, "answered")]


@pytest.mark.fault("F20", "the kernel ends with a message in doubt")
def test_doubt_outlives_the_kernel_and_settles_in_the_next(primary: AgentServer, home: Path) -> None:
    primary.env["EDCHAT_FAIL_POINT"] = "accept_committed"
    primary.start()
    with open_chat(primary, home) as chat:
        wait_until(lambda: chat.connection.state == "connected", what="connected")
        chat.send(EXPORT)
        assert primary.process is not None
        primary.process.wait(20)
        wait_until(lambda: offered(chat) == "failover", what="the offer")
        chat.failover()
        chat.ask(IMPORT, timeout=60)
    del primary.env["EDCHAT_FAIL_POINT"]
    with open_chat(primary, home) as chat:
        wait_until(lambda: said(chat) == [(EXPORT, "in_doubt"), (IMPORT, "answered")], what="all is shown again")
        primary.start()
        chat.reconnect()
        wait_until(lambda: (EXPORT, "answered") in said(chat), what="settled")
        assert len(primary.stories()) == 1
        assert len(chat.stories()) == 1
