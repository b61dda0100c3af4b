"""Virtual time and hosts that die: an event loop in which nothing waits and chance comes from a seed.

All hosts of a simulation share one loop. Which host a callback belongs to is read from its context, so that
everything that a host began, however deep in a library, is its own. Within a host, callbacks keep asyncio's
order; between hosts, the seed decides. A host that was killed is never stepped again: no `finally` of its
tasks runs, as none would after kill -9.
"""

import asyncio
import contextvars
import heapq
import logging
import random
import selectors
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

STEP = 1e-5
"""Virtual seconds that one callback takes, so that a host that never waits does not stop time."""
MAX_STEPS = 3_000_000

_host: "contextvars.ContextVar[Host | None]" = contextvars.ContextVar("host", default=None)


class Stuck(AssertionError):
    """Nothing is left to do, or it would go on for ever."""


class Host:
    """A machine's process: a name, and whether it lives. `stalled_until`: it is suspended until then."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stalled_until = 0.0
        self.steps = 0
        self.doom: tuple[int, Callable[[], None]] | None = None
        self.ready: deque[asyncio.Handle] = deque()
        self.context = contextvars.Context()
        self.context.run(_host.set, self)

    def die_after(self, steps: int, how: Callable[[], None]) -> None:
        """Call `how` in place of the callback that comes after this many of its own."""
        self.doom = (self.steps + steps, how)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class SimLoop(asyncio.BaseEventLoop):
    """The loop. `network` connects hosts; see `run`."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.network: Any = None
        self.steps = 0
        self.trouble: list[str] = []
        self._now = 0.0
        self._disposed = False  # what is collected afterwards may still ask for things
        self._outside = Host("rig")
        self._runnable: list[Host] = []  # hosts with something to do now
        self._later: list[tuple[float, int, asyncio.TimerHandle, Host]] = []
        self._count = 0
        self._started: list[tuple[asyncio.Task[Any], Host]] = []
        self._selector = selectors.SelectSelector()  # the base class closes it
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._complain)

    # ------------------------------------------------------------------------------------------ scheduling

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        """Run a callback next in its host's order."""
        handle = asyncio.Handle(callback, args, self, context)
        if not self._disposed:
            self._enqueue(handle, self._host_of(handle))
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        """As `call_soon`: there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        if not self._disposed:
            heapq.heappush(self._later, (when, self._count, timer, self._host_of(timer)))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        """Run a callback after virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def on(self, host: Host, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback as a step of a host."""
        if host.alive:
            self.call_soon(callback, *args, context=host.context.copy())

    def at(self, host: Host, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback as a step of a host, at a virtual time."""
        self.call_at(when, callback, *args, context=host.context.copy())

    def begin(self, host: Host, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task that belongs to a host."""
        return host.context.copy().run(self.create_task, work, name=name)

    def kill(self, host: Host) -> None:
        """End a host at once."""
        host.alive = False
        host.ready.clear()
        if host in self._runnable:
            self._runnable.remove(host)

    def _host_of(self, handle: asyncio.Handle) -> Host:
        return handle._context.get(_host) or self._outside  # type: ignore[attr-defined]

    def _enqueue(self, handle: asyncio.Handle, host: Host) -> None:
        if not host.alive:
            return
        if not host.ready:
            self._runnable.append(host)
        host.ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when they are due."""

    def _make_task(self, loop: Any, coro: Any, context: Any = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, context=context)
        # Kept to the end: the tasks of a killed host must not be collected, which would run their `finally`.
        host = context.get(_host) if context is not None else _host.get()
        self._started.append((task, host or self._outside))
        return task

    def _run_once(self) -> None:
        host = self._next_host()
        handle = host.ready.popleft()
        if not host.ready:
            self._runnable.remove(host)
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        self.steps += 1
        self._now += STEP
        if self.steps > MAX_STEPS:
            raise Stuck(f"{MAX_STEPS} steps and no end, at {self._now:.1f} s")
        host.steps += 1
        if host.doom is not None and host.steps > host.doom[0]:
            how, host.doom = host.doom[1], None
            how()
            if not host.alive:
                return
        handle._run()

    def _next_host(self) -> Host:
        while True:
            self._wake_due()
            awake = [h for h in self._runnable if h.stalled_until <= self._now]
            if awake:
                return awake[0] if len(awake) == 1 else self.rng.choice(awake)
            nexts = [h.stalled_until for h in self._runnable]
            while self._later and (self._later[0][2].cancelled() or not self._later[0][3].alive):
                heapq.heappop(self._later)
            if self._later:
                nexts.append(self._later[0][0])
            if not nexts:
                raise Stuck("nothing is left to do, and somebody waits")
            self._now = max(self._now, min(nexts))

    def _wake_due(self) -> None:
        while self._later and self._later[0][0] <= self._now:
            _, _, timer, host = heapq.heappop(self._later)
            if not timer.cancelled():
                self._enqueue(timer, host)

    # ----------------------------------------------------------------------------------- what libraries ask

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Connect to a listener of the simulation."""
        return await self.network.connect(_host.get() or self._outside, int(port), protocol_factory)

    async def create_server(self, protocol_factory: Any, *_: Any, sock: Any = None, **__: Any) -> Any:
        """Listen."""
        return self.network.listen(_host.get() or self._outside, sock.getsockname()[1], protocol_factory)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Run what blocks as a step of its own: a thread would escape the seed."""
        future = self.create_future()

        def step() -> None:
            try:
                result = func(*args)
            except Exception as exc:
                if not future.cancelled():
                    future.set_exception(exc)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.call_soon(step)
        return future

    def _complain(self, loop: Any, told: dict[str, Any]) -> None:
        exc = told.get("exception")
        self.trouble.append(f"{told.get('message')}: {exc!r}")

    def _process_events(self, event_list: Any) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    # ------------------------------------------------------------------------------------------------- end

    def unseen_failures(self) -> list[str]:
        """Return the tasks of living hosts that failed where nobody looked."""
        return [
            f"{task.get_name()} {getattr(task.get_coro(), '__qualname__', '')}: {task.exception()!r}"
            for task, host in self._started
            if host.alive and task.done() and not task.cancelled() and task._log_traceback  # type: ignore[attr-defined]
        ] + self.trouble

    def dispose(self) -> None:
        """Close the loop and forget what never ended."""
        for task, _ in self._started:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if task.done() and not task.cancelled():
                task.exception()
        self.set_exception_handler(lambda *_: None)
        self._disposed = True
        self.close()
        with quiet():
            self._started.clear()
            self._later.clear()
            for host in [*self._runnable, self._outside]:
                host.ready.clear()
            self._runnable.clear()
            self.network = None


@contextmanager
def quiet() -> Iterator[None]:
    """Let coroutines that never ended be collected without a word."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = before
        logging.disable(disabled)


def run(loop: SimLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run the rig's own task to its end."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        asyncio.set_event_loop(None)
