"""The simulation in short: a slice of seeds, and the code broken on purpose."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECONDS = float(os.environ.get("EDCHAT_SIM_SECONDS", "30"))
WITHIN = 200
"""Seeds within which the rig must notice that the code is broken."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a seed is a forked process")


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the simulation's command."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.simulation", *map(str, arguments)],
        cwd=ROOT, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "server")))},
    )


@pytest.mark.timeout(600)
@pytest.mark.fault("F23", "simulation: seeds chosen at random, all kinds of faults")
def test_nothing_is_lost_or_doubled_whatever_breaks(record_property: Callable[[str, object], None]) -> None:
    done = simulate("--seeds", 1_000_000, "--seconds", SECONDS, "--jobs", os.cpu_count() or 1)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    record_property("cases", int(done.stdout.splitlines()[1].split()[0].replace(",", "")))


@pytest.mark.timeout(120)
def test_a_seed_plays_the_same_case_again() -> None:
    one, other = (simulate("--seed", 7, "--messages", 20, "--faults", 100).stdout for _ in range(2))
    assert "trace" in one
    assert one == other


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", [
    "shift_before_ack",
    "drop_oldest",
    "no_dedupe",
    pytest.param("async_durability", marks=pytest.mark.fault("F5", "simulation: durability='async' doubles a story")),
    "no_tool_key",
    "no_fence",
    "reset_on_upgrade",
])
def test_the_code_broken_on_purpose_is_noticed(mutation: str) -> None:
    done = simulate("--seeds", WITHIN, "--base", 0, "--mutation", mutation, "--until-broken", "--jobs", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^seed \d+: I\d:", done.stdout, re.MULTILINE), done.stdout
