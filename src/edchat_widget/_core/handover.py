"""A second connection beside the one that stands: it takes its place when the server greets on it.

So a better carrier, or a fresh token, is had without a moment in which nothing stands. Two connections of one
client do no harm: what both bring is applied once, by `seq`, and what both send is accepted once, by `csn`.
"""

import logging
from typing import TYPE_CHECKING

from edchat_protocol import SUBPROTOCOL_V2
from edchat_protocol.codec import decode_down, encode
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import Hello, StatusFrame, Welcome
from edchat_widget.errors import ConnectionLost, EdChatError

from .carriers import Carrier, Way
from .connection import GREETING_TIMEOUT
from .effects import Close, Open, Send

if TYPE_CHECKING:
    from .client import Client

_OPENING_TIMEOUT = 15.0


class Handover:
    """At most one connection that is not yet taken frames from."""

    def __init__(self, client: "Client") -> None:
        self.conn: int | None = None
        self.deadline: float | None = None
        self._client = client
        self._carrier: Carrier = "ws"
        self._way: Way = "ws"
        self._guaranteed = True
        self._introduced = False
        self._cause: EdChatError | None = None  # why the connection that it was to follow is gone

    @property
    def imminent(self) -> bool:
        """Whether the server may have met it already, and then ends the connection that stands."""
        return self.conn is not None and self._introduced

    def begin(self, carrier: Carrier, now: float, *, renew: bool = False) -> None:
        """Open it. `renew`: with a token read anew."""
        origin = self._client.origin
        if self.conn is not None or (origin is not None and origin.current is not None):
            self._client.connection.looked(now)  # one at a time; and what the origin works on is not left
            return
        self.conn = self._client.next_number()
        self.deadline = now + _OPENING_TIMEOUT
        self._carrier, self._introduced, self._cause = carrier, carrier == "http", None
        self._client.connection.opening(now)
        self._client.log(logging.DEBUG, "looking for a better connection (%s)", carrier)
        self._client.put(Open(carrier, self._client.hello(self.conn), renew))

    def opened(self, conn: int, way: Way, subprotocol: str | None, now: float) -> None:
        """It stands, and says what this side has by now."""
        self._way, self._guaranteed = way, subprotocol == SUBPROTOCOL_V2
        if self._guaranteed == (self._client.origin is not None):
            self._end(now, ConnectionLost("Another kind of server answered."))
            return
        self.deadline = now + GREETING_TIMEOUT
        if way == "ws" and self._guaranteed:
            self._introduced = True
            self._client.put(Send(conn, encode(Hello(data=self._client.hello(conn)))))

    def heard(self, raw: bytes | str, now: float) -> bool:
        """It brought a frame; return whether that was the greeting, and it is to take over now."""
        try:
            greeting = isinstance(decode_down(raw), Welcome if self._guaranteed else StatusFrame)
        except FrameError:
            greeting = False
        origin = self._client.origin
        if not greeting or (origin is not None and origin.current is not None):
            self._end(now, ConnectionLost("The server did not greet."))
            return False
        return True

    def take(self) -> tuple[Way, bool]:
        """Return the way of what takes over, and whether it keeps our promises. It is one's own now."""
        self._forget()
        return self._way, self._guaranteed

    def bereave(self, cause: EdChatError) -> None:
        """The connection that stood is gone; all hope is here, for as long as a greeting may take."""
        self._cause = self._cause or cause

    def lost(self, error: EdChatError, now: float) -> None:
        """It came to nothing."""
        cause, number = self._cause, self.conn
        self._forget()
        self._client.log(logging.DEBUG, "connection %s did not take over: %s", number, error.reason)
        if cause is not None:
            self._client.lost_for_good(cause, now)
        else:
            self._client.connection.looked(now)

    def tick(self, now: float) -> None:
        """Give it up when it takes too long."""
        if self.deadline is not None and self.deadline <= now:
            self._end(now, ConnectionLost("The server did not greet."))

    def drop(self) -> None:
        """Close it; it is not wanted any more."""
        if self.conn is not None:
            self._client.put(Close(self.conn, abort=True))
            self._forget()

    def _end(self, now: float, error: EdChatError) -> None:
        if self.conn is not None:
            self._client.put(Close(self.conn, abort=True))
        self.lost(error, now)

    def _forget(self) -> None:
        self.conn = self.deadline = self._cause = None
        self._introduced = False
