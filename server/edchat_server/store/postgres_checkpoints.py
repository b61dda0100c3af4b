"""LangGraph's checkpoints in PostgreSQL, in the transactions of our store."""

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from edchat_server.sql import Connection

from .postgres_links import PostgresConnection, Raw


class PostgresCheckpoints:
    """The tables in PostgreSQL."""

    def rows(self, conn: Connection, serde: SerializerProtocol) -> BaseCheckpointSaver[str]:
        """Return LangGraph's saver on the connection of a transaction."""
        if not isinstance(conn, PostgresConnection):
            raise TypeError("PostgreSQL's checkpoints need a connection of PostgreSQL")
        return PostgresSaver(conn.raw, serde=serde)  # type: ignore[arg-type]

    def prune(self, conn: Connection, thread_id: str) -> None:
        """Delete all checkpoints of a thread but the newest, and the values that only those had."""
        for table in ("checkpoint_writes", "checkpoints"):
            conn.execute(
                f"""DELETE FROM {table} WHERE thread_id = ?1 AND checkpoint_id <> (
                      SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ?1 AND checkpoint_ns = '')""",  # noqa: S608
                (thread_id,),
            )
        conn.execute(
            """DELETE FROM checkpoint_blobs b WHERE thread_id = ?1 AND NOT EXISTS (
                 SELECT 1 FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
                   AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version)""",
            (thread_id,),
        )


def prepare(raw: Raw) -> None:
    """Make LangGraph's tables. Not inside a transaction: it makes indexes concurrently."""
    PostgresSaver(raw).setup()  # type: ignore[arg-type]
