"""A process that stood still, and a token that was refused: what the shells do about them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.kernel.scripted import ScriptedServer
from tests.unit.kernel.test_shells import Wire

from edchat_protocol.frames import HelloData
from edchat_widget import Settings
from edchat_widget._io import wake
from edchat_widget._io.conversation import Conversation
from edchat_widget._io.driver import Driver
from edchat_widget._io.switchboard import Switchboard
from edchat_widget._io.transport import Endpoint, refusal
from edchat_widget.view import View


def test_only_time_that_nobody_saw_is_a_sleep() -> None:
    async def main() -> list[int]:
        woke: list[int] = []
        jumps = iter([0, 0.1, 0, 5.5, 10, 17, 20, 9000])
        at = 0.0

        def now() -> float:
            nonlocal at
            at += next(jumps)
            return at

        with pytest.raises(RuntimeError, match="StopIteration"):
            await wake.watch(lambda: woke.append(int(at)), now=now, tick=0.001)
        return woke

    assert asyncio.run(main()) == [5, 32, 9052]


STOOD_STILL = """
import asyncio
from edchat_widget._io import wake

async def main():
    woke = asyncio.Event()
    task = asyncio.create_task(wake.watch(woke.set, tick=0.2))
    await asyncio.sleep(0)  # it has looked at the clock
    print("ready", flush=True)
    await woke.wait()
    print("woke", flush=True)
    task.cancel()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
def test_a_stopped_process_knows_that_it_was_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", STOOD_STILL], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "ready\n"
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(wake.JUMP + 1)
            os.kill(child.pid, signal.SIGCONT)
            assert child.stdout.readline() == "woke\n"
        finally:
            child.kill()


class Door:
    """Lets in whoever has the token of the day."""

    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.token = "today"
        self.shown: list[str | None] = []

    async def __call__(self, endpoint: Endpoint, carrier: str, hello: HelloData) -> Wire:
        self.shown.append(endpoint.token)
        if endpoint.token != self.token:
            raise refusal(401, None)
        return Wire(self.server, hello.client)


Visit = Callable[[Conversation, Door], Awaitable[None]]


def visit(tmp_path: Path, work: Visit, **given: Any) -> Door:
    async def main() -> Door:
        door = Door()
        settings = Settings.load(url="http://h", data_dir=tmp_path, reconnect_interval=0.01, **given)
        conversation = Conversation(settings, None, "s1", door)
        conversation.driver.start()
        try:
            async with asyncio.timeout(20):
                await work(conversation, door)
        finally:
            await conversation.driver.close()
        return door

    return asyncio.run(main())


def home_of(conversation: Conversation) -> Driver:
    assert isinstance(conversation.driver, Switchboard)
    return conversation.driver.home


def is_in(view: View) -> bool:
    return view.connection.state == "connected"


def is_out(view: View) -> bool:
    return view.connection.state == "disconnected"


def test_a_token_that_was_renewed_in_the_environment_is_found_without_anybody_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDCHAT_TOKEN", "yesterday")

    async def work(conversation: Conversation, door: Door) -> None:
        monkeypatch.setenv("EDCHAT_TOKEN", "today")
        await conversation.driver.until(is_in)

    assert visit(tmp_path, work).shown == ["yesterday", "today"]


def test_the_same_token_is_not_offered_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDCHAT_TOKEN", "yesterday")

    async def work(conversation: Conversation, door: Door) -> None:
        view = await conversation.driver.until(is_out)
        assert view.connection.reason == "The server wants a valid token."
        await asyncio.sleep(0.1)

    assert visit(tmp_path, work).shown == ["yesterday"]


def test_a_token_that_was_given_for_this_server_is_never_replaced_by_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDCHAT_TOKEN", "today")

    async def work(conversation: Conversation, door: Door) -> None:
        await conversation.driver.until(is_out)

    assert visit(tmp_path, work, token="mine").shown == ["mine"]


def test_a_fresh_token_is_used_before_the_old_one_expires_and_nothing_of_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDCHAT_TOKEN", "today")

    async def work(conversation: Conversation, door: Door) -> None:
        driver, states = home_of(conversation), list[str]()
        await driver.until(is_in)
        driver.listen(lambda event: states.append(event.connection.state) if event.connection else None)
        monkeypatch.setenv("EDCHAT_TOKEN", "tomorrow")
        door.token = "tomorrow"
        driver.heard(1, b'{"type":"status","data":{"status":"auth_expiring"}}')
        while len(door.shown) < 2 or driver._client._conn != 2:
            await asyncio.sleep(0.01)
        driver.submit("m1", "one")
        await driver.until(lambda v: len(v.messages) == 2 and v.messages[1].state == "complete")
        assert set(states) <= {"connected"}
        assert door.server.contents == ["one"]

    assert visit(tmp_path, work).shown == ["today", "tomorrow"]


def test_a_warning_without_a_fresh_token_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDCHAT_TOKEN", "today")

    async def work(conversation: Conversation, door: Door) -> None:
        driver = home_of(conversation)
        await driver.until(is_in)
        driver.heard(1, b'{"type":"status","data":{"status":"auth_expiring"}}')
        await asyncio.sleep(0.1)
        driver.submit("m1", "one")
        await driver.until(lambda v: len(v.messages) == 2 and v.messages[1].state == "complete")
        assert driver.view.connection.state == "connected"

    assert visit(tmp_path, work).shown == ["today"]
