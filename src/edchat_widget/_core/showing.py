"""What people see of a client, and what of it changed."""

from typing import TYPE_CHECKING

from edchat_protocol.messages import DeliveryState, Message, TextPart
from edchat_widget.events import ChatEvent
from edchat_widget.view import AgentOp, AgentView, AnyOp, ConnectionOp, QueueOp, View

from .effects import Effect, Emit, Publish
from .outbox import Row, RowState

if TYPE_CHECKING:
    from .client import Client


_STATES: dict[RowState, DeliveryState] = {
    "queued": "queued", "written": "sent", "accepted": "accepted", "refused": "failed",
    "in_doubt": "in_doubt",
}


class Showing:
    """What was shown last."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._connection = client.connection.view
        self._queued = len(client.outbox.pending)
        self._agent: AgentView | None = None

    def view(self, rev: int) -> View:
        """Return all that the panel shows."""
        return View(
            rev=rev, session=self._client.session, connection=self._connection,
            messages=self._client.transcript.messages, queued=self._queued,
            queue_limit=self._client.outbox.limit, agent=self._agent,
        )

    def changes(self) -> list[Effect]:
        """Return what shows and tells what changed since the last call."""
        client, effects = self._client, list[Effect]()
        ops: list[AnyOp] = list(client.transcript.take_ops())
        connection = client.connection.view
        if connection != self._connection:
            self._connection = connection
            ops.append(ConnectionOp(connection=connection))
            effects.append(Emit(ChatEvent(type="connection", connection=connection)))
        queued = len(client.outbox.pending)
        if queued != self._queued:
            self._queued = queued
            ops.append(QueueOp(queued=queued))
        if client.agent != self._agent:
            self._agent = client.agent
            ops.append(AgentOp(agent=client.agent))
        if ops:
            effects.append(Publish(tuple(ops)))
        effects.extend(Emit(event) for event in client.transcript.take_events())
        return effects


def message_of(row: Row) -> Message:
    """Return the bubble of a message that the server has not confirmed."""
    return Message(
        id=row.id, role="user", parts=(TextPart(id="text", text=row.text),), created_at=row.created_at,
        detail=row.detail, state=_STATES[row.state],
    )
