"""When the server on this machine takes over from one that cannot be reached, and when it gives back.

Two servers are two stores, and nothing makes one message happen once in both. So only what was never written
to any socket moves; what was written stays with its store, in doubt (`doubts`). What is said meanwhile is a
conversation of its own, linked to the one that it left, and never merged into it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

from edchat_protocol.frames import HistoryItem
from edchat_protocol.messages import Message, TextPart
from edchat_widget.view import OfferView

from .client import Client
from .states import State

if TYPE_CHECKING:
    from edchat_widget.settings import Mode

Verdict = Literal["stay", "offer", "go"]

HERE = "the server on this machine"
EARLY_ATTEMPTS = 3
"""Failed attempts at a server that was never met, before the one on this machine takes over."""
HISTORY_ITEMS = 10
HISTORY_BYTES = 64 * 1024


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation on this machine, and where it left another server's.

    `local` is its session, on the bundled server. It left the session `session` of the server at `url` behind
    event `seq` of the store `store` (None: that server was never met), where `after` was the last message that
    the log had. `history` is what the agent is told of it. `began` and `ended` are ISO 8601; `count` is how
    many messages of the user it had in the end.
    """

    local: str
    url: str
    session: str
    began: str
    store: str | None = None
    seq: int = 0
    after: str | None = None
    history: tuple[HistoryItem, ...] = ()
    ended: str | None = None
    count: int = 0


def fork_of(client: Client, *, url: str, local: str, at: str) -> Fork:
    """Return the fork that begins now."""
    messages = client.transcript.messages
    logged = [m for m in messages if client.transcript.has_logged(m.id)]
    return Fork(
        local=local, url=url, session=client.session, began=at, store=client.outbox.head.store,
        seq=client.cursor, after=logged[-1].id if logged else None, history=_history(logged),
    )


def leaves(mode: "Mode", client: Client) -> Verdict:
    """Return whether the conversation is to go on with the server on this machine."""
    connection = client.connection
    if mode == "never" or connection.live or connection.final:
        return "stay"
    exhausted = connection.state is State.DISCONNECTED
    if not _met(client):
        # No doubt is possible where nothing ever left: nobody has to be asked.
        return "go" if exhausted or connection.attempt >= EARLY_ATTEMPTS else "stay"
    if not exhausted:
        return "stay"
    return "go" if mode == "auto" else "offer"


def returns(home: Client, local: Client) -> Verdict:
    """Return whether the conversation is to go back to the server that it left."""
    if not home.connection.live:
        return "stay"
    # Before its log is known, a conversation that an earlier kernel began here looks empty.
    unused = local.caught_up and not local.transcript.messages and not local.outbox.rows
    return "go" if unused else "offer"


def busy(local: Client) -> bool:
    """Whether leaving the server on this machine now would leave an answer behind that is about to come."""
    if not local.connection.live:
        return False
    messages = local.transcript.messages
    answering = any(m.state in ("sent", "accepted", "streaming") for m in messages)
    return answering or any(r.state == "written" for r in local.outbox.pending)


def offer(kind: Literal["failover", "failback"], url: str) -> OfferView:
    """Return the question that goes with a verdict of ``offer``."""
    if kind == "failover":
        return OfferView(kind=kind, text=f"{url} cannot be reached. Go on with {HERE}?")
    return OfferView(kind=kind, text=f"{url} is back. Return to it? What was said here stays in chat.sessions.")


def notice(url: str, *, back: bool) -> str:
    """Return what the panel says for as long as the server on this machine answers."""
    could = "could not" if back else "cannot"
    return f"{url} {could} be reached; {HERE} answers in its place."


def divider(fork: Fork) -> Message:
    """Return the remark before the first message of a fork."""
    text = f"From here on {HERE}, because {fork.url} cannot be reached"
    return _note(f"fork-{fork.local}", text, fork.began)


def reminder(fork: Fork) -> Message:
    """Return the remark that stands for a fork that has ended."""
    many = "1 message" if fork.count == 1 else f"{fork.count} messages"
    text = f"Here {many} went to {HERE}, because {fork.url} could not be reached: chat.sessions has them"
    return _note(f"forked-{fork.local}", text, fork.began)


def with_reminders(messages: tuple[Message, ...], forks: Iterable[Fork]) -> tuple[Message, ...]:
    """Return the messages with a remark where each ended fork left them."""
    ended = [f for f in forks if f.ended is not None and f.count]
    if not ended:
        return messages
    shown = list(messages)
    for fork in ended:
        at = next((n for n, m in enumerate(shown, 1) if m.id == fork.after), 0)
        shown.insert(at, reminder(fork))
    return tuple(shown)


def _note(note_id: str, text: str, at: str) -> Message:
    return Message(
        id=note_id, role="note", state="complete", parts=(TextPart(id="text", text=text),), created_at=at)


def _met(client: Client) -> bool:
    """Whether this session may have anything at the server."""
    return client.outbox.head.store is not None or any(r.state != "queued" for r in client.outbox.rows)


def _history(messages: Iterable[Message]) -> tuple[HistoryItem, ...]:
    """Return the newest messages that fit into a frame beside a message."""
    items: list[HistoryItem] = []
    room = HISTORY_BYTES
    for message in reversed(list(messages)):
        room -= len(message.text.encode("utf-8", "replace"))
        if room < 0 or len(items) == HISTORY_ITEMS:
            break
        if message.text:
            items.append(HistoryItem(role=message.role, content=message.text))
    return tuple(reversed(items))
