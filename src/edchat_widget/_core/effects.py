"""What the core asks its shell to do, in this order."""

import msgspec

from edchat_protocol.frames import HelloData
from edchat_widget.events import ChatEvent
from edchat_widget.view import AnyOp

from .carriers import Carrier
from .outbox import OutboxHead, Row


class Open(msgspec.Struct, frozen=True):
    """Open connection number `hello.conn` over `carrier`; answer with `opened` or `lost`.

    `renew`: read the token anew, and answer with `lost` where it is the one that was refused.
    """

    carrier: Carrier
    hello: HelloData
    renew: bool = False


class Send(msgspec.Struct, frozen=True):
    """Write one frame."""

    conn: int
    raw: bytes


class Close(msgspec.Struct, frozen=True):
    """Close a connection. `abort`: the peer is taken for dead, do not wait for it. `lost` must not follow."""

    conn: int
    code: int = 1000
    reason: str = ""
    abort: bool = False


class Persist(msgspec.Struct, frozen=True):
    """Store the outbox's changes, before any effect behind this one."""

    head: OutboxHead
    rows: tuple[Row, ...] = ()
    gone: tuple[int, ...] = ()


class Publish(msgspec.Struct, frozen=True):
    """The view changed."""

    ops: tuple[AnyOp, ...]


class Emit(msgspec.Struct, frozen=True):
    """Tell who listens."""

    event: ChatEvent


class Log(msgspec.Struct, frozen=True):
    """Write a log line. `level` is the logging module's number. It holds no message's text, and no token."""

    level: int
    text: str
    args: tuple[object, ...] = ()


Effect = Open | Send | Close | Persist | Publish | Emit | Log
