"""Chat against the real bundled server, as a user's script has it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edchat_widget import Chat, Timeout, doctor, launch

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


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_stops_the_run_and_is_raised(home: Path) -> None:
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
