"""What holds for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import record
from tests.postgres import Postgres, missing, postgres

# A test that has no server must not start one behind its back. Those about failover ask for it by argument.
os.environ.setdefault("EDCHAT_FAILOVER", "never")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the record of the faults."""
    config.pluginmanager.register(record.plugin(worker=hasattr(config, "workerinput")), "edchat-record")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run browser tests last: while Playwright's synchronous interface is open, no other test can run a loop."""
    items.sort(key=lambda item: "browser" in item.path.parts)
    if "slow" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow")])
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests that want one."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_stores(postgres_server: Postgres) -> Any:
    """The stores in one database of it."""
    from tests.stores import PostgresStores

    return PostgresStores(postgres_server)


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Each kind of store in turn."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_stores")
    from tests.stores import SqliteStores

    return SqliteStores(tmp_path)
