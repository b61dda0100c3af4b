"""The first figures: `python3 run.py bench [--full] [--json FILE]`.

Milliseconds depend on the machine; ratios less so.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from tests.bench import cold, screen, wire


def main() -> None:
    options = argparse.ArgumentParser(prog="run.py bench")
    options.add_argument("--full", action="store_true", help="more repetitions")
    options.add_argument("--json", type=Path, help="write the figures to this file too")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="edchat-bench-") as name:
        folder = Path(name)
        figures = {**cold.measure(), **wire.measure(folder, quick=not chosen.full),
                   **screen.measure(folder, quick=not chosen.full)}
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | figure | |\n|---|---|---|")
    for what, values in figures.items():
        for label, value in values.items():
            print(f"| {what} | {label} | {value:,.2f} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
