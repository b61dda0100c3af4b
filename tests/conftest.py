"""What holds for all tests."""

import os

import pytest

# A test that has no server must not start one behind its back. Those about failover ask for it by argument.
os.environ.setdefault("EDCHAT_FAILOVER", "never")
from tests import record


def pytest_configure(config: pytest.Config) -> None:
    """Keep the record of the faults."""
    config.pluginmanager.register(record.plugin(), "edchat-record")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run browser tests last: while Playwright's synchronous interface is open, no other test can run a loop."""
    items.sort(key=lambda item: "browser" in item.path.parts)
    if "slow" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow")])
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
