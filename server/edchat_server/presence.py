"""Who is in a session now, as far as this server knows. Nothing of it is kept."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from edchat_protocol.frames import PresenceData

GRACE_SECONDS = 10.0
_BACKLOG = 100


@dataclass(eq=False)
class Follower:
    """Somebody who wants to know. What they are too slow to read, they miss."""

    client: str
    news: asyncio.Queue[PresenceData] = field(default_factory=lambda: asyncio.Queue(_BACKLOG))

    def tell(self, data: PresenceData) -> None:
        """Add news."""
        if not self.news.full():
            self.news.put_nowait(data)


@dataclass(eq=False, slots=True)
class _Room:
    users: dict[str, str | None] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    leaving: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    followers: set[Follower] = field(default_factory=set)

    def said(self, event: Literal["here", "join", "leave"], user: str | None) -> PresenceData:
        return PresenceData(event=event, user=user, clients=list(self.users.values()).count(user))

    def tell(self, event: Literal["join", "leave"], client: str, user: str | None) -> None:
        for follower in self.followers:
            if follower.client != client:
                follower.tell(self.said(event, user))


class Presence:
    """Tells those who want it who comes and goes. Whoever is back within `grace` seconds was never away."""

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._rooms: dict[str, _Room] = {}

    @contextmanager
    def here(self, session: str, client: str, user: str | None) -> Iterator[None]:
        """Be there with one connection while the block runs."""
        room = self._rooms.setdefault(session, _Room())
        timer = room.leaving.pop(client, None)
        if timer is not None:
            timer.cancel()
        elif client not in room.users:
            room.users[client] = user
            room.tell("join", client, user)
        room.connections[client] = room.connections.get(client, 0) + 1
        try:
            yield
        finally:
            room.connections[client] -= 1
            if not room.connections[client]:
                del room.connections[client]
                loop = asyncio.get_running_loop()
                room.leaving[client] = loop.call_later(self._grace, self._gone, session, client)

    @contextmanager
    def follow(self, session: str, client: str) -> Iterator[Follower]:
        """Hear who is there, and then who comes and goes, while the block runs."""
        room = self._rooms.setdefault(session, _Room())
        follower = Follower(client)
        for user in dict.fromkeys(room.users.values()):
            follower.tell(room.said("here", user))
        room.followers.add(follower)
        try:
            yield follower
        finally:
            room.followers.discard(follower)
            self._tidy(session)

    def _gone(self, session: str, client: str) -> None:
        room = self._rooms[session]
        del room.leaving[client]
        user = room.users.pop(client)
        room.tell("leave", client, user)
        self._tidy(session)

    def _tidy(self, session: str) -> None:
        room = self._rooms.get(session)
        if room is not None and not room.users and not room.followers:
            del self._rooms[session]
