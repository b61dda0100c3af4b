"""The boundary between user threads and the one I/O thread of this process.

`post` never waits and may be called from anywhere, also from a finalizer. `call` waits, and raises instead
of waiting for itself. Leases are counted: the last release ends the thread.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from edchat_widget.errors import PortalClosed, Timeout, WrongThread

T = TypeVar("T")
THREAD_NAME = "edchat-io"
FAREWELL = 0.5
"""How long, in seconds, connections get for a polite close when the thread ends."""
_ANEW = "Make a new Chat()."
_log = logging.getLogger("edchat.client.portal")


class Portal:
    """One daemon thread with an event loop of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._at_close: list[Callable[[], None]] = []
        # Whoever waits, so that nobody waits for work that the thread's end left undone.
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name=THREAD_NAME, daemon=True)
        self._thread.start()
        self.loop = started.result()

    @property
    def here(self) -> bool:
        """Whether the caller is the I/O thread."""
        return threading.get_ident() == self._thread.ident and os.getpid() == self._pid

    @property
    def usable(self) -> bool:
        """Whether it still takes work: not closed, and not inherited by a fork."""
        return not self._closed and os.getpid() == self._pid and not self.loop.is_closed()

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` in the I/O thread, some time; return at once.

        Raises:
            PortalClosed: it will never run.
        """
        if os.getpid() != self._pid:
            raise PortalClosed("This chat belongs to the process that this one was forked from.", hint=_ANEW)
        if not self.usable:
            raise PortalClosed("This chat is closed.", hint=_ANEW)
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError as exc:
            raise PortalClosed("This chat is closed.", hint=_ANEW) from exc

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        """Run the coroutine that `work` makes in the I/O thread; return its future."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def begin() -> None:
            if self._closed:
                future.set_exception(PortalClosed("This chat was closed meanwhile.", hint=_ANEW))
            elif future.set_running_or_notify_cancel():
                task = self.loop.create_task(work())
                _tie(task, future)

        self._promise(begin, future)
        return future

    def do(self, fn: Callable[[], T], timeout: float) -> T:
        """Run `fn`, which does not wait, in the I/O thread, and return its result. Callable from there, too.

        Raises:
            Timeout: it was not done in time; it will be.
            PortalClosed: the portal ended meanwhile.
        """
        if self.here:
            return fn()
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(fn())
            except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
                future.set_exception(exc)

        self._promise(run, future)
        return _outcome(future, timeout)

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Run a coroutine in the I/O thread and wait for its result, at most `timeout` seconds.

        Raises:
            WrongThread: called from the I/O thread itself.
            Timeout: it was not done in time; it goes on.
            PortalClosed: the portal ended meanwhile.
        """
        self.check_may_wait()
        return _outcome(self.submit(work), timeout)

    def check_may_wait(self) -> None:
        """Raise `WrongThread` in the I/O thread."""
        if self.here:
            raise WrongThread(
                "A callback must not wait for an answer: it would wait for itself.",
                hint="Use chat.send(…), which returns at once, or hand the work to another thread.",
            )

    def at_close(self, fn: Callable[[], None]) -> None:
        """Run `fn` in the I/O thread when the portal ends; once, however often it is given."""
        if fn not in self._at_close:
            self._at_close.append(fn)

    def _promise(self, begin: Callable[[], object], future: "concurrent.futures.Future[T]") -> None:
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        self.post(begin)

    def _run(self, started: "concurrent.futures.Future[asyncio.AbstractEventLoop]") -> None:
        try:
            _run(started)
        finally:
            # The loop is closed: from here on `post` raises, so that this catches the last of them.
            for future in tuple(self._waiting):
                if not future.done():
                    future.set_exception(PortalClosed("This chat was closed meanwhile.", hint=_ANEW))

    def _shut(self) -> None:
        try:
            for fn in self._at_close:
                fn()
        finally:
            self.loop.stop()

    def close(self) -> None:
        """End the thread. Called from the thread itself, it ends after the current step."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self.loop.call_soon_threadsafe(self._shut)
        if not self.here:
            self._thread.join(timeout=10)


def _outcome(future: "concurrent.futures.Future[T]", timeout: float | None) -> T:
    try:
        return future.result(timeout)
    except TimeoutError as exc:
        if future.done():  # in the last moment; or the work itself raised it
            return future.result()
        raise Timeout(f"Nothing came within {timeout:g} s; the work goes on.") from exc


def _tie(task: "asyncio.Task[T]", future: "concurrent.futures.Future[T]") -> None:
    def done(finished: "asyncio.Task[T]") -> None:
        if finished.cancelled():
            future.set_exception(PortalClosed("This chat was closed meanwhile.", hint=_ANEW))
        elif (error := finished.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(finished.result())

    task.add_done_callback(done)


def _run(started: "concurrent.futures.Future[asyncio.AbstractEventLoop]") -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.call_soon(started.set_result, loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_finish(loop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=FAREWELL)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(fn: Callable[[], T]) -> T:
    """Run what blocks for long in a thread of its own, and return its result.

    Unlike the loop's executor, such a thread holds up neither the portal's end nor the interpreter's.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(outcome: concurrent.futures.Future[T]) -> None:
        if future.done():
            return
        error = outcome.exception()
        if error is None:
            future.set_result(outcome.result())
        else:
            future.set_exception(error)

    def run() -> None:
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            outcome.set_result(fn())
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
            outcome.set_exception(exc)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="edchat-blocking", daemon=True).start()
    return await future


class Lease:
    """One user's claim on the portal. `release` may be called twice, and from any thread."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self._finalizer = weakref.finalize(self, _release_soon, portal)
        self._finalizer.atexit = False

    def release(self) -> None:
        """Give the claim back."""
        if self._finalizer.detach() is not None:
            _release(self.portal)


_lock = threading.RLock()
_portal: Portal | None = None
_leases = 0


def lease() -> Lease:
    """Return a claim on this process's portal, which is started if there is none."""
    global _portal, _leases  # noqa: PLW0603
    with _lock:
        if _portal is None or not _portal.usable:
            _portal, _leases = Portal(), 0
        _leases += 1
        return Lease(_portal)


def _release(portal: Portal) -> None:
    global _portal, _leases  # noqa: PLW0603
    with _lock:
        if portal is not _portal:
            return
        _leases -= 1
        if _leases > 0:
            return
        _portal = None
    portal.close()


def _release_soon(portal: Portal) -> None:
    # A finalizer may run inside any code, also inside `lease` with the lock held: it only posts.
    try:
        portal.post(_release, portal)
    except PortalClosed:
        _log.debug("a lease outlived its portal")


def _close_at_exit() -> None:
    portal = _portal
    if portal is not None:
        portal.close()


def _after_fork() -> None:
    # The thread does not exist in the child, and the lock may have been held by another thread.
    global _portal, _leases, _lock
    _portal, _leases, _lock = None, 0, threading.RLock()


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
