"""Seeds, each in a process of its own, forked from one that has imported everything.

All of them begin with the same memory, so that a seed plays the same case alone and among thousands; and
what a case leaves behind ends with its process.
"""

import os
import pickle
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe, wait

import msgspec

from .scenario import Outcome, Plan, play

PATIENCE = 300
"""Real seconds that one seed may take."""


class Totals(msgspec.Struct):
    """What many seeds came to. `broken` holds (seed, what does not hold)."""

    base: int
    seeds: int = 0
    faults: int = 0
    messages: int = 0
    stories: int = 0
    attempts: int = 0
    connections: int = 0
    virtual_seconds: float = 0.0
    seconds: float = 0.0
    kinds: dict[str, int] = msgspec.field(default_factory=dict)
    broken: list[tuple[int, str]] = msgspec.field(default_factory=list)
    began: float = msgspec.field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Count a seed."""
        self.seeds += 1
        self.faults += sum(outcome.kinds.values())
        self.messages += outcome.messages
        self.stories += outcome.stories
        self.attempts += outcome.attempts
        self.connections += outcome.connections
        self.virtual_seconds = round(self.virtual_seconds + outcome.virtual, 1)
        self.kinds = dict(Counter(self.kinds) + outcome.kinds)
        self.seconds = round(time.monotonic() - self.began, 1)
        if outcome.broken is not None:
            self.broken.append((outcome.seed, outcome.broken))

    def told(self) -> str:
        """Return the totals in words."""
        rate = self.seeds / self.seconds if self.seconds else 0.0
        kinds = ", ".join(f"{name} {times:,}" for name, times in sorted(self.kinds.items(), key=lambda k: -k[1]))
        return (
            f"{self.seeds:,} seeds from {self.base}: {self.faults:,} faults over {self.messages:,} messages, "
            f"{self.stories:,} stories, {self.attempts:,} attempts at runs, {self.connections:,} connections, "
            f"{self.virtual_seconds:,.0f} virtual seconds in {self.seconds:,.0f} s ({rate:.1f} seeds/s); "
            f"{len(self.broken)} broken\n{kinds}"
        )


def play_many(base: int, count: int, plan: Plan, *, jobs: int = 1) -> Iterator[Outcome]:
    """Play seeds from `base` on, and yield what became of each, as it is known."""
    play(0, Plan(messages=2, faults=2))  # whatever is made once is made before the first fork
    waiting = iter(range(base, base + count))
    running: dict[Connection, tuple[int, int]] = {}
    try:
        while True:
            while len(running) < jobs and (seed := next(waiting, None)) is not None:
                told, pid = _fork(seed, plan)
                running[told] = (pid, seed)
            if not running:
                return
            ready = wait(list(running), timeout=PATIENCE) or list(running)
            for told in ready:
                assert isinstance(told, Connection)
                pid, seed = running.pop(told)
                yield _result(told, pid, seed)
    finally:
        for told, (pid, _) in running.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            told.close()


def _fork(seed: int, plan: Plan) -> tuple[Connection, int]:
    told, tell = Pipe(duplex=False)
    pid = os.fork()
    if pid:
        tell.close()
        return told, pid
    code = 1
    try:
        tell.send_bytes(pickle.dumps(play(seed, plan, lasting=False)))
        code = 0
    finally:
        os._exit(code)


def _result(told: Connection, pid: int, seed: int) -> Outcome:
    outcome = Outcome(seed)
    try:
        if told.poll(0):
            outcome = pickle.loads(told.recv_bytes())
        else:
            outcome.broken = f"I7: no end within {PATIENCE} real seconds"
            os.kill(pid, signal.SIGKILL)
    except EOFError:
        outcome.broken = "the rig itself failed"
    told.close()
    os.waitpid(pid, 0)
    return outcome
