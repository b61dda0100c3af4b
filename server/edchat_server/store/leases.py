"""Who may carry a run out when several servers share the database: leases, in the database's own time."""

import logging
import threading
import time
from collections.abc import Callable

import psycopg

from edchat_server.sql import Connection, Dialect, add_columns

from .base import Claim
from .postgres_links import PostgresConnection, Raw
from .runs import claim_of

SECONDS = 15.0
"""For how long a claim holds that is not renewed. After that any server may take the run over."""

_UNTIL = "clock_timestamp() + make_interval(secs => ?2)"
_log = logging.getLogger("edchat.server.store")


def prepare(conn: Connection, dialect: Dialect) -> None:
    """Make the columns of a lease."""
    add_columns(conn, dialect, (("runs", "owner", "TEXT"), ("runs", "lease_until", "TIMESTAMPTZ")))


def claim(conn: Connection, owner: str, lease: float) -> Claim | None:
    """Take the oldest run that is queued, or whose owner has let its lease expire.

    Runs of one session are taken in their order only. A run in which a write is under way is passed over:
    its owner lives.
    """
    row = conn.execute(
        f"""UPDATE runs SET state = CASE cancel WHEN 1 THEN 'cancelling' ELSE 'running' END,
             attempt = attempt + 1, tries = tries + 1, fence = fence + 1, owner = ?1, lease_until = {_UNTIL}
           WHERE n = (SELECT r.n FROM runs r WHERE r.state IN ('queued', 'running', 'cancelling')
             AND (r.state = 'queued' OR coalesce(r.lease_until < clock_timestamp(), true))
             AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.session = r.session AND o.n < r.n
               AND o.state IN ('queued', 'running', 'cancelling'))
             ORDER BY r.n LIMIT 1 FOR UPDATE SKIP LOCKED)
           RETURNING id, session, input_id, content, history, attempt, tries, fence, cancel""",  # noqa: S608
        (owner, lease),
    ).fetchone()
    return claim_of(row) if row else None


def renew(conn: Connection, held: dict[str, int], lease: float) -> None:
    """Extend the leases of these runs, unless somebody else has them by now. `held`: run to fence."""
    conn.execute(
        f"""UPDATE runs r SET lease_until = {_UNTIL}
           FROM unnest(?1::text[], ?3::bigint[]) AS h(id, fence)
           WHERE r.id = h.id AND r.fence = h.fence AND r.state IN ('running', 'cancelling')""",  # noqa: S608
        (list(held), lease, list(held.values())),
    )


class Renewer:
    """A thread with a connection of its own that keeps the held runs, whatever the event loop is busy with.

    It renews three times in the length of a lease.
    """

    def __init__(self, connect: Callable[[], Raw], lease: float) -> None:
        self._connect = connect
        self._lease = lease
        self._pause = lease / 3
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="edchat-leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew nothing any more."""
        self._over.set()
        self._thread.join()

    def hold(self, claim: Claim) -> None:
        """Renew the claim's lease from now on."""
        with self._lock:
            self._held[claim.run] = claim.fence

    def drop(self, claim: Claim) -> None:
        """Let the claim's lease expire, unless this process has claimed the run again."""
        with self._lock:
            if self._held.get(claim.run) == claim.fence:
                del self._held[claim.run]

    def _work(self) -> None:
        raw: Raw | None = None
        while not self._over.wait(self._pause):
            with self._lock:
                held = dict(self._held)
            if held:
                raw = self._renew(raw, held)
        if raw is not None:
            raw.close()

    def _renew(self, raw: Raw | None, held: dict[str, int]) -> Raw | None:
        end = time.monotonic() + self._pause
        while not self._over.is_set():
            try:
                if raw is None:
                    raw = self._connect()
                renew(PostgresConnection(raw), held, self._lease)
            except psycopg.Error as exc:
                if raw is not None:
                    raw.close()
                    raw = None
                if time.monotonic() > end:
                    _log.warning("leases of %d run(s) were not renewed: %s", len(held), type(exc).__name__)
                    return None
                self._over.wait(0.5)
            else:
                return raw
        return raw
