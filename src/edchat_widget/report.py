"""What `doctor` returns: findings, each with what to mend."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Check", "Report"]

Verdict = Literal["ok", "warn", "fail", "fact"]
_MARKS: dict[Verdict, str] = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL", "fact": "    "}


@dataclass(frozen=True)
class Check:
    """One finding. `verdict`: ``ok``, ``warn`` (it works, not as well as it could), ``fail``, or ``fact``
    (neither good nor bad). `cure` says what to do."""

    name: str
    verdict: Verdict
    text: str
    cure: str | None = None

    def __str__(self) -> str:
        lines = [f"{_MARKS[self.verdict]} {self.name}: {self.text}"]
        if self.cure:
            lines.append(f"       → {self.cure}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """All findings. No token is in it."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing fails."""
        return all(c.verdict != "fail" for c in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {"ok": self.ok, "checks": [asdict(c) for c in self.checks]}

    def __repr__(self) -> str:
        return "\n".join(str(c) for c in self.checks)

    def _repr_markdown_(self) -> str:
        rows = (_row([_WORDS[c.verdict], c.name, " → ".join(t for t in (c.text, c.cure) if t)]) for c in self.checks)
        return "\n".join(["| | | |", "|:--|:--|:--|", *rows])


_WORDS: dict[Verdict, str] = {"ok": "✓", "warn": "⚠ **warning**", "fail": "✗ **fails**", "fact": ""}


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_inert(c) if n else c for n, c in enumerate(cells))} |"


def _inert(text: str) -> str:
    """Return text that stays in its cell, and is no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
