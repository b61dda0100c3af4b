"""The one way in for commands, whichever carrier brought them."""

import hashlib
import logging
from collections.abc import Callable

import msgspec

from edchat_protocol.errors import MAX_MESSAGE_BYTES
from edchat_protocol.frames import Ack, AckData, Cancel, Nack, NackData, UserMessage

from . import failpoints
from .audit import AuditLog
from .hub import Hub
from .identity import Identity
from .store import Accepted, Command, Refused, Reject, Say, Stop, Store, StoreError

_log = logging.getLogger("edchat.server.intake")


class Intake:
    """Validates commands, has the store accept them, and rings the bells.

    `wake` starts the runner. `wait` returns in how many milliseconds a client of a user may send its next command.
    """

    def __init__(
        self, store: Store, hub: Hub, audit: AuditLog, wake: Callable[[], None],
        wait: Callable[[object, str | None], int] = lambda *_: 0,
    ) -> None:
        self._store = store
        self._hub = hub
        self._audit = audit
        self._wake = wake
        self._wait = wait

    async def take(self, command: Command, who: Identity, *, payer: object = None) -> Accepted | Refused:
        """Accept a command exactly once; the outcome is committed when this returns.

        `payer`: whose rate it is counted for, where that is not the client.
        """
        wait = self._wait(payer or (command.session, command.client), who.name)
        if wait:
            return _too_fast(command, wait)
        failpoints.reach("accept_before")
        try:
            outcome = await self._store.accept(command)
        except StoreError as exc:
            return Refused(code="storage", message=str(exc), csn=0, final=False)
        failpoints.reach("accept_committed")
        if isinstance(outcome, Accepted):
            self._hub.ring(command.session)
            self._wake()
        self._report(command, outcome)
        return outcome

    def _report(self, command: Command, outcome: Accepted | Refused) -> None:
        if isinstance(outcome, Refused):
            _log.warning("refused %s of session %s: %s", command.id, command.session, outcome.code)
        elif isinstance(command.work, Say) and not outcome.duplicate:
            size = len(command.work.content)
            _log.info("message %s in session %s: %d characters", command.id, command.session, size)
            self._audit.write(
                command.session, "chat", "message", given=command.work.content, message_id=command.id,
                run=outcome.run, user=command.work.author,
            )


def _too_fast(command: Command, wait: int) -> Refused:
    _log.warning("refused %s of session %s: rate_limited", command.id, command.session)
    return Refused(
        code="rate_limited", message="too many messages in a short time", csn=0, final=False, retry_after_ms=wait
    )


def command_of(
    frame: UserMessage | Cancel, *, session: str, client: str, message_id: str, who: Identity
) -> Command:
    """Return the command in a frame; what can never be taken becomes a `Reject`."""
    work: Say | Stop | Reject
    if isinstance(frame, Cancel):
        said: object = ["cancel", frame.data.run]
        work = Stop(run=frame.data.run, by=who.name)
    else:
        said = ["message", frame.data.content]
        work = _say(frame, session, who)
    if who.role == "read":
        work = Reject(code="forbidden", message="this token may read and not write")
    return Command(
        session=session, client=client, csn=frame.csn, id=message_id, work=work,
        fingerprint=hashlib.sha256(msgspec.json.encode(said)).digest(),
    )


def _say(frame: UserMessage, session: str, who: Identity) -> Say | Reject:
    named = frame.data.session_id or frame.session_id
    if named is not None and named != session:
        return Reject(code="wrong_session", message=f"this connection belongs to session {session}")
    content = frame.data.content
    if not content.strip():
        return Reject(code="empty_message", message="the message is empty")
    size = len(content.encode())
    if size > MAX_MESSAGE_BYTES:
        return Reject(
            code="too_large", message=f"the message has {size} bytes; at most {MAX_MESSAGE_BYTES} are taken"
        )
    return Say(content=content, history=tuple(frame.data.message_history or ()), author=who.name)


def answer(command: Command, outcome: Accepted | Refused) -> Ack | Nack:
    """Return the frame that tells the client what became of its command."""
    if isinstance(outcome, Accepted):
        return Ack(
            ack=outcome.csn, ref=command.id, data=AckData(run=outcome.run, duplicate=outcome.duplicate)
        )
    return Nack(
        ref=command.id, csn=command.csn,
        data=NackData(
            code=outcome.code, message=outcome.message, final=outcome.final, expect=outcome.expect,
            retry_after_ms=outcome.retry_after_ms,
        ),
    )
