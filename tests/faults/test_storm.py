"""The server dies under a crowd: everybody comes back, spread out, and what was said meanwhile is done once."""

import asyncio
from pathlib import Path

import pytest
from tests.faults.storm import storm

SMALL = 60


@pytest.mark.fault("F24", f"the server is killed under {SMALL} clients and started again")
def test_a_crowd_comes_back_spread_out_when_the_server_is_killed(tmp_path: Path) -> None:
    seen = asyncio.run(storm(tmp_path, SMALL))
    assert len(seen.back_after_start) == SMALL
    assert seen.spread >= 0.5, "they came back as one"
    assert seen.stories == seen.wanted


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("polite", [False, True], ids=["killed", "stopped"])
@pytest.mark.fault("F24", "500 clients; all but 5 in 100 are back 8 s after the server is")
def test_five_hundred_come_back_within_seconds(tmp_path: Path, polite: bool) -> None:
    seen = asyncio.run(storm(tmp_path, 500, polite=polite))
    assert seen.spread >= 2.5
    assert seen.quantile(0.95) <= 8
    assert seen.longest_busy <= 5
    assert seen.stories == seen.wanted
