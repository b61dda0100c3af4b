"""The state of the connection: one table of what may follow what, and the deadlines.

Time comes in as `now`, in seconds of a clock that never goes back; randomness as `jitter`, a source of
numbers from 0 to 1.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal

import msgspec

from edchat_widget.errors import (
    ConnectError,
    ConnectionLost,
    EdChatError,
    Refused,
    ServerStartError,
    SettingsError,
)
from edchat_widget.view import ConnectionView

from . import backoff

Carrier = Literal["ws", "http"]


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
    (_S.CONNECTED, _H.CUT): _S.RECONNECTING,
    (_S.CONNECTED, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.CONNECTED, _H.STOP): _S.DISCONNECTED,
    (_S.RECONNECTING, _H.WELCOME_WS): _S.CONNECTED,
    (_S.RECONNECTING, _H.WELCOME_HTTP): _S.FALLBACK,
    (_S.RECONNECTING, _H.CUT): _S.RECONNECTING,
    (_S.RECONNECTING, _H.GIVE_UP): _S.DISCONNECTED,
    (_S.RECONNECTING, _H.RETRY): _S.CONNECTING,
    (_S.RECONNECTING, _H.STOP): _S.DISCONNECTED,
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

GREETING_TIMEOUT = 5.0
STABLE_AFTER = 10.0
EARLY_CUT = 2.0
PONG_TIMEOUT = 10.0
PONG_TIMEOUT_V1 = 35.0  # the origin's server cannot answer while its agent works
WAKE_TIMEOUT = 3.0
PROBE_EVERY = 60.0
_FATAL_CLOSE = {1002, 1003, 1007, 1008, 4409, 4500, 4501, 4502, 4503, 4504}
_NO_UPGRADE = {400, 404, 405, 426}
_OVERLOADED = 1013

Due = Literal["open", "ping", "dead"]
_Timer = Literal["open", "greeting", "ping", "pong", "stable"]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long. Seconds."""

    max_attempts: int = 10
    interval: float = 1.0
    heartbeat: float = 15.0
    websocket: bool = True


class Connection:
    """Decides when to open, ping and give up. It opens nothing itself: `tick` says what is due."""

    def __init__(self, policy: Policy, jitter: Callable[[], float], *, server: str | None = None) -> None:
        self.state = State.CONNECTING
        self.carrier: Carrier | None = None
        self.attempt = 0
        self.final = False  # given up for good: only a person begins again
        self._policy = policy
        self._jitter = jitter
        self._server = server
        self._timers: dict[_Timer, float] = {}
        self._trying = False  # an attempt is under way
        self._welcomed = False
        self._opened_at: float | None = None
        self._use_http = not policy.websocket
        self._early_cuts = 0
        self._last_resort = False
        self._return_at: float | None = None
        self._heartbeat = policy.heartbeat
        self._pong_timeout = PONG_TIMEOUT
        self._pinged: tuple[int, float] | None = None
        self._pings = 0
        self._latency: float | None = None
        self._delay: float | None = None
        self._reason: str | None = None
        self._hint: str | None = None
        self._guaranteed = True

    @property
    def live(self) -> bool:
        """Whether the peer has greeted us and the connection stands."""
        return self._welcomed

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do next; None: not by itself."""
        return min(self._timers.values(), default=None)

    @property
    def policy(self) -> Policy:
        """How often and how long."""
        return self._policy

    @property
    def next_carrier(self) -> Carrier:
        """What the next attempt is to use."""
        return "http" if self._use_http else "ws"

    @property
    def view(self) -> ConnectionView:
        """The badge."""
        return ConnectionView(
            state=self.state.value, carrier=self.carrier if self._welcomed else None,
            latency_ms=self._latency if self._welcomed else None,
            attempt=self.attempt if self.state is State.RECONNECTING else 0,
            max_attempts=self._policy.max_attempts,
            retry_in_ms=round(self._delay * 1000, 1) if self._delay is not None else None,
            reason=self._reason, hint=self._hint, server=self._server, guaranteed=self._guaranteed,
        )

    # --------------------------------------------------------------------------------------------- inputs

    def configure(self, policy: Policy) -> None:
        """Go on under another policy, from the next decision on."""
        if policy.websocket != self._policy.websocket:
            self._use_http = not policy.websocket
        self._policy = policy

    def start(self, now: float) -> None:
        """Make the first attempt due."""
        self._timers["open"] = now

    def opened(self, carrier: Carrier, now: float) -> None:
        """A socket stands; the peer must greet soon."""
        self.carrier = carrier
        self._opened_at = now
        self._timers["greeting"] = now + GREETING_TIMEOUT

    def welcomed(self, now: float, *, heartbeat: float | None = None, guaranteed: bool = True) -> None:
        """The peer greeted us."""
        self._move(Happening.WELCOME_HTTP if self.carrier == "http" else Happening.WELCOME_WS)
        self._welcomed, self.final = True, False
        self._guaranteed = guaranteed
        self._reason = self._hint = self._delay = None
        self._early_cuts = 0
        self._heartbeat = min(heartbeat, self._policy.heartbeat) if heartbeat else self._policy.heartbeat
        self._pong_timeout = PONG_TIMEOUT if guaranteed else PONG_TIMEOUT_V1
        # At once, for the badge shows the latency; the rhythm after it starts at a random phase.
        self._trying = False
        self._timers = {"ping": now, "stable": now + STABLE_AFTER}

    def heard(self) -> None:
        """Any frame came: the peer lives."""
        self._timers.pop("pong", None)

    def pong(self, nonce: object, now: float) -> float | None:
        """A pong came; return the round trip in ms, if it answers the last ping. `nonce` is what it brought
        back; the origin's brings nothing."""
        if self._pinged is None or nonce not in (self._pinged[0], None):
            return None
        self._latency = round((now - self._pinged[1]) * 1000, 1)
        self._pinged = None
        return self._latency

    def goaway(self, retry_after: float) -> None:
        """The server is about to close and says when to come back, in seconds from the close."""
        self._return_at = retry_after

    def lost(self, error: EdChatError, now: float) -> None:
        """The connection or the attempt failed."""
        code = error.close_code if isinstance(error, ConnectionLost) else None
        status = error.status if isinstance(error, ConnectError) else None
        early = self._opened_at is not None and not self._welcomed and now - self._opened_at < EARLY_CUT
        carrier = "http" if self._use_http else "ws"
        self._fall(error)
        if _is_final(error, code):
            self.final = True
            self._move(Happening.GIVE_UP)
            return
        at_once = carrier == "ws" and status in _NO_UPGRADE
        if early and carrier == "ws":
            self._early_cuts += 1
        self._use_http = not self._policy.websocket or at_once or self._early_cuts >= 2
        if self._use_http:
            self._early_cuts = 0
        if self.state is State.DISCONNECTED:
            self._give_up(now)
            return
        if not at_once:
            self.attempt += 2 if code == _OVERLOADED else 1
        if self.attempt > self._policy.max_attempts:
            if self._last_resort or carrier == "http":
                self._give_up(now)
                return
            self._last_resort = self._use_http = at_once = True
        self._move(Happening.CUT)
        asked = getattr(error, "retry_after", None) or self._return_at or 0.0
        self._return_at = None
        self._delay = 0.0 if at_once else backoff.delay(
            self.attempt, self._jitter(), interval=self._policy.interval, at_least=asked)
        self._timers["open"] = now + self._delay

    def retry(self, now: float) -> None:
        """A person asks to connect now."""
        if self._welcomed or (self.state is State.CONNECTING and self._trying):
            return
        self._begin_again()
        if not self._trying:
            self._timers["open"] = now

    def wake(self, now: float) -> None:
        """The machine was asleep: what stood may be dead, and waiting is over."""
        if self._welcomed:
            self.attempt = 0
            self._timers["ping"] = now
            self._timers["pong"] = now + WAKE_TIMEOUT
        elif not self.final and not self._trying:
            self._begin_again()
            self._timers["open"] = now

    def again(self, now: float) -> None:
        """Open anew on this side's own wish: at once, but a server that brings it about again and again
        is met like one that fails."""
        self._drop()
        self._move(Happening.CUT)
        self.attempt += 1
        self._delay = 0.0 if self.attempt == 1 else backoff.delay(
            self.attempt, self._jitter(), interval=self._policy.interval)
        self._timers["open"] = now + self._delay

    def reopen(self, now: float) -> None:
        """Leave what stands or is under way, and begin to connect as if for the first time."""
        self._drop()
        self._move(Happening.CUT)
        self._begin_again()
        self._timers["open"] = now

    def stop(self) -> None:
        """Close for good."""
        self._drop()
        self._move(Happening.STOP)
        self.final = True
        self._reason = "Closed."

    def tick(self, now: float) -> list[Due]:
        """Return what is due."""
        due: list[Due] = []
        for name in [n for n, at in self._timers.items() if at <= now]:
            del self._timers[name]
            match name:
                case "open":
                    due.append("open")
                    self._trying = True
                    self._delay = None
                case "ping":
                    due.append("ping")
                case "greeting" | "pong":
                    due.append("dead")
                case "stable":
                    self.attempt = 0
                    self._last_resort = False
        return due

    def ping(self, now: float) -> int:
        """Note that a ping goes out; return its nonce."""
        self._pings += 1
        phase = 1.0 if self._pings > 1 else 0.5 + 0.5 * self._jitter()
        self._pinged = (self._pings, now)
        self._timers["ping"] = now + self._heartbeat * phase
        self._timers.setdefault("pong", now + self._pong_timeout)
        return self._pings

    # ------------------------------------------------------------------------------------------- internals

    def _begin_again(self) -> None:
        self.attempt = 0
        self.final = self._last_resort = False
        self._use_http = not self._policy.websocket
        self._reason = self._hint = self._delay = None
        self._move(Happening.RETRY)

    def _fall(self, error: EdChatError) -> None:
        self._drop()
        self._reason, self._hint = error.reason, error.hint

    def _drop(self) -> None:
        self._trying = self._welcomed = False
        self._opened_at = None
        self._latency = None
        self._pinged = None
        self._timers.clear()

    def _give_up(self, now: float) -> None:
        self._move(Happening.GIVE_UP)
        self._delay = None
        self._use_http = not self._policy.websocket
        self._hint = "The messages in the queue are kept. Retry when the server is back."
        self._timers["open"] = now + PROBE_EVERY * (0.5 + self._jitter())

    def _move(self, happening: Happening) -> None:
        self.state = TRANSITIONS[self.state, happening]


def _is_final(error: EdChatError, code: int | None) -> bool:
    return isinstance(error, Refused | ServerStartError | SettingsError) or code in _FATAL_CLOSE
