"""What becomes of a message whose asker gets no answer: an error says it, and nothing goes out from nowhere."""

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.processes import wait_until

from edchat_widget import Chat, ConnectError, EdChatError, MessageError, Timeout
from edchat_widget._io.outbox_file import open_outbox

KEPT = "The message is kept and goes out when the server is back; chat.stop() takes it back."


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s", max_reconnect_attempts=1,
              reconnect_interval=0.01) as talk:
        yield talk


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Chat]:
    with Chat("http://127.0.0.1:9", data_dir=tmp_path, session="s", reconnect_interval=30) as talk:
        yield talk


async def drained(chat: Chat) -> list[Any]:
    return [event async for event in chat.astream("x")]


ASKS: dict[str, Callable[[Chat], Any]] = {
    "ask": lambda chat: chat.ask("x"),
    "aask": lambda chat: asyncio.run(_awaited(chat)),
    "stream": lambda chat: list(chat.stream("x")),
    "astream": lambda chat: asyncio.run(drained(chat)),
}


async def _awaited(chat: Chat) -> Any:
    return await chat.aask("x")


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_a_question_that_reached_no_server_is_taken_back(chat: Chat, ask: Callable[[Chat], Any]) -> None:
    for _ in range(2):
        with pytest.raises(ConnectError, match=r"nothing answers there\. The message was not sent\. Check") as caught:
            ask(chat)
    assert "kept" not in str(caught.value)
    assert chat.metrics.queued == 0
    assert [m.state for m in chat.messages] == ["failed", "failed"]
    assert "Not sent. No connection" in (chat.messages[0].detail or "")


@pytest.mark.parametrize("ask", [lambda c: c.ask("x", timeout=0.05), lambda c: asyncio.run(c.aask("x", timeout=0.05))])
def test_a_question_that_timed_out_unsent_is_taken_back(patient: Chat, ask: Callable[[Chat], Any]) -> None:
    with pytest.raises(Timeout, match=r"within 0.05 s\. The message was not sent\.$"):
        ask(patient)
    assert patient.metrics.queued == 0


def test_what_was_sent_explicitly_waits_and_the_error_says_so(chat: Chat) -> None:
    run = chat.send("x")
    with pytest.raises(ConnectError) as caught:
        run.result()
    assert KEPT in str(caught.value)
    assert chat.metrics.queued == 1
    with pytest.raises(ConnectError):  # what waits is not touched by a question's failure
        chat.ask("y")
    assert [m.state for m in chat.messages] == ["queued", "failed"]
    chat.stop()
    with pytest.raises(MessageError, match="Stopped before it was sent"):
        run.result()


def test_a_chat_that_is_closed_leaves_no_question_behind(patient: Chat, tmp_path: Path) -> None:
    errors: list[EdChatError] = []

    def ask() -> None:
        try:
            patient.ask("x")
        except EdChatError as exc:
            errors.append(exc)

    asker = threading.Thread(target=ask)
    asker.start()
    wait_until(lambda: patient.metrics.queued, what="the question waits")
    patient.close()
    asker.join(10)
    assert "Not sent" in str(errors[0])
    name = next((tmp_path / "outbox").glob("*.db")).stem
    file, outbox = open_outbox(tmp_path / "outbox", name, lambda: "client")
    assert outbox.rows == ()
    file.close()


def test_an_error_shows_the_callers_line_and_not_our_threads(chat: Chat) -> None:
    with pytest.raises(ConnectError) as caught:
        chat.ask("x")
    shown = "".join(traceback.format_exception(caught.value))
    assert "The above exception" not in shown
    assert "During handling" not in shown
    assert "concurrent" not in shown
    assert "driver.py" not in shown
