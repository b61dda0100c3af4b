"""One attempt at one run: from the claim to the run's last event."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from edchat_protocol.frames import ErrorData, ErrorFrame, Logged, RunState, ToolDetails, ToolExecution

from . import failpoints
from .agent.models import ModelError
from .agent.scope import RunStopped
from .audit import AuditLog
from .failures import UNAVAILABLE, describe, scrub
from .hub import Hub
from .journal import Journal
from .scope import LedgerFailed, LedgerScope
from .store import Claim, Fenced, Store, StoreError, StoreUnavailable
from .store.base import session_lock
from .store.intents import ADVICE
from .store.saver import FENCE_KEY, RUN_KEY
from .thread import messages_of, opening
from .translate import Translation, run_messages

PROCESSING = "Understanding your request..."
RETRYING = "The answer was interrupted; going on..."
UNRECORDED = "The server could not record this answer."
MAX_TRIES = 3

_log = logging.getLogger("edchat.server.runner")


Agent = CompiledStateGraph[Any, Any, Any, Any]
"""A LangGraph graph whose state has `messages`."""


@dataclass(frozen=True, kw_only=True)
class _End:
    state: RunState
    frames: Sequence[Logged] = ()
    error: str | None = None


@dataclass(kw_only=True, eq=False)
class Attempt:
    """Carries a claim out.

    `look` makes it check for a cancellation; after `park`, cancelling its task gives the run back.
    """

    store: Store
    hub: Hub
    audit: AuditLog
    agent: Agent | None
    claim: Claim
    reason: str | None
    secrets: Sequence[str]
    clock: Callable[[], datetime]
    _looking: asyncio.Event = field(default_factory=asyncio.Event)
    _consumer: asyncio.Task[None] | None = None
    _stop_wanted: bool = False
    _stopped: bool = False
    _parking: bool = False

    def __post_init__(self) -> None:
        self._translation = Translation(run=self.claim.run, attempt=self.claim.attempt)
        self._scope = LedgerScope(self.store, self.claim)
        self._stop_wanted = self.claim.cancel

    def look(self) -> None:
        """Check soon whether the run was cancelled."""
        self._looking.set()

    def park(self) -> None:
        """Give the run back to the queue when this attempt's task is cancelled."""
        self._parking = True

    async def carry_out(self) -> None:
        """Do all of it. Fenced: end without a word, somebody else goes on."""
        self._journal = Journal(self.store, self.hub, self.claim)
        watcher = asyncio.create_task(self._watch(), name=f"edchat-watch-{self.claim.run}")
        try:
            end = await self._answer_or_fail()
            failpoints.reach("finish_before")
            await self._finish_somehow(end)
        except (StoreError, LedgerFailed):
            await asyncio.sleep(1)  # or a database that refuses only some writes would have the model asked in a loop
            await self._requeue()
        except (Fenced, RunStopped):
            _log.info("run %s has another owner now", self.claim.run)
        except asyncio.CancelledError:
            if not self._parking:
                raise
            await self._requeue()
        finally:
            watcher.cancel()
            self._journal.abandon()

    # ------------------------------------------------------------------------------------------ the answer

    async def _answer_or_fail(self) -> _End:
        try:
            return await self._answer()
        except (Fenced, RunStopped, StoreUnavailable):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever an agent raises ends as an event in the log
            _log.error(
                "run %s failed: %s%s", self.claim.run, scrub(repr(exc), self.secrets), _traceback(exc, self.secrets)
            )
            return self._failed(self._described(exc))

    async def _answer(self) -> _End:
        self._translation.recall(await self.store.run_frames(self.claim.run))
        if self.agent is None:
            return self._failed(
                ErrorData(error=UNAVAILABLE, message=UNAVAILABLE, code="unavailable", retryable=True,
                          hint=self.reason)
            )
        scope = self._scope
        await scope.recall()
        if self.claim.tries > MAX_TRIES:
            text = f"The server stopped {MAX_TRIES} times while it answered this message."
            return self._failed(ErrorData(error=text, message=text, code="internal", retryable=True))
        source = await self._prepare(self.agent)
        if source is _AT_END:
            return self._completed()
        if self._may_stop():
            return self._stopped_early()
        self._consumer = asyncio.create_task(
            self._consume(self.agent, source, scope), name=f"edchat-agent-{self.claim.run}"
        )
        try:
            await self._consumer
        except (asyncio.CancelledError, Exception):
            if self._stopped and not self._parking:
                return self._stopped_early()
            raise
        return self._completed()

    async def _prepare(self, agent: Agent) -> Any:
        """Say that the run begins, or goes on; return the graph's input."""
        state = await agent.aget_state(self._config())
        present = messages_of(state)
        owner = (state.metadata or {}).get(RUN_KEY)
        mine = owner == self.claim.run
        now = self.clock()
        if self.claim.attempt == 1:
            self._journal.add([self._translation.status("processing", now, message=PROCESSING)])
        else:
            committed = run_messages(present, self.claim.input_id) if mine else []
            void, missing = self._translation.reconcile(committed, now)
            status = self._translation.status("retrying", now, message=RETRYING, supersedes=void)
            self._journal.add([status, *missing])
            self._audit(missing)
        if mine:
            # `next` leaves out tasks that are done but not yet part of a checkpoint; `tasks` has them.
            return None if state.tasks else _AT_END
        before = await self.store.run_frames(str(owner)) if owner else []
        return opening(
            present, content=self.claim.content, input_id=self.claim.input_id,
            history=self.claim.history, before=before,
        )

    async def _consume(self, agent: Agent, source: Any, scope: LedgerScope) -> None:
        stream = agent.astream(
            source, config=self._config(), context=scope, durability="sync",
            stream_mode=["messages", "updates", "custom"],
        )
        async for mode, payload in stream:
            failpoints.reach(f"part_{mode}")
            frames = self._translation.feed(mode, payload, self.clock())
            self._journal.add(frames)
            self._audit(frames)
            self._stop_if_wanted()

    def _config(self) -> RunnableConfig:
        return {
            "configurable": {
                "thread_id": self.claim.session, RUN_KEY: self.claim.run, FENCE_KEY: self.claim.fence,
            },
        }

    def _audit(self, frames: Sequence[Logged]) -> None:
        for frame in frames:
            if not isinstance(frame, ToolExecution) or frame.data.status not in ("completed", "error"):
                continue
            details = frame.data.details
            if isinstance(details, ToolDetails):
                self.audit.write(
                    self.claim.session, frame.data.tool, "call", run=self.claim.run, step=frame.step,
                    given=msgspec.json.encode(details.input, order="sorted").decode(), output=details.output,
                    result="success" if details.error is None else "failure",
                    error=scrub(details.error, self.secrets) if details.error else None,
                    duration_ms=details.duration_ms,
                )

    # -------------------------------------------------------------------------------------------- stopping

    async def _watch(self) -> None:
        while not self._stop_wanted:
            await self._looking.wait()
            self._looking.clear()
            try:
                self._stop_wanted = await self.store.run_state(self.claim.run) == "cancelling"
            except StoreError:
                await asyncio.sleep(1)
                self._looking.set()
        self._stop_if_wanted()

    def _may_stop(self) -> bool:
        """Whether to stop here: not between what a tool did and the event that shows it."""
        wanted = self._stop_wanted or self._scope.doubt is not None
        return wanted and not self._scope.acted & self._translation.busy_steps

    def _stop_if_wanted(self) -> None:
        if self._consumer is not None and self._may_stop():
            self._stopped = True
            self._scope.shut()
            self._consumer.cancel()

    # ------------------------------------------------------------------------------------------- the end

    async def _finish_somehow(self, end: _End) -> None:
        """Finish; without the events if these are what cannot be written: an open run blocks its session."""
        try:
            await self._finish(end, await self._journal.close())
        except (Fenced, StoreUnavailable):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever keeps events from being encoded or taken
            _log.exception("events of run %s cannot be written", self.claim.run)
            failed = self._failed(self._described(exc))
            await self._finish(replace(failed, frames=failed.frames[-1:]), [])

    async def _finish(self, end: _End, left: Sequence[Logged]) -> None:
        status = self._translation.status(end.state, self.clock())
        await self.store.finish(self.claim, end.state, [*left, *end.frames, status], end.error)
        failpoints.reach("finish_committed")
        self.hub.ring(self.claim.session)
        _log.info("run %s %s", self.claim.run, end.state)
        session = self.claim.session
        await self.store.submit(
            lambda conn: self.store.checkpoints.prune(conn, session), locks=(session_lock(session),)
        )

    def _completed(self) -> _End:
        return self._uncertain() if self._scope.open else _End(state="completed")

    def _stopped_early(self) -> _End:
        if self._scope.open:
            return self._uncertain()
        return _End(state="cancelled", frames=self._translation.stop(self.clock()))

    def _uncertain(self) -> _End:
        unknown = " ".join(self._scope.open.values())
        error = ErrorData(error=unknown, message=unknown, code="uncertain", hint=ADVICE)
        ended = self._translation.stop(self.clock())
        return _End(state="uncertain", frames=[*ended, self._error(error)], error=unknown)

    def _failed(self, error: ErrorData) -> _End:
        if self._scope.open:
            return self._uncertain()
        ended = self._translation.stop(self.clock(), "The run failed.")
        return _End(state="failed", frames=[*ended, self._error(error)], error=error.error)

    def _described(self, exc: Exception) -> ErrorData:
        if isinstance(exc, StoreError):
            return ErrorData(error=UNRECORDED, message=UNRECORDED, code="storage", retryable=True)
        return describe(exc, self.secrets)

    def _error(self, error: ErrorData) -> ErrorFrame:
        return ErrorFrame(
            run=self.claim.run, attempt=self.claim.attempt, data=error,
            timestamp=self.clock().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )

    async def _requeue(self) -> None:
        while True:
            try:
                await self.store.park(self.claim)
                failpoints.reach("parked")
            except Fenced:
                return
            except StoreError:
                if self._parking:
                    return  # the next start finds the run where it is
                await asyncio.sleep(1)
            else:
                return


_AT_END = object()


def _traceback(exc: Exception, secrets: Sequence[str]) -> str:
    """Return the traceback for the log, unless it tells no more or, like a model client's, may hold a request."""
    known = type(exc).__module__.partition(".")[0] in ("builtins", "edchat_server", "langgraph")
    if isinstance(exc, ModelError) or not known:
        return ""
    # Formatted here and not by the logger, which would repeat the exception's words as they are.
    return "\n" + scrub("".join(traceback.format_exception(exc)), secrets, limit=20_000)
