"""Which carrier to try next: the WebSocket, or HTTP where nothing lets a WebSocket through."""

from typing import Literal

from edchat_widget.errors import ConnectionLost, TransportError

Carrier = Literal["ws", "http"]
Way = Literal["ws", "http", "poll"]
"""How frames travel in fact. Over HTTP the shell finds out what gets through: a stream, or only polling."""

LOOK_EVERY = 30.0
_SUSPICIONS = 2
_MOST_DOUBLINGS = 4
# The server's own words: another carrier would hear the same.
_SAID_BY_SERVER = {1012, 1013}


class CarrierChoice:
    """What is known of the carriers here. A WebSocket is preferred and, once lost, never lost for good."""

    def __init__(self, *, websocket: bool) -> None:
        self.websocket = websocket  # whether it may be used at all
        self._http = not websocket
        self._suspicions = 0
        self._returns_failed = 0

    @property
    def next(self) -> Carrier:
        """What the next attempt is to use."""
        return "http" if self._http else "ws"

    def allow(self, *, websocket: bool) -> None:
        """Go on under another setting."""
        if websocket != self.websocket:
            self.websocket = websocket
            self.begin_again()

    def begin_again(self) -> None:
        """Judge anew, from the preferred carrier on."""
        self._http = not self.websocket
        self._suspicions = 0

    def welcomed(self, carrier: Carrier) -> None:
        """The peer greeted us over this carrier."""
        self._suspicions = 0
        self._http = carrier == "http"

    def last_resort(self) -> None:
        """Nothing else is left to try."""
        self._http = True

    def stood(self) -> None:
        """A WebSocket stands for long enough to be trusted."""
        if not self._http:
            self._returns_failed = 0

    def left(self, error: Exception, *, opened: bool, welcomed: bool, shaky: bool) -> bool:
        """Take in how a connection over `next` ended; return whether the other is to be tried at once.

        `shaky`: it was a return to the WebSocket that did not stand for long.
        """
        if self._http:
            # What worked is tried again; what never did gives way to what may.
            self._http = welcomed or not self.websocket
            return False
        if welcomed:
            if shaky:
                self._returns_failed += 1
                self._http = True
            return shaky
        blocked = error.blocked if isinstance(error, TransportError) else None
        if blocked is None and opened and not _said_by_server(error):
            blocked = "perhaps"
        if blocked == "perhaps":
            self._suspicions += 1
        self._http = blocked == "surely" or self._suspicions >= _SUSPICIONS
        if self._http:
            self._suspicions = 0
        return self._http

    def look_after(self, jitter: float) -> float:
        """Return the seconds after which to look for a WebSocket once more."""
        doublings = min(self._returns_failed, _MOST_DOUBLINGS)
        return LOOK_EVERY * float(2**doublings) * (0.5 + jitter)


def _said_by_server(error: Exception) -> bool:
    if isinstance(error, ConnectionLost):
        return error.close_code in _SAID_BY_SERVER or error.close_code >= 4000
    return True
