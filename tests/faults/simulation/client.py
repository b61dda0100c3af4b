"""The unmodified kernel side on a simulated host: a driver with its core, its outbox file and its carriers."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from edchat_widget._core.connection import TRANSITIONS
from edchat_widget._io.driver import Driver
from edchat_widget._io.transport import Endpoint, connect
from edchat_widget._io.wake import TICK
from edchat_widget.errors import EdChatError, OutboxFull
from edchat_widget.settings import Settings

from .loop import Host, SimLoop
from .network import Network
from .server import PORT

URL = f"http://127.0.0.1:{PORT}"
SESSION = "s1"
_MOVES = {(before.value, after.value) for (before, _), after in TRANSITIONS.items()}


class Broken(AssertionError):
    """An invariant does not hold."""


class _Event(msgspec.Struct):
    type: str
    seq: int | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Bundle(msgspec.Struct):
    epoch: str = ""
    frames: list[msgspec.Raw] = []


_event = msgspec.json.Decoder(_Event)
_bundle = msgspec.json.Decoder(_Bundle)


class ShadowLog:
    """What was ever shown: an event, once seen by anybody, is the same for ever."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], bytes] = {}
        self.tokens: set[tuple[str, int]] = set()  # which may be trimmed once their message is whole

    def note(self, epoch: str, raw: bytes) -> None:
        """Take in an event that a client was sent."""
        event = _event.decode(raw)
        seq = event.seq
        if seq is not None:
            if event.type == "token":
                self.tokens.add((epoch, seq))
            digest = hashlib.blake2b(raw, digest_size=12).digest()
            if self.seen.setdefault((epoch, seq), digest) != digest:
                raise Broken(f"I3: event {epoch}:{seq} was shown, and is another one now: {raw.decode()[:200]}")


class Tap:
    """A transport whose frames are noted as they come in."""

    def __init__(self, transport: Any, shadow: ShadowLog, fail: Callable[[str], None]) -> None:
        self._transport = transport
        self._shadow = shadow
        self._fail = fail
        self._epoch = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def receive(self) -> bytes | str:
        """Return the next frame."""
        raw = await self._transport.receive()
        try:
            self._note(raw.encode() if isinstance(raw, str) else raw)
        except Broken as exc:
            self._fail(str(exc))
        return raw  # type: ignore[no-any-return]

    def _note(self, raw: bytes) -> None:
        frame = _event.decode(raw)
        if frame.seq is not None:
            self._shadow.note(self._epoch, raw)
        elif frame.type == "welcome":
            self._epoch = _bundle.decode(frame.data).epoch
        elif frame.type in ("events", "snapshot"):
            bundle = _bundle.decode(frame.data)
            if bundle.epoch:
                self._epoch = bundle.epoch
            for inner in bundle.frames:
                self._shadow.note(self._epoch, bytes(inner))


@dataclass
class Said:
    """A message that a person gave to the chat, which took it."""

    id: str
    text: str
    titles: tuple[str, ...]
    client: str
    taken_back: bool = False


@dataclass
class SimClient:
    """A kernel, over its lives: what dies with it is its memory; its outbox file stays.

    `alter` is called with each new driver: a mutation puts other parts in.
    """

    loop: SimLoop
    network: Network
    name: str
    folder: Path
    settings: Settings
    shadow: ShadowLog
    fail: Callable[[str], None]
    rng: random.Random
    alter: Callable[[Driver], None] = lambda _: None
    limit: int | None = None
    said: dict[str, Said] = field(default_factory=dict)
    openings: list[float] = field(default_factory=list)
    pressed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host = Host(self.name)
        self.host.alive = False
        self.driver: Driver | None = None
        self._state: str | None = None

    # ------------------------------------------------------------------------------------------- its lives

    def start(self) -> None:
        """Start the kernel."""
        self.host = Host(self.name)
        self.driver = None
        self.pressed.append(self.loop.time())  # whoever starts a kernel asks for a connection
        self.loop.begin(self.host, self._main(), f"kernel-{self.name}")

    async def _main(self) -> None:
        driver = Driver(
            self.settings, SESSION, self._resolve, opener=self._open, jitter=self.rng.random, server=URL)
        self.alter(driver)
        if self.limit is not None:
            driver._client.outbox.limit = self.limit
        self._state = None
        driver.subscribe(lambda _: self._watch(driver))
        self.driver = driver
        driver.start()

    async def _resolve(self, *, renew: bool = False) -> Endpoint:
        return Endpoint(URL)

    async def _open(self, *args: Any, **options: Any) -> Any:
        self.openings.append(self.loop.time())
        return Tap(await connect(*args, **options), self.shadow, self.fail)

    def kill(self) -> None:
        """End the kernel at once."""
        if not self.host.alive:
            return
        self.loop.kill(self.host)
        self.network.host_died(self.host, silently=False)
        if self.driver is not None:
            # What the end of a process lets go of.
            self.driver._file._db.close()
            self.driver._file._lock.release()
        self.driver = None

    @property
    def running(self) -> Driver | None:
        """The driver, if the kernel lives."""
        return self.driver if self.host.alive else None

    # --------------------------------------------------------------------------------------- what people do

    def step(self, action: Callable[[Driver], None]) -> None:
        """Let the kernel do something, as a step of its own."""

        def act() -> None:
            driver = self.running
            if driver is not None and not driver.closed:
                with suppress(EdChatError):
                    action(driver)

        self.loop.on(self.host, act)

    def say(self, message_id: str, text: str, titles: tuple[str, ...]) -> None:
        """Type a message, and again once there is room for it."""

        def submit(driver: Driver) -> None:
            try:
                driver.submit(message_id, text)
            except OutboxFull:
                self.loop.call_later(5.0, lambda: self.say(message_id, text, titles))
                raise
            self.said.setdefault(message_id, Said(message_id, text, titles, self.name))

        self.step(submit)

    def offer_again(self, message_id: str) -> None:
        """Do what a browser does after a kernel's restart: give once more what is not confirmed."""
        said = self.said[message_id]

        def submit(driver: Driver) -> None:
            if not said.taken_back:
                driver.submit(message_id, said.text)

        self.step(submit)

    def take_back(self, message_id: str) -> None:
        """Stop the run of a message, or take the message back."""

        def cancel(driver: Driver) -> None:
            if message_id in self.said:
                self.said[message_id].taken_back = True
            driver.cancel_message(message_id)

        self.step(cancel)

    def switch_carrier(self, *, websocket: bool) -> None:
        """Switch the WebSocket off or on."""
        self.settings = replace(self.settings, enable_websocket=websocket)
        self.pressed.append(self.loop.time())
        self.step(lambda driver: driver.configure(self.settings))

    def wakes(self, when: float) -> None:
        """Be told that the clock that runs while a machine sleeps, which is one for all, has jumped: who notices
        it, a moment later, begins its waits anew."""
        self.pressed += (when, when + TICK)

    def reconnect(self) -> None:
        """Press Retry."""
        self.pressed.append(self.loop.time())
        self.step(lambda driver: driver.reconnect())

    def _watch(self, driver: Driver) -> None:
        state = driver.view.connection.state
        if self._state is not None and state != self._state:
            moves = _MOVES
            if (self._state, state) not in moves and not _by_way(self._state, state):
                self.fail(f"I6: {self.name} went from {self._state} to {state}")
        self._state = state


def _by_way(before: str, after: str) -> bool:
    # A patch may join several moves.
    middle = {b for a, b in _MOVES if a == before}
    return any((m, after) in _MOVES for m in middle)


async def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true, at most so many virtual seconds; return whether it is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not done():
        if loop.time() >= end:
            return False
        await asyncio.sleep(0.25)
    return True
