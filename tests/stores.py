"""Both kinds of store, empty, for tests that hold for both."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.postgres import Postgres

from edchat_server.backlog import prepare
from edchat_server.sql import Connection
from edchat_server.store import SqliteStore, Store

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%migrations'"


class Stores(Protocol):
    """One kind of database."""

    async def open(self, *, fresh: bool = True, **options: Any) -> Store:
        """Open a store; `fresh`: an empty one, else the one before."""

    async def orphan(self, store: Store) -> None:
        """Make every run look as if its server had died long ago."""


class SqliteStores:
    def __init__(self, folder: Path) -> None:
        self._names = itertools.count()
        self._folder = folder
        self.path = folder / "none"

    async def open(self, *, fresh: bool = True, **options: Any) -> Store:
        if fresh:
            self.path = self._folder / f"{next(self._names)}.db"
        return await SqliteStore.open(self.path, prepare=[prepare], **options)

    async def orphan(self, store: Store) -> None:
        await store.recover()


class PostgresStores:
    def __init__(self, server: Postgres) -> None:
        self._server = server
        self.name = server.database()
        self._names = itertools.count()

    async def open(self, *, fresh: bool = True, **options: Any) -> Store:
        from edchat_server.store.postgres import PostgresStore

        replica = f"srv_{next(self._names)}"
        store = await PostgresStore.open(self._server.url(self.name), replica=replica, prepare=[prepare], **options)
        if fresh:
            await store.submit(_clear)
        return store

    async def orphan(self, store: Store) -> None:
        await store.submit(lambda conn: conn.execute("UPDATE runs SET lease_until = now() - interval '1 s'"))


def _clear(conn: Connection) -> None:
    tables = ", ".join(name for (name,) in conn.execute(_TABLES))
    conn.execute(f"TRUNCATE {tables} RESTART IDENTITY")


@asynccontextmanager
async def opened(stores: Stores, **options: Any) -> AsyncIterator[Store]:
    store = await stores.open(**options)
    try:
        yield store
    finally:
        await store.close()


def on_store(stores: Stores, test: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Run a test on an empty store."""

    async def main() -> None:
        async with opened(stores, **options) as store:
            await test(store)

    asyncio.run(main())
