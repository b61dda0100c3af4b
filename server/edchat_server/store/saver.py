"""LangGraph's checkpoints in the server's own database, on its one connection, under the run's fence."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from edchat_server import failpoints
from edchat_server.sql import Connection, Dialect

from . import runs
from .base import Fenced, Store

T = TypeVar("T")

RUN_KEY = "edchat_run"
"""In a config's `configurable`, and from there in each checkpoint's metadata: the run that wrote it."""

FENCE_KEY = "edchat_fence"
"""In a config's `configurable`: the fence of the attempt."""


class Checkpoints(Protocol):
    """LangGraph's tables in one kind of database."""

    def rows(self, conn: Connection, serde: SerializerProtocol) -> BaseCheckpointSaver[str]:
        """Return LangGraph's saver for the transaction of `conn`; it neither begins nor ends one."""

    def prune(self, conn: Connection, thread_id: str) -> None:
        """Delete all checkpoints of a thread but the newest.

        Each holds the whole conversation, so that keeping them all would grow with its square.
        """


class SqliteCheckpoints:
    """The tables in SQLite."""

    def prepare(self, conn: Connection, dialect: Dialect) -> None:  # noqa: ARG002 - there is only one here
        """Make the tables that are not there yet."""
        SqliteSaver(_raw(conn)).setup()

    def rows(self, conn: Connection, serde: SerializerProtocol) -> BaseCheckpointSaver[str]:
        """Return LangGraph's saver on the store's connection."""
        rows = SqliteSaver(_raw(conn), serde=serde)
        rows.is_setup = True
        return rows

    def prune(self, conn: Connection, thread_id: str) -> None:
        """Delete all checkpoints of a thread but the newest."""
        for table in ("writes", "checkpoints"):
            conn.execute(
                f"""DELETE FROM {table} WHERE thread_id = ?1 AND checkpoint_id <> (
                      SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?1 AND checkpoint_ns = '')""",  # noqa: S608
                (thread_id,),
            )


def _raw(conn: Connection) -> sqlite3.Connection:
    if not isinstance(conn, sqlite3.Connection):
        raise TypeError("SQLite's checkpoints need a connection of SQLite")
    return conn


class FencedSaver(BaseCheckpointSaver[str]):
    """A checkpointer whose writes stop when the run has a newer owner; LangGraph alone would let both write.

    Async only. A write raises `Fenced` unless the config carries the run and its current fence.
    """

    def __init__(self, store: Store) -> None:
        # An explicit list: nothing but LangChain's own messages is ever rebuilt from the database.
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._store = store

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the newest checkpoint of a thread, or the one that `config` names."""
        return await self._store.read(lambda conn: self._rows(conn).get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the base class's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first."""
        found = await self._store.read(
            lambda conn: list(self._rows(conn).list(config, filter=filter, before=before, limit=limit))
        )
        for item in found:
            yield item

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint. Raises `Fenced`."""
        return await self._fenced(
            config, lambda rows: rows.put(config, checkpoint, metadata, new_versions), gets_on=True
        )

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what a task wrote before its superstep is complete. Raises `Fenced`."""
        await self._fenced(config, lambda rows: rows.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread."""
        await self._store.submit(lambda conn: self._rows(conn).delete_thread(thread_id))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the next version of a channel."""
        return SqliteSaver.get_next_version(self, current, channel)  # type: ignore[arg-type]

    async def _fenced(
        self, config: RunnableConfig, write: Callable[[BaseCheckpointSaver[str]], T], *, gets_on: bool = False
    ) -> T:
        run = config["configurable"].get(RUN_KEY)
        fence = config["configurable"].get(FENCE_KEY)
        if run is None or fence is None:
            raise Fenced("a checkpoint without a run")

        def work(conn: Connection) -> T:
            if gets_on:
                runs.gets_on(conn, run)
            return write(self._rows(conn))

        result = await self._store.fenced(
            work,
            session=config["configurable"]["thread_id"], run=run, fence=fence,
        )
        failpoints.reach("checkpoint_committed")
        return result

    def _rows(self, conn: Connection) -> BaseCheckpointSaver[str]:
        return self._store.checkpoints.rows(conn, self.serde)
