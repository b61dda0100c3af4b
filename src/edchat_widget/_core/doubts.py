"""Messages that were written to a server which does not say whether it has them, and how that ends.

What was written belongs to the store that it was written to: it is never sent to another one, for two
stores cannot agree on what happened once. When that store answers again, its log says which it has.
"""

from typing import TYPE_CHECKING

from .outbox import Row

if TYPE_CHECKING:
    from .client import Client

V1_STORE = "v1"


class Doubts:
    """One client's messages in doubt."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def undelivered(self) -> list[Row]:
        """Return the messages that were never written to any socket, in order."""
        return [r for r in self._client.outbox.pending if r.state == "queued" and r.kind == "message"]

    def leave(self, client_name: str) -> None:
        """Leave the server behind for another one, which has taken over the undelivered messages by now.

        What was written stays, in doubt; `client_name` is this side's name when the server answers again.
        """
        client = self._client
        for row in self.undelivered():
            client.transcript.forget(row.id)
        self._accept_logged()
        detail = f"Sent to {client.server}, which has not confirmed it. It settles when that server answers again."
        for row in client.outbox.divide(client_name, detail):
            client.transcript.mark(row.id, "in_doubt", detail=row.detail)
        client.persist()

    def rebase(self, client_name: str, store: str) -> None:
        """Go on with another store at the same address."""
        client = self._client
        self._accept_logged()
        detail = "Sent to another server, which has not confirmed it. It settles when that server answers again."
        for row in client.outbox.rebase(client_name, store, detail):
            client.transcript.mark(row.id, "in_doubt", detail=row.detail)

    def settle(self) -> None:
        """Find in the log what became of them, once all of it is known."""
        client = self._client
        store = client.outbox.head.store
        if store is None or store == V1_STORE or not client.level:
            return
        doubtful = [r for r in client.outbox.rows if r.state == "in_doubt" and r.store == store]
        for row in doubtful:
            if row.kind != "message" or client.transcript.has_logged(row.id):
                client.outbox.accept_id(row.id)
                client.transcript.confirm(row.id)
            else:
                # Not sent again by itself: hours may have passed, and the question may have been asked elsewhere.
                detail = f"{client.server} does not have this message."
                client.outbox.refuse(row.csn, detail)
                client.transcript.mark(row.id, "failed", detail=detail)
        if doubtful:
            client.persist()

    def _accept_logged(self) -> None:
        """Take what the log has shown for accepted, though the acknowledgement did not come."""
        for row in self._client.outbox.pending:
            if row.state == "written" and self._client.transcript.has_logged(row.id):
                self._client.outbox.accept_id(row.id)

