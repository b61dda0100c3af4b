"""What it costs before anything is said: import and bundle."""

import gzip
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

BUNDLE = Path(__file__).resolve().parents[2] / "src/edchat_widget/static/widget.js"
HEAVY = ("langgraph", "langchain", "langchain_core", "fastapi", "pandas")


def import_ms(module: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return (time.perf_counter() - start) * 1000


def heavy_modules() -> list[str]:
    """Return which of the modules that only the server needs `import edchat_widget` loads."""
    code = f"import sys, edchat_widget; edchat_widget.Chat; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def measure() -> dict[str, dict[str, float]]:
    ours, bare, nothing = [], [], []
    for _ in range(7):
        nothing.append(import_ms("sys"))
        ours.append(import_ms("edchat_widget"))
        bare.append(import_ms("anywidget"))
    raw = BUNDLE.read_bytes()
    return {
        "import": {"python alone ms": median(nothing), "edchat_widget ms": median(ours), "anywidget ms": median(bare),
                   "edchat_widget / anywidget": median(ours) / median(bare), "heavy modules": len(heavy_modules())},
        "bundle": {"raw KiB": len(raw) / 1024, "gzip KiB": len(gzip.compress(raw)) / 1024},
    }
