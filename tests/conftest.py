"""What holds for all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run browser tests last: while Playwright's synchronous interface is open, no other test can run a loop."""
    items.sort(key=lambda item: "browser" in item.path.parts)
