"""Two conversations shown as one: the configured server's, and behind it the one on this machine."""

from collections.abc import Iterable, Sequence

import msgspec

from edchat_protocol.messages import Message
from edchat_widget.view import (
    AgentOp,
    AnyOp,
    ConnectionOp,
    ConnectionView,
    OfferView,
    Patch,
    PutOp,
    QueueOp,
    View,
    apply,
)

from . import failover
from .failover import Fork
from .transcript import difference

_replace = msgspec.structs.replace


class SideBySide:
    """What is shown of a session of the server at `url` and of its `forks`."""

    def __init__(self, url: str, forks: Iterable[Fork]) -> None:
        self.forks = list(forks)
        self.fork: Fork | None = None  # the one that is on
        self.offered: OfferView | None = None
        self._url = url
        self._home_is_back = False

    def begin(self, fork: Fork) -> None:
        """A fork is on."""
        self.fork, self.offered = fork, None
        self._keep(fork)

    def end(self, fork: Fork) -> None:
        """It has ended."""
        self.fork = self.offered = None
        self._keep(fork)

    def _keep(self, fork: Fork) -> None:
        self.forks = [*(f for f in self.forks if f.local != fork.local), fork]

    def view(self, home: View, local: View | None) -> View:
        """Return both as one view."""
        messages = failover.with_reminders(home.messages, self.forks)
        self._home_is_back = home.connection.state in ("connected", "fallback")
        if local is None or self.fork is None:
            return _replace(home, messages=messages, connection=self.connection(home.connection, away=False))
        return _replace(
            home, messages=(*messages, failover.divider(self.fork), *local.messages), agent=local.agent,
            connection=self.connection(local.connection, away=True), queued=home.queued + local.queued,
        )

    def connection(self, connection: ConnectionView, *, away: bool) -> ConnectionView:
        """Return the badge with what is offered. `away`: it is that of the server on this machine."""
        notice = failover.notice(self._url, back=self._home_is_back) if away else None
        return _replace(connection, notice=notice, offer=self.offered)

    def ops(self, before: View, after: View, ops: Iterable[AnyOp] | None, *, home: bool) -> tuple[AnyOp, ...]:
        """Return what leads from one view to the next, where `ops` are those of one of the conversations."""
        heads = _heads(before, after)
        if before.messages == after.messages:
            return tuple(heads)
        if ops is None:
            return (*difference(before.messages, after.messages), *heads)
        bodies: list[AnyOp] = [o for o in ops if not isinstance(o, ConnectionOp | QueueOp | AgentOp)]
        if not self.forks:
            return (*bodies, *heads)
        if home and self.fork is not None:
            bodies = [self._before_divider(o) for o in bodies]
        if _leads(before, after.messages, bodies):
            return (*bodies, *heads)
        return (*difference(before.messages, after.messages), *heads)

    def _before_divider(self, op: AnyOp) -> AnyOp:
        if isinstance(op, PutOp) and op.before is None and self.fork is not None:
            return _replace(op, before=failover.divider(self.fork).id)
        return op


def _leads(before: View, messages: tuple[Message, ...], ops: Sequence[AnyOp]) -> bool:
    return apply(before, Patch(rev=before.rev + 1, ops=tuple(ops))).messages == messages


def _heads(before: View, after: View) -> list[AnyOp]:
    ops: list[AnyOp] = []
    if before.connection != after.connection:
        ops.append(ConnectionOp(connection=after.connection))
    if before.queued != after.queued:
        ops.append(QueueOp(queued=after.queued))
    if before.agent != after.agent:
        ops.append(AgentOp(agent=after.agent))
    return ops
