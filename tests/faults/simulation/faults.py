"""What can go wrong. Each fault is counted only if it found something to break."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edchat_server.store import backup

from .server import PORT

if TYPE_CHECKING:
    from edchat_widget._io.driver import Driver

    from .scenario import Case
    from .server import SimServer


@dataclass(frozen=True)
class Fault:
    """A name, how often it is chosen, and what it does."""

    name: str
    weight: float
    act: Callable[[Case], None]


def _cut(case: Case) -> None:
    """F1: a connection ends between two packets."""
    line = case.line()
    if line is not None:
        how = case.how()
        line.cut(how)
        case.did("cut", f"{line.client.name} {how}")


def _cut_within(case: Case) -> None:
    """F2: a connection ends in the middle of what is sent next."""
    line = case.line()
    if line is not None:
        how, way = case.how(), case.rng.choice(("up", "down"))
        count = int(2 ** (case.rng.random() * 12))
        getattr(line, way).budget = (count, how)
        case.did("cut_within", f"{line.client.name} {way} after {count} bytes {how}")


def _deaf(case: Case) -> None:
    """F3: one direction of a connection swallows everything, and nobody is told."""
    line = case.line()
    if line is not None:
        way = case.rng.choice(("up", "down"))
        getattr(line, way).drop()
        case.did("deaf", f"{line.client.name} {way}")


def _part(case: Case) -> None:
    """A client is cut off for a while; what was sent arrives late."""
    client = case.rng.choice(case.clients)
    if client.name in case.network.parted or not client.host.alive:
        return
    seconds = case.rng.choice((0.5, 3.0, 12.0, 40.0)) * case.rng.random()
    case.network.part(client.name)
    case.soon(seconds, lambda: case.network.heal(client.name))
    case.did("part", f"{client.name} for {seconds:.1f} s")


def _kill_server(case: Case) -> None:
    """F4: the server's process ends at once."""
    server = case.live_server()
    if server is not None:
        silently = case.rng.random() < 0.3
        server.kill(silently=silently)
        _restart_soon(case)
        case.did("kill_server", "and its machine" if silently else "")


def _doom_server(case: Case) -> None:
    """F4: the server's process ends in front of one of its next steps, wherever that is; half the time, of those
    in which a run is at work."""
    server = case.live_server()
    if server is None or server.host.doom is not None or server.on_commit:
        return

    def die() -> None:
        server.kill()
        _restart_soon(case)

    if case.rng.random() < 0.5:
        steps = case.rng.randrange(1, 600)
        server.host.die_after(steps, die)
        case.did("doom_server", f"after {steps} steps")
        return
    commits, steps = case.rng.randrange(1, 30), case.rng.randrange(1, 40)
    server.when_busy(commits, lambda: server.host.die_after(steps, die))
    case.did("doom_server", f"{steps} steps behind {commits} commits")


def _restart_soon(case: Case) -> None:
    server = case.server

    def start() -> None:
        if case.server is server:
            case.start_server()

    case.soon(0.05 + case.rng.expovariate(0.8), start)


def _drain(case: Case) -> None:
    """The server is told to end, and another one starts."""
    server = case.live_server()
    if server is None or server.host.stalled_until > case.loop.time():
        return
    server.terminate()
    case.soon(case.rng.choice((0.5, 6.0, 14.0)), lambda: _after_drain(case, server))
    case.did("drain")


def _after_drain(case: Case, server: object) -> None:
    if case.server is server and case.server is not None:
        case.server.kill()  # nothing is left of it, or its patience has ended
        case.start_server()


def _stall(case: Case) -> None:
    """F10: the server's process is suspended, and goes on."""
    server = case.live_server()
    if server is not None and server.host.stalled_until <= case.loop.time():
        seconds = case.rng.choice((1.0, 8.0, 30.0)) * case.rng.random()
        server.host.stalled_until = case.loop.time() + seconds
        case.did("stall", f"for {seconds:.1f} s")


def _zombie(case: Case) -> None:
    """F15: the server's process is suspended, taken for dead and replaced; then it wakes up."""
    server = case.live_server()
    if server is None or len(case.zombies) >= 2 or server.on_commit or case.restoring:
        return
    commits = case.rng.randrange(1, 30)
    server.when_busy(commits, lambda: _replace(case, server))
    case.did("zombie", f"after {commits} commits")


def _replace(case: Case, server: SimServer) -> None:
    # Nobody puts a backup back while a server that is only suspended has the database open.
    if case.live_server() is not server or case.restoring:
        return
    seconds = 0.2 + 5.0 * case.rng.random()
    server.host.stalled_until = case.loop.time() + seconds
    case.network.listeners.pop(PORT, None)
    for line in case.network.lines_of():
        if line.server is server.host:
            line.cut("rst")
    server.give_up_lock()
    case.zombies.append(server)
    case.start_server()


def _kill_client(case: Case) -> None:
    """F6: a kernel ends at once, and its notebook starts another one."""
    client = case.rng.choice(case.clients)
    if client.running is None:
        return
    steps = case.rng.randrange(1, 200)

    def die() -> None:
        client.kill()
        case.soon(0.1 + case.rng.expovariate(0.5), again)

    def again() -> None:
        if not client.host.alive:
            client.start()
            if case.rng.random() < 0.7:
                case.soon(case.rng.random() * 2, offer)

    def offer() -> None:
        for message_id in list(client.said)[-3:]:
            client.offer_again(message_id)

    client.host.die_after(steps, die)
    case.did("kill_client", f"{client.name} after {steps} steps")


def _slow_reader(case: Case) -> None:
    """F8: what comes down trickles."""
    line = case.line()
    if line is not None:
        line.down.rate = case.rng.choice((400.0, 4000.0))
        case.did("slow_reader", line.client.name)


def _slow_network(case: Case) -> None:
    """Everything takes long."""
    if case.network.slow > 1.0:
        return
    case.network.slow = case.rng.choice((10.0, 60.0))
    seconds = 5.0 * case.rng.random()
    case.soon(seconds, lambda: setattr(case.network, "slow", 1.0))
    case.did("slow_network", f"for {seconds:.1f} s")


def _full_disk(case: Case) -> None:
    """F12: the server's disk takes nothing for a while."""
    server = case.live_server()
    if server is None or server.disk_full:
        return
    server.disk_full = True
    case.soon(4.0 * case.rng.random(), lambda: setattr(server, "disk_full", False))
    case.did("full_disk")


def _switch(case: Case) -> None:
    """F19: a client is told to use the other carrier."""
    client = case.rng.choice(case.clients)
    if client.running is not None:
        websocket = not client.settings.enable_websocket
        client.switch_carrier(websocket=websocket)
        case.did("switch", f"{client.name} to {'ws' if websocket else 'http'}")


def _press(case: Case) -> None:
    """Somebody presses Retry."""
    client = case.rng.choice(case.clients)
    driver = client.running
    if driver is not None and not driver._client.connection.live:
        client.reconnect()
        case.did("press", client.name)


def _cancel_all(case: Case) -> None:
    """F22: somebody stops whatever runs."""
    client = case.rng.choice(case.clients)
    if client.running is None:
        return

    def cancel(driver: Driver) -> None:
        for other in case.clients:
            for said in other.said.values():
                said.taken_back = True
        driver.cancel()

    client.step(cancel)
    case.did("cancel_all", client.name)


def _block_websocket(case: Case) -> None:
    """F17, F18: something on the way lets no WebSocket through, or nothing for long, or holds streams back."""
    if case.network.blocked is not None:
        return
    case.network.blocked = case.rng.choice(("cut", "swallow", "shut", "hold"))
    case.soon(30.0 * case.rng.random(), lambda: setattr(case.network, "blocked", None))
    case.did("block_websocket", case.network.blocked)


def _repeat_post(case: Case) -> None:
    """F7: a request arrives a second time."""
    lines = [line for line in case.network.lines_of() if line.up.said.startswith(b"POST /v2/")]
    if lines:
        line = case.rng.choice(lines)
        case.network.repeat(line)
        case.did("repeat_post", line.client.name)


def _set_clock(case: Case) -> None:
    """F9: somebody sets the clock."""
    seconds = case.rng.choice((-3600.0, -40.0, 40.0, 3600.0))
    case.clocks.set_forward += seconds
    case.did("set_clock", f"by {seconds:+.0f} s")


def _sleep(case: Case) -> None:
    """F10: the lid of the notebook is closed for some minutes."""
    client = case.rng.choice(case.clients)
    if client.running is not None and client.host.stalled_until <= case.loop.time():
        client.host.stalled_until = case.loop.time() + 20.0 * case.rng.random()
        case.clocks.slept += 600.0
        for each in case.clients:
            each.wakes(client.host.stalled_until if each is client else case.loop.time())
        case.did("sleep", client.name)


def _restore(case: Case) -> None:
    """F13: somebody puts yesterday's backup in the database's place."""
    server = case.live_server()
    database = case.folder / "server" / "edchat.db"
    if server is None or server.disk_full or case.restoring or case.zombies or not _holds_something(database):
        return
    case.restoring = True
    copy = case.folder / "backup.db"
    backup.backup(database, copy)

    def put_back() -> None:
        case.server.kill()
        case.forgiven |= _known_messages(database)
        backup.restore(database, copy)
        case.forgotten |= case.forgiven
        case.forgiven -= _known_messages(database)
        case.start_server()
        case.restoring = False

    seconds = case.rng.expovariate(0.2)
    case.soon(seconds, put_back)
    case.did("restore", f"of a backup {seconds:.1f} s old")


def _holds_something(database: Path) -> bool:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as conn:
        return conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone() is not None


def _known_messages(database: Path) -> set[str]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as conn:
        return {message for (message,) in conn.execute("SELECT input_id FROM runs")}


FAULTS = (
    Fault("cut", 8, _cut),
    Fault("cut_within", 8, _cut_within),
    Fault("deaf", 2, _deaf),
    Fault("part", 3, _part),
    Fault("kill_server", 1.5, _kill_server),
    Fault("doom_server", 4, _doom_server),
    Fault("drain", 0.7, _drain),
    Fault("stall", 1, _stall),
    Fault("zombie", 1.5, _zombie),
    Fault("kill_client", 3, _kill_client),
    Fault("slow_reader", 1.5, _slow_reader),
    Fault("slow_network", 1, _slow_network),
    Fault("full_disk", 0.7, _full_disk),
    Fault("switch", 3, _switch),
    Fault("press", 3, _press),
    Fault("cancel_all", 0.3, _cancel_all),
    Fault("block_websocket", 1.2, _block_websocket),
    Fault("repeat_post", 3, _repeat_post),
    Fault("set_clock", 0.5, _set_clock),
    Fault("sleep", 1, _sleep),
    Fault("restore", 0.6, _restore),
)
