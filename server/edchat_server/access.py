"""Who may enter which session. A session's id is no credential: it belongs to whoever began it."""

from collections.abc import Iterable

from .identity import Identity
from .sql import Connection, Dialect, create
from .store import Store
from .store.base import session_lock

EVERYONE = "everyone"


class Forbidden(Exception):
    """The session, or the client's name, belongs to somebody else."""


def prepare(conn: Connection, dialect: Dialect) -> None:
    """Make what is missing of the tables."""
    create(conn, _tables(dialect))


def _tables(d: Dialect) -> Iterable[str]:
    # No row: the session, or the client, is the operator's.
    return (
        f"""CREATE TABLE IF NOT EXISTS session_owners(
            session TEXT PRIMARY KEY, owner TEXT NOT NULL) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS session_shares(
            session TEXT NOT NULL, grantee TEXT NOT NULL, PRIMARY KEY(session, grantee)) {d.by_key}""",
        f"""CREATE TABLE IF NOT EXISTS client_owners(
            session TEXT NOT NULL, client TEXT NOT NULL, owner TEXT NOT NULL,
            PRIMARY KEY(session, client)) {d.by_key}""",
    )


class Access:
    """Keeps who owns a session and with whom it is shared. The operator may enter all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def enter(self, session: str, who: Identity, client: str | None = None) -> None:
        """Let somebody into a session, under the name of a client; a new session or client becomes theirs.

        Raises:
            Forbidden: it is another's.
        """
        name = who.name
        if name is None:
            return

        def work(conn: Connection) -> None:
            owner = _owner(conn, session)
            if owner is None and not _is_known(conn, session):
                conn.execute("INSERT INTO session_owners(session, owner) VALUES(?, ?)", (session, name))
            elif owner != name and not _is_shared(conn, session, name):
                raise Forbidden("this session belongs to somebody else, who has not shared it")
            if client is not None:
                _take_client(conn, session, client, name)

        await self._store.submit(work, locks=(session_lock(session),))

    async def share(self, session: str, who: Identity, grantee: str) -> list[str]:
        """Let a user, or `EVERYONE` with a token, into a session; return all with whom it is shared.

        Raises:
            Forbidden: it is not theirs to share.
        """

        def work(conn: Connection) -> list[str]:
            if who.name is not None and _owner(conn, session) != who.name:
                raise Forbidden("only its owner shares a session")
            conn.execute(
                "INSERT INTO session_shares(session, grantee) VALUES(?, ?) ON CONFLICT DO NOTHING", (session, grantee)
            )
            found = conn.execute("SELECT grantee FROM session_shares WHERE session = ? ORDER BY grantee", (session,))
            return [name for (name,) in found]

        return await self._store.submit(work, locks=(session_lock(session),))


def _owner(conn: Connection, session: str) -> str | None:
    row = conn.execute("SELECT owner FROM session_owners WHERE session = ?", (session,)).fetchone()
    return row[0] if row else None


def _is_known(conn: Connection, session: str) -> bool:
    return conn.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone() is not None


def _is_shared(conn: Connection, session: str, name: str) -> bool:
    found = conn.execute(
        "SELECT 1 FROM session_shares WHERE session = ? AND grantee IN (?, ?)", (session, name, EVERYONE)
    )
    return found.fetchone() is not None


def _take_client(conn: Connection, session: str, client: str, name: str) -> None:
    key = (session, client)
    row = conn.execute("SELECT owner FROM client_owners WHERE session = ? AND client = ?", key).fetchone()
    if row is None:
        used = conn.execute("SELECT 1 FROM clients WHERE session = ? AND client = ?", key).fetchone()
        if used is None:
            conn.execute("INSERT INTO client_owners(session, client, owner) VALUES(?, ?, ?)", (*key, name))
            return
    if row is None or row[0] != name:
        raise Forbidden("this client's name belongs to somebody else")
