"""The connection: what is due when, and what its end means.

Time comes in as `now`, in seconds of a clock that never goes back; randomness as `jitter`, a source of
numbers from 0 to 1.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from edchat_widget.errors import (
    ConnectionLost,
    EdChatError,
    Refused,
    ServerStartError,
    SettingsError,
    TransportError,
)
from edchat_widget.view import ConnectionView

from . import backoff
from .carriers import Carrier, CarrierChoice, Way
from .states import TRANSITIONS, Happening, State

GREETING_TIMEOUT = 5.0
STABLE_AFTER = 10.0
PONG_TIMEOUT = 10.0
PONG_TIMEOUT_V1 = 35.0  # the origin's server cannot answer while its agent works
WAKE_TIMEOUT = 3.0
PROBE_EVERY = 60.0
ROTATE_AFTER = 540.0  # before the server ends a stream for its age
_ROTATE_AGAIN = 10.0
_OVERSLEPT = 5.0
MOST_ASKED = 120.0  # a server may keep us away for longer only by asking again
_FATAL_CLOSE = {1002, 1003, 1007, 1008, 4500, 4502, 4503, 4504}
_FATAL_SECOND_TIME = {4400, 4408, 4409}
_TOKEN_EXPIRED = 4501
_OVERLOADED = 1013
TOO_LARGE = 1009

Due = Literal["open", "ping", "dead", "look", "rotate"]
_Timer = Literal["open", "greeting", "ping", "pong", "stable", "look", "rotate"]


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
        self.way: Way | None = None
        self.attempt = 0
        self.final = False  # given up for good: only a person begins again
        self.renew = False  # the next attempt is to be made with a token read anew
        self._policy = policy
        self._jitter = jitter
        self._server = server
        self._timers: dict[_Timer, float] = {}
        self._choice = CarrierChoice(websocket=policy.websocket)
        self._brake = backoff.Brake()
        self._trying = False  # an attempt is under way
        self._opened = False
        self._welcomed = False
        self.held = False  # what stood is gone, and another is about to take its place
        self._stable = False
        self._shaky = False  # this WebSocket took over from HTTP a short while ago
        self._last_resort = False
        self._struck = False  # closed with a code that is final when it comes again
        self._renewed = False  # the token was read anew
        self._woken = False
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
        return self._choice.next

    @property
    def view(self) -> ConnectionView:
        """The badge."""
        shown = self._welcomed or self.held
        return ConnectionView(
            state=self.state.value, carrier=self.way if shown else None,
            latency_ms=self._latency if shown else None,
            attempt=self.attempt if self.state is State.RECONNECTING else 0,
            max_attempts=self._policy.max_attempts,
            retry_in_ms=round(self._delay * 1000, 1) if self._delay is not None else None,
            reason=self._reason, hint=self._hint, server=self._server, guaranteed=self._guaranteed,
        )

    # --------------------------------------------------------------------------------------------- inputs

    def configure(self, policy: Policy) -> None:
        """Go on under another policy, from the next decision on."""
        self._choice.allow(websocket=policy.websocket)
        self._policy = policy

    def start(self, now: float) -> None:
        """Make the first attempt due."""
        self._open_at(now)

    def opened(self, way: Way, now: float) -> None:
        """A connection stands; the peer must greet soon."""
        self.way = way
        self._opened, self._shaky = True, False
        self._timers["greeting"] = now + GREETING_TIMEOUT

    def taken_over(self, way: Way) -> None:
        """A second connection is greeted and takes the place of the one before; `welcomed` follows."""
        self._shaky = way == "ws" and self.way != "ws"
        self.way = way
        self._opened = True

    def welcomed(self, now: float, *, heartbeat: float | None = None, guaranteed: bool = True) -> None:
        """The peer greeted us."""
        carrier: Carrier = "ws" if self.way == "ws" else "http"
        self._move(Happening.WELCOME_WS if carrier == "ws" else Happening.WELCOME_HTTP)
        self._choice.welcomed(carrier)
        self._welcomed, self.final = True, False
        self.held = self._trying = self._woken = self._stable = False
        self._guaranteed = guaranteed
        self._reason = self._hint = self._delay = None
        self._return_at = None
        self._heartbeat = min(heartbeat, self._policy.heartbeat) if heartbeat else self._policy.heartbeat
        self._pong_timeout = PONG_TIMEOUT if guaranteed else PONG_TIMEOUT_V1
        # At once, for the badge shows the latency; the rhythm after it starts at a random phase.
        self._timers = {"ping": now, "stable": now + STABLE_AFTER}
        if self.way == "http" and guaranteed:
            self._timers["rotate"] = now + ROTATE_AFTER
        self._look_later(now)

    def heard(self) -> None:
        """Any frame came: the peer lives."""
        # After a sleep it may be one that had come before it; only a pong is proof, where pongs are prompt.
        if not (self._woken and self._guaranteed):
            self._timers.pop("pong", None)

    def pong(self, nonce: object, now: float) -> float | None:
        """A pong came; return the round trip in ms, if it answers the last ping. `nonce` is what it brought
        back; the origin's brings nothing."""
        if self._pinged is None or nonce not in (self._pinged[0], None):
            return None
        self._latency = round((now - self._pinged[1]) * 1000, 1)
        self._pinged = None
        self._woken = False
        self._timers.pop("pong", None)
        return self._latency

    def goaway(self, retry_after: float) -> None:
        """The server is about to close and says when to come back, in seconds from the close."""
        self._return_at = retry_after

    def bereft(self) -> None:
        """What stood is gone, but another connection waits for its greeting: show nothing of it yet."""
        self.held = True
        self._drop()

    def lost(self, error: EdChatError, now: float) -> None:
        """The connection or the attempt failed."""
        code = error.close_code if isinstance(error, ConnectionLost) else None
        http = self._choice.next == "http"
        at_once = self._choice.left(
            error, opened=self._opened, welcomed=self._welcomed or self.held,
            shaky=self._shaky and not self._stable)
        self._drop()
        self.held = False
        self._reason, self._hint = error.reason, error.hint
        renewing = self._may_renew(error, code)
        if not renewing and self._is_final(error, code):
            self.final = True
            self._move(Happening.GIVE_UP)
            return
        if self.state is State.DISCONNECTED:
            # The slow probe behind the badge; it, too, tries whatever may get through.
            if at_once:
                self._delay_next(now, 0.0, at_once=True)
            else:
                self._give_up(now)
            return
        if not at_once:
            self.attempt += 2 if code == _OVERLOADED else 1
        if self.attempt > self._policy.max_attempts:
            if self._last_resort or http:
                self._give_up(now)
                return
            self._last_resort = at_once = True
            self._choice.last_resort()
        self._move(Happening.CUT)
        self._delay_next(now, self._asked(error), at_once=at_once or renewing)

    def retry(self, now: float) -> None:
        """A person asks to connect now."""
        if self._welcomed:
            if "look" in self._timers:
                self._timers["look"] = self._brake.earliest(now)
            return
        if self.held or (self.state is State.CONNECTING and self._trying):
            return
        self._begin_again()
        if not self._trying:
            self._open_at(now)

    def wake(self, now: float) -> None:
        """The machine was asleep: what stood may be dead, and waiting is over."""
        self.attempt = 0
        if self._welcomed:
            self._woken = True
            self._timers["ping"] = now
            self._timers["pong"] = now + WAKE_TIMEOUT
            if "look" in self._timers:
                self._timers["look"] = self._brake.earliest(now)
        elif not self.final and not self._trying and not self.held:
            self._begin_again()
            self._open_at(now)

    def again(self, now: float) -> None:
        """Open anew on this side's own wish: at once, but a server that brings it about again and again
        is met like one that fails."""
        self.held = False
        self._drop()
        self._move(Happening.CUT)
        self.attempt += 1
        self._delay_next(now, 0.0, at_once=self.attempt == 1)

    def reopen(self, now: float) -> None:
        """Leave what stands or is under way, and begin to connect as if for the first time."""
        self.held = False
        self._drop()
        self._move(Happening.CUT)
        self._begin_again()
        self._open_at(now)

    def stop(self) -> None:
        """Close for good."""
        self._drop()
        self.held = False
        self._move(Happening.STOP)
        self.final = True
        self._reason, self._hint = "This chat is closed.", "Run its cell again."

    def looked(self, now: float) -> None:
        """The second connection came to nothing, or had to wait for another: try again later."""
        if self._welcomed:
            self._look_later(now)
            if self.way == "http" and self._guaranteed:
                self._timers.setdefault("rotate", now + _ROTATE_AGAIN)

    def opening(self, now: float) -> None:
        """A connection is opened beside the one that stands."""
        self._brake.note(now)

    def tick(self, now: float) -> list[Due]:
        """Return what is due."""
        if any(at + _OVERSLEPT <= now for at in self._timers.values()):
            # This side stood still: what is overdue says nothing about the server.
            self._timers.pop("pong", None)
            self.wake(now)
        due: list[Due] = []
        for name in [n for n, at in self._timers.items() if at <= now]:
            del self._timers[name]
            match name:
                case "open":
                    due.append("open")
                    self._brake.note(now)
                    self._trying = True
                    self._delay = None
                case "ping" | "look" | "rotate":
                    due.append(name)
                case "greeting" | "pong":
                    due.append("dead")
                case "stable":
                    self.attempt = 0
                    self._stable = True
                    self._last_resort = self._struck = self._renewed = False
                    self._choice.stood()
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

    def _open_at(self, when: float) -> None:
        self._timers["open"] = self._brake.earliest(when)

    def _delay_next(self, now: float, asked: float, *, at_once: bool) -> None:
        wait = asked if at_once else backoff.delay(
            self.attempt, self._jitter(), interval=self._policy.interval, at_least=asked)
        self._open_at(now + wait)
        self._delay = self._timers["open"] - now

    def _look_later(self, now: float) -> None:
        if self.way != "ws" and self._policy.websocket:
            self._timers["look"] = self._brake.earliest(now + self._choice.look_after(self._jitter()))

    def _asked(self, error: EdChatError) -> float:
        named = error.retry_after if isinstance(error, TransportError) else None
        asked, self._return_at = named or self._return_at or 0.0, None
        return min(asked, MOST_ASKED)

    def _may_renew(self, error: EdChatError, code: int | None) -> bool:
        expired = code == _TOKEN_EXPIRED or (isinstance(error, Refused) and error.code == "unauthorized")
        if not expired or self._renewed:
            return False
        self._renewed = self.renew = True
        return True

    def _is_final(self, error: EdChatError, code: int | None) -> bool:
        if code in _FATAL_SECOND_TIME:
            again, self._struck = self._struck, True
            return again
        return (
            isinstance(error, Refused | ServerStartError | SettingsError)
            or code in _FATAL_CLOSE or code == _TOKEN_EXPIRED
        )

    def _begin_again(self) -> None:
        self.attempt = 0
        self.final = self._last_resort = self._struck = self._renewed = False
        self._choice.begin_again()
        self._reason = self._hint = self._delay = None
        self._move(Happening.RETRY)

    def _drop(self) -> None:
        self._trying = self._welcomed = self._opened = self._woken = self.renew = False
        self._pinged = None
        if not self.held:
            self._latency = None
        self._timers.clear()

    def _give_up(self, now: float) -> None:
        self._move(Happening.GIVE_UP)
        self._delay = None
        self._choice.begin_again()
        self._hint = "The messages in the queue are kept. Retry when the server is back."
        self._open_at(now + PROBE_EVERY * (0.5 + self._jitter()))

    def _move(self, happening: Happening) -> None:
        self.state = TRANSITIONS[self.state, happening]
