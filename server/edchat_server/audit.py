"""The audit log: one JSON object a line, hashes instead of texts."""

import hashlib
import logging
import uuid
from io import RawIOBase
from pathlib import Path
from typing import Any, Literal

import msgspec

from .store import utc_now

Outcome = Literal["success", "failure", "partial"]

_log = logging.getLogger("edchat.server.audit")


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. `duration_ms` is in milliseconds; the hashes are SHA-256 in hex."""

    timestamp: str
    request_id: str
    actor: str
    tenant_id: str
    tool: str
    action: str
    input_hash: str
    output_hash: str | None
    result: Outcome
    error: str | None
    duration_ms: float | None
    metadata: dict[str, Any]


class AuditLog:
    """Appends to a JSON lines file; None: to nowhere. A full disk costs entries, never a message or a run."""

    def __init__(self, path: Path | None) -> None:
        self._file: RawIOBase | None = None
        self._failing = False
        if path is not None:
            path.touch(mode=0o600, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def write(
        self,
        session: str,
        tool: str,
        action: str,
        *,
        given: str = "",
        output: str | None = None,
        result: Outcome = "success",
        error: str | None = None,
        duration_ms: float | None = None,
        user: str | None = None,
        **metadata: Any,
    ) -> None:
        """Add an entry about `session`; `given` and `output` are kept as hashes only. `user`: by name, if known."""
        if self._file is None:
            return
        line = AuditLine(
            timestamp=utc_now(), request_id=str(uuid.uuid4()), actor=f"ws-{session}", tenant_id="default",
            tool=tool, action=action, input_hash=digest(given),
            output_hash=None if output is None else digest(output),
            result=result, error=error, duration_ms=duration_ms,
            metadata=metadata if user is None else {**metadata, "user": user},
        )
        try:
            # Unbuffered, because a buffer that could not be written would be kept and fail again at `close`.
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError as exc:
            if not self._failing:
                _log.error("the audit log cannot be written, entries are missing from now on: %s", exc)
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
