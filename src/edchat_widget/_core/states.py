"""The states of a connection, and what may follow what."""

from enum import StrEnum


class State(StrEnum):
    """What the badge shows."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    FALLBACK = "fallback"
    DISCONNECTED = "disconnected"


class Happening(StrEnum):
    """What moves the state."""

    WELCOME_WS = "welcome_ws"  # the peer greeted us on a WebSocket
    WELCOME_HTTP = "welcome_http"  # … over HTTP
    CUT = "cut"  # the connection, or the attempt at one, failed; another attempt follows
    GIVE_UP = "give_up"  # a final refusal, or the attempts are used up
    RETRY = "retry"  # a person, or a wake-up, asks to begin again
    STOP = "stop"  # this side closes


_S, _H = State, Happening
TRANSITIONS: dict[tuple[State, Happening], State] = {
    (_S.CONNECTING, _H.WELCOME_WS): _S.CONNECTED,
    (_S.CONNECTING, _H.WELCOME_HTTP): _S.FALLBACK,
    (_S.CONNECTING, _H.CUT): _S.RECONNECTING,
    (_S.CONNECTING, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.CONNECTING, _H.RETRY): _S.CONNECTING,
    (_S.CONNECTING, _H.STOP): _S.DISCONNECTED,
    (_S.CONNECTED, _H.WELCOME_WS): _S.CONNECTED,  # a second connection took over
    (_S.CONNECTED, _H.CUT): _S.RECONNECTING,
    (_S.CONNECTED, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.CONNECTED, _H.STOP): _S.DISCONNECTED,
    (_S.RECONNECTING, _H.WELCOME_WS): _S.CONNECTED,
    (_S.RECONNECTING, _H.WELCOME_HTTP): _S.FALLBACK,
    (_S.RECONNECTING, _H.CUT): _S.RECONNECTING,
    (_S.RECONNECTING, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.RECONNECTING, _H.RETRY): _S.CONNECTING,
    (_S.RECONNECTING, _H.STOP): _S.DISCONNECTED,
    (_S.FALLBACK, _H.WELCOME_WS): _S.CONNECTED,
    (_S.FALLBACK, _H.WELCOME_HTTP): _S.FALLBACK,
    (_S.FALLBACK, _H.CUT): _S.RECONNECTING,
    (_S.FALLBACK, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.FALLBACK, _H.STOP): _S.DISCONNECTED,
    # Attempts used up: a slow probe goes on behind the badge, and may succeed.
    (_S.DISCONNECTED, _H.WELCOME_WS): _S.CONNECTED,
    (_S.DISCONNECTED, _H.WELCOME_HTTP): _S.FALLBACK,
    (_S.DISCONNECTED, _H.CUT): _S.RECONNECTING,
    (_S.DISCONNECTED, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.DISCONNECTED, _H.RETRY): _S.CONNECTING,
    (_S.DISCONNECTED, _H.STOP): _S.DISCONNECTED,
}
