"""The audit log: one JSON object a line, hashes instead of texts."""

import hashlib
import uuid
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from .store.sqlite import utc_now

Outcome = Literal["success", "failure", "partial"]


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
    """Appends to a JSON lines file; None: to nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            path.touch(mode=0o600, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)

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
        **metadata: Any,
    ) -> None:
        """Add an entry about `session`; `given` and `output` are kept as hashes only."""
        if self._file is None:
            return
        line = AuditLine(
            timestamp=utc_now(), request_id=str(uuid.uuid4()), actor=f"ws-{session}", tenant_id="default",
            tool=tool, action=action, input_hash=digest(given),
            output_hash=None if output is None else digest(output),
            result=result, error=error, duration_ms=duration_ms, metadata=metadata,
        )
        self._file.write(msgspec.json.encode(line).decode() + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
