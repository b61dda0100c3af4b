"""Chat against the real bundled server, as a user's script has it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.processes import wait_until

from edchat_widget import Chat, Refused, Timeout, doctor, launch
from edchat_widget._io import launcher

ASK = "Create a P1 story for user authentication in the Security epic"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    launch(data_dir=tmp_path).stop()


def line(story: Any) -> tuple[str, str, str, str]:
    return (story.id, story.priority, story.title, story.epic)


def test_a_sentence_becomes_a_story_and_the_next_kernel_finds_it(home: Path) -> None:
    with Chat(data_dir=home, session="s") as chat:
        reply = chat.ask(ASK, timeout=60)
        assert [line(s) for s in reply.stories] == [("STORY-1", "P1", "User authentication", "Security")]
        assert [c.state for c in reply.tool_calls] == ["output-available"]
        assert [s.id for s in chat.stories(priority="P1", epic="Security", limit=5)] == ["STORY-1"]
        before = chat.messages
        assert doctor(data_dir=home).ok
    code = (
        "import sys; from edchat_widget import Chat\n"
        "with Chat(data_dir=sys.argv[1], session='s') as chat:\n"
        "    print(chat.ask('list my stories', timeout=60))\n"
    )
    argv = [sys.executable, "-c", code, str(home)]
    again = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "STORY-1" in again.stdout
    assert again.stderr == ""
    with Chat(data_dir=home, session="s", enable_websocket=False) as chat:
        chat.ask("list my stories", timeout=60)
        assert chat.connection.state == "fallback"
        assert chat.messages[:2] == before
        assert [m.role for m in chat.messages] == ["user", "assistant"] * 3


def test_a_server_that_is_killed_while_it_answers_comes_back_and_doubles_nothing(home: Path) -> None:
    with Chat(data_dir=home, session="s", reconnect_interval=0.05) as chat:
        chat.ask(ASK, timeout=60)
        pid = launch(data_dir=home).pid
        for event in chat.stream("Create a P0 story for password reset"):
            if event.type == "token" and pid:
                os.kill(pid, signal.SIGKILL)
                pid = 0
        assert sorted(s.id for s in chat.stories()) == ["STORY-1", "STORY-2"]
        assert [m.state for m in chat.messages] == ["answered", "complete"] * 2


def test_a_stop_and_a_timeout_end_the_waiting_and_only_the_stop_ends_the_run(home: Path) -> None:
    with Chat(data_dir=home, session="s") as chat:
        chat.ask("list my stories", timeout=60)
        with pytest.raises(Timeout):
            chat.ask(ASK, timeout=0.001)
        run = chat.send("Create a P2 story for export")
        run.cancel()
        assert run.result(timeout=60).state in ("incomplete", "complete")
        chat.ask("list my stories", timeout=60)
        assert chat.messages[2].state == "answered"
        assert any(s.title == "User authentication" for s in chat.stories())


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl+C as Python has it: a process that runs tests beside others ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_stops_the_run_and_is_raised(home: Path, interruptible: None) -> None:
    with Chat(data_dir=home, session="s") as chat:
        chat.ask("list my stories", timeout=60)

        def interrupt(_token: str) -> None:
            threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            stop()

        stop = chat.on("token", interrupt)
        with pytest.raises(KeyboardInterrupt):
            chat.ask(ASK, timeout=60)
        deadline = time.monotonic() + 30
        while chat.messages[-1].state == "streaming" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert chat.messages[-1].state == "incomplete"


def test_another_model_is_taken_by_the_next_chat_of_this_kernel_and_kept_by_all(home: Path) -> None:
    with Chat(data_dir=home, session="s", reconnect_interval=0.05) as first:
        first.ask(ASK, timeout=60)
        before = launch(data_dir=home).pid
        run = first.send("Create a P0 story for password reset")
        wait_until(lambda: run.run_id, what="the run is taken")
        with Chat(data_dir=home, session="s", model="ollama:not-there", reconnect_interval=0.05) as second:
            wait_until(lambda: launch(data_dir=home).pid != before, what="another server")
            assert second.settings.model == "ollama:not-there"
            wait_until(lambda: second.connection.state == "connected", what="the new server is joined")
            assert [m.role for m in second.messages][:2] == ["user", "assistant"]
        after = launch(data_dir=home).pid
        with Chat(data_dir=home, session="t") as third:
            assert third.messages == ()
            assert launch(data_dir=home).pid == after
        # Back to a model that answers: the run that was cut off goes on, and its story is made once.
        launch(data_dir=home).stop()
        first._conversation.settings = replace(first.settings, model=None)
        run.result(timeout=60)
        titles = [s.title for s in first.stories()]
        assert sorted(titles) == ["Password reset", "User authentication"]


def test_right_after_it_is_made_a_chat_knows_the_conversation_so_far(home: Path) -> None:
    with Chat(data_dir=home, session="s") as chat:
        chat.ask(ASK, timeout=60)
        before = chat.messages
        chat.widget.close()  # its libraries are loaded now, which would give the server time
    with Chat(data_dir=home, session="s") as chat:
        bundle, _ = chat._repr_mimebundle_()
        assert all("STORY-1" in bundle[k] for k in ("text/html", "text/markdown", "text/plain"))
    with Chat(data_dir=home, session="s") as chat:
        assert chat.messages == before


def test_a_wrong_token_is_refused_once_and_the_right_one_sends_what_waited(home: Path) -> None:
    launch(data_dir=home)
    record = launcher.find(home)
    assert record is not None
    with Chat(record.url, token="wrong", data_dir=home, session="s") as chat:
        with pytest.raises(Refused, match=r"valid token\. The message was not sent\. Set EDCHAT_TOKEN"):
            chat.ask("list my stories", timeout=60)
        with pytest.raises(Refused, match=r"valid token\. Set EDCHAT_TOKEN"):
            chat.stories()
        waiting = chat.send("list my stories")
        with pytest.raises(Refused, match=r"valid token\. The message is kept"):
            waiting.result(timeout=60)
        assert chat.connection.state == "disconnected"
        assert chat.metrics.connections == 0
        with Chat(record.url, token=record.token, data_dir=home, session="s") as right:
            right.ask("help", timeout=60)
            states = [m.state for m in right.messages if m.role == "user"]
            assert sorted(states) == ["answered", "answered", "failed"]
        report = doctor(record.url, token="wrong", data_dir=home)
        assert "FAIL token: The server wants a valid token; the one that is set is not." in repr(report)
        report = doctor(record.url, token=record.token, data_dir=home)
        assert "ok   token: the token is accepted" in repr(report)
        assert "ok   WebSocket: opens in" in repr(report)
        assert "ok   event stream: its first event comes at once" in repr(report)
        assert "panel: installed" in repr(report)


LEAVES = {
    "connected": "chat.ask('list my stories', timeout=60)",
    "at once": "",
    "while it answers": "next(chat.stream('list my stories'))",
    "disconnected": "launch(data_dir=sys.argv[1]).stop(); chat.send('x')",
}


@pytest.mark.parametrize("doing", LEAVES.values(), ids=LEAVES.keys())
def test_a_script_that_ends_without_closing_ends_quietly(home: Path, doing: str) -> None:
    code = (
        "import sys; from edchat_widget import Chat, launch\n"
        f"chat = Chat(data_dir=sys.argv[1], session='s')\n{doing}\n"
    )
    # Not `-X dev`, with which asyncio complains of a slow machine, too.
    argv = [sys.executable, "-W", "default", "-c", code, str(home)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_can_have_a_chat_of_its_own_and_does_not_disturb_the_parents(home: Path) -> None:
    code = (
        "import os, sys; from edchat_widget import Chat, PortalClosed\n"
        "chat = Chat(data_dir=sys.argv[1], session='s')\n"
        "chat.ask('list my stories', timeout=60)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try: chat.ask('never')\n"
        "    except PortalClosed as exc: print(exc, flush=True)\n"
        "    own = Chat(data_dir=sys.argv[1], session='s')\n"
        "    print(own.ask('list my stories', timeout=60).state, flush=True)\n"
        "    sys.exit()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "chat.ask('list my stories', timeout=60)\n"
        "print(chat.connection.state, chat.metrics.connections, len(chat.messages))\n"
    )
    argv = [sys.executable, "-W", "ignore", "-c", code, str(home)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=100)
    lines = done.stdout.splitlines()
    assert "forked" in lines[0]
    assert lines[1:] == ["complete", "connected 1 6"]
    assert done.stderr == ""
