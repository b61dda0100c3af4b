"""Who is at the other end: the tokens that let people in, and the one-use tickets that stand for one.

A token is kept as its SHA-256. It is random and long, so that a fast hash gives nothing away.
"""

import hashlib
import hmac
import logging
import secrets
import stat
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from .settings import SettingsError

_log = logging.getLogger("edchat.server.auth")

Role = Literal["write", "read"]
LOOK_SECONDS = 1.0
WARN_SECONDS = 60.0


class TokensFileError(SettingsError):
    """The tokens file cannot be used. The text says why and what to do; it has nothing secret."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who speaks. `name` None: the operator, whose token is the server's own, or who needs none.

    `digest` is the token's; `expires` is in seconds since 1970.
    """

    name: str | None = None
    role: Role = "write"
    expires: float | None = None
    digest: str = ""


OPERATOR = Identity()


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sha256: str
    expires: datetime | None = None
    role: Role = "write"

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef"):
            raise ValueError("sha256: takes 64 hexadecimal digits in small letters")
        if self.expires is not None and self.expires.tzinfo is None:
            raise ValueError("expires: takes a time with its offset, like 2026-12-31T00:00:00Z")

    @property
    def identity(self) -> Identity:
        expires = None if self.expires is None else self.expires.timestamp()
        return Identity(name=self.name, role=self.role, expires=expires, digest=self.sha256)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    token: list[_Entry] = []


def check_name(name: str) -> str:
    """Return the name. Raises `ValueError` where it is none."""
    if 1 <= len(name) <= 64 and name.isprintable() and name == name.strip() and name != "everyone":
        return name
    raise ValueError("name: takes 1 to 64 printable characters, and not 'everyone'")


class Tokens:
    """The server's own token, and those of a file, which is read again when it changes.

    `clock` gives the seconds since 1970. A file that is broken later leaves what was read before; one that is
    gone lets nobody in.

    Raises:
        TokensFileError: the file cannot be used.
    """

    def __init__(self, own: str | None, file: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._own = None if own is None else digest_of(own)
        self._file = file
        self._clock = clock
        self._entries: tuple[Identity, ...] = ()
        self._mark: tuple[int, int, int] | None = None
        self._looked = clock()
        if file is not None:
            self._mark = _mark(file)
            self._entries = read_tokens(file)

    @property
    def required(self) -> bool:
        """Whether anybody needs a token."""
        return self._own is not None or self._file is not None

    def find(self, token: str) -> Identity | None:
        """Return whose token it is; None: nobody's, or it has expired."""
        self._look()
        given, found = digest_of(token), None
        # All are compared, so that the time taken tells nothing.
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, given):
                found = entry
        if self._own is not None and hmac.compare_digest(self._own, given):
            found = Identity(digest=self._own)
        return found if found is not None and self.seconds_left(found) > 0 else None

    def seconds_left(self, who: Identity) -> float:
        """Return for how long somebody who was let in may stay: 0.0 when the token was removed or has expired."""
        if who.name is None:
            return float("inf")
        self._look()
        # Its time may have been changed since; whom it lets in, and what they may do, must be the same.
        now = next((e for e in self._entries if (e.digest, e.name, e.role) == (who.digest, who.name, who.role)), None)
        if now is None:
            return 0.0
        return float("inf") if now.expires is None else max(0.0, now.expires - self._clock())

    def _look(self) -> None:
        now = self._clock()
        if self._file is None or 0 <= now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        mark = _mark(self._file)
        if mark == self._mark:
            return
        self._mark = mark
        if mark is None:
            _log.error("the tokens file %s is gone: its tokens let nobody in any more", self._file)
            self._entries = ()
            return
        try:
            self._entries = read_tokens(self._file)
        except TokensFileError as exc:
            _log.error("%s; the tokens that were read before stay as they are", exc)
        else:
            _log.info("read %d token(s) from %s", len(self._entries), self._file)


class Standing:
    """Watches over the right of one connection to go on."""

    def __init__(self, tokens: Tokens, who: Identity) -> None:
        self._tokens = tokens
        self._who = who
        self._warned = False

    def look(self) -> Literal["gone", "expiring"] | None:
        """Return "gone" when the token lets nobody in any more, "expiring" once when it soon will not."""
        left = self._tokens.seconds_left(self._who)
        if left <= 0:
            return "gone"
        if left <= WARN_SECONDS and not self._warned:
            self._warned = True
            return "expiring"
        return None


class Tickets:
    """One-use stand-ins for a token, for browsers, which cannot send one with a WebSocket's request."""

    SECONDS = 30
    LIMIT = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, tuple[Identity, float]] = {}

    def issue(self, who: Identity) -> str:
        """Return a ticket for somebody."""
        now = self._clock()
        # In order of their making, so that those that have expired come first.
        for key in [key for key, (_, until) in self._open.items() if until <= now]:
            del self._open[key]
        while len(self._open) >= self.LIMIT:
            del self._open[next(iter(self._open))]
        ticket = secrets.token_urlsafe(32)
        self._open[digest_of(ticket)] = (who, now + self.SECONDS)
        return ticket

    def redeem(self, ticket: str) -> Identity | None:
        """Return whose ticket it is, once; None: it was used, is too old, or never was one."""
        who, until = self._open.pop(digest_of(ticket), (None, 0.0))
        return who if until > self._clock() else None


def digest_of(token: str) -> str:
    """Return a token's SHA-256, in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_tokens(file: Path) -> tuple[Identity, ...]:
    """Return the entries of a tokens file. Raises `TokensFileError`."""
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise TokensFileError(f"the tokens file {file} can be read by others: chmod 600 {file}")
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise TokensFileError(
            f"the tokens file {file} cannot be read: {exc.strerror}; `edchat token add NAME` makes one"
        ) from None
    try:
        return tuple(entry.identity for entry in msgspec.convert(tomllib.loads(text), _File).token)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeError) as exc:
        raise TokensFileError(f"the tokens file {file} cannot be understood: {exc}") from None


def add_token(file: Path, name: str, *, expires: datetime | None = None, role: Role = "write") -> str:
    """Make a token, add its hash to the file, and return it. It cannot be had again.

    Raises:
        TokensFileError: the file cannot be used; nothing was added.
        ValueError: `name` is none.
    """
    check_name(name)
    if file.exists():
        read_tokens(file)
    token = secrets.token_urlsafe(32)
    lines = ["[[token]]", f"name = {_toml(name)}", f'sha256 = "{digest_of(token)}"', f'role = "{role}"']
    if expires is not None:
        lines.append(f"expires = {expires.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        with file.open("a", encoding="utf-8") as out:
            # Whoever edited the file may have left its last line without an end.
            out.write(("\n" if out.tell() else "") + "\n".join(lines) + "\n")
    except OSError as exc:
        raise TokensFileError(f"the tokens file {file} cannot be written: {exc.strerror}") from None
    return token


def _toml(text: str) -> str:
    # A basic string of TOML is a string of JSON.
    return msgspec.json.encode(text).decode()


def _mark(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
