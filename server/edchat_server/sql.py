"""What our SQL runs on: the few calls that both databases answer alike, and the words in which they differ.

SQL outside of `store/postgres*` is written once, for SQLite and PostgreSQL 16 alike: placeholders are
``?`` or ``?1``, upserts name their table in front of the old column, and nothing casts by itself. Where two
transactions of one session could meet, the locks of `Store.submit` keep them apart; statements need no
locking clause of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement found; each row is a tuple."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement changed."""

    def fetchone(self) -> Any:
        """Return the next row; None: there is none."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection inside a transaction that somebody else began, and ends. `sqlite3.Connection` is one."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Rows:
        """Run one statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """Run one statement for each of the parameters."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The words of a ``CREATE TABLE`` that differ.

    `counter`: a primary key that counts up. `by_key`: appended to tables that are only read by their key.
    `bytewise`: how a text column sorts by code points. `field`: a column's text field `{name}` out of JSON.
    `columns`: finds the columns of a table.
    """

    blob: str
    counter: str
    by_key: str
    bytewise: str
    field: str
    columns: str

    def json_field(self, column: str, name: str) -> str:
        """Return the definition of a generated column: a text field of the JSON in another column."""
        return f"TEXT GENERATED ALWAYS AS {self.field.format(column=column, name=name)}"


SQLITE = Dialect(
    blob="BLOB",
    counter="INTEGER PRIMARY KEY AUTOINCREMENT",
    by_key="WITHOUT ROWID",
    bytewise="",
    field="(json_extract({column}, '$.{name}')) VIRTUAL",
    columns="SELECT name FROM pragma_table_info(?)",
)

POSTGRES = Dialect(
    blob="BYTEA",
    counter="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    by_key="",
    bytewise='COLLATE "C"',
    # `json`, as `jsonb` refuses the whole text if any field of it has an escaped NUL
    field="({column}::json ->> '{name}') STORED",
    columns="SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0",
)


def add_columns(conn: Connection, dialect: Dialect, columns: Iterable[tuple[str, str, str]]) -> None:
    """Add the columns that are missing: table, name, type. What is there is not touched, and not locked."""
    for table, column, kind in columns:
        if column not in {row[0] for row in conn.execute(dialect.columns, (table,))}:
            conn.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def create(conn: Connection, statements: Iterable[str]) -> None:
    """Run the statements of a schema."""
    for statement in statements:
        conn.execute(statement)
