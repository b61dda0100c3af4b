"""Everything that can go wrong, as one tree.

::

    EdChatError                 .code .retryable .hint
    ├─ SettingsError            before anything starts
    ├─ MessageError             a message that cannot be sent (also a ValueError)
    ├─ OutboxFull               the limit of unconfirmed messages is reached; nothing was dropped
    ├─ StorageError             the data directory cannot be used; the message was not taken
    ├─ TransportError           retried by policy, shown in the badge
    │  ├─ ConnectError  ConnectionLost  Timeout (also a TimeoutError)
    │  └─ Refused               final: token, version, superseded
    ├─ ProtocolError            LocalProtocolError (our bug)  RemoteProtocolError (the peer's)
    ├─ AgentError               the run failed
    ├─ ServerStartError         .log: the child's last lines
    └─ PortalClosed  WrongThread
"""

from typing import Literal

__all__ = [
    "AgentError",
    "ConnectError",
    "ConnectionLost",
    "EdChatError",
    "LocalProtocolError",
    "MessageError",
    "OutboxFull",
    "PortalClosed",
    "ProtocolError",
    "Refused",
    "RemoteProtocolError",
    "ServerStartError",
    "SettingsError",
    "StorageError",
    "Timeout",
    "TransportError",
    "WrongThread",
]


Blocked = Literal["surely", "perhaps"]


def sentences(*texts: str | None) -> str:
    """Return texts as sentences one behind the other, whether or not their authors ended them with a stop."""
    given = [t.strip() for t in texts if t and t.strip()]
    ended = [t if t.endswith((".", "!", "?", ":", "…")) else f"{t}." for t in given[:-1]]
    return " ".join([*ended, *given[-1:]])


def plain(exc: BaseException) -> str:
    """Return what a foreign error says, without numbers and stops, to be put into a sentence."""
    return str(getattr(exc, "strerror", None) or exc).rstrip(". ")


class EdChatError(Exception):
    """The base of all. `str()` is a sentence for people.

    `code` is short and stable, `retryable` says whether the same call may succeed later, `hint` what to do.
    """

    code = "error"
    retryable = False

    def __init__(
        self, message: str, *, code: str | None = None, retryable: bool | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return sentences(super().__str__(), self.hint)

    @property
    def reason(self) -> str:
        """The sentence without the hint."""
        return super().__str__()


class SettingsError(EdChatError):
    """A setting has a value that it cannot take. The text names the setting and what it takes."""

    code = "settings"


class MessageError(EdChatError, ValueError):
    """A message that cannot be sent: empty, too large, or refused by the server."""

    code = "bad_message"


class OutboxFull(EdChatError):
    """So many messages wait for the server that no more are taken. None was dropped."""

    code = "outbox_full"
    retryable = True


class StorageError(EdChatError):
    """The data directory cannot be used. What was to be stored was not taken."""

    code = "storage"
    retryable = True


class TransportError(EdChatError):
    """Something between here and the server.

    `blocked`: whether it is this carrier that something on the way does not let through, rather than the
    server that cannot be reached. `retry_after`: the seconds that the server asks us to stay away.
    """

    code = "transport"
    retryable = True
    blocked: Blocked | None = None
    retry_after: float | None = None


class ConnectError(TransportError):
    """No connection came about. `status`: the HTTP status, where there was one."""

    code = "connect"

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None,
        hint: str | None = None, blocked: Blocked | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after
        self.blocked = blocked


class ConnectionLost(TransportError):
    """A connection ended. `close_code`: the WebSocket's, 1006 where the line was cut."""

    code = "lost"

    def __init__(
        self, message: str, *, close_code: int = 1006, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.close_code = close_code
        self.retry_after = retry_after


class Timeout(TransportError, TimeoutError):
    """The answer did not come in time. The run goes on."""

    code = "timeout"


class Refused(TransportError):
    """The server will not have us: a wrong token, a version it does not speak. Trying again is no use.

    `code`: ``unauthorized`` (a valid token is missing), ``forbidden``, or ``refused``.
    """

    code = "refused"
    retryable = False


class ProtocolError(EdChatError):
    """A frame that the protocol does not allow."""

    code = "protocol"


class LocalProtocolError(ProtocolError):
    """This side broke the protocol: a bug in this package."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""


class AgentError(EdChatError):
    """The run failed. `run_id` says which."""

    code = "agent"

    def __init__(
        self, message: str, *, code: str | None = None, retryable: bool | None = None,
        hint: str | None = None, run_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable, hint=hint)
        self.run_id = run_id


class ServerStartError(EdChatError):
    """The bundled server did not start. `log` has its last lines (40 at most)."""

    code = "server_start"

    def __init__(self, message: str, *, log: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log

    def __str__(self) -> str:
        text = super().__str__()
        return "\n".join([text, "Its last log lines:", *self.log]) if self.log else text


class PortalClosed(EdChatError):
    """The chat was closed, or this is a forked child of the process that it lived in."""

    code = "closed"


class WrongThread(EdChatError):
    """A blocking call from the I/O thread itself, for which it would wait for ever."""

    code = "wrong_thread"
