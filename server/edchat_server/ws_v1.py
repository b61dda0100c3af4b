"""A WebSocket that speaks the origin's frames."""

import asyncio
import re
import uuid
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from edchat_protocol import SUBPROTOCOL_V2
from edchat_protocol.codec import decode_down
from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import ErrorFrame, MessageFrame, Ping, Pong, StatusData, StatusFrame, Ticket, UserMessage

from . import delivery
from .errors import error_frame
from .intake import command_of
from .peer import Dismissed, Peer
from .store import Accepted, utc_now
from .v1 import Projection

_SESSION = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
_CODES: dict[int, ErrorCode] = {4429: "rate_limited", 4501: "unauthorized", 4502: "unauthorized", 4503: "forbidden"}


class V1(Peer):
    """The origin's frames, exactly; what was missed since the last connection is pushed once."""

    async def serve(self) -> None:
        """Converse until the end."""
        session = self._ws.query_params.get("session_id") or f"ws-{datetime.now(UTC).timestamp():.6f}"
        if not _SESSION.fullmatch(session):
            await self.send(_error("bad_frame", "session_id: takes 1 to 64 of letters, digits and _.~-"))
            await self.close(1008, "bad session_id")
            return
        if not self.is_known:
            await self._take_ticket()
        self._core.door.hello()
        with self._core.door.client(session, f"v1-{uuid.uuid4()}", self.who.name):
            await self._core.access.enter(session, self.who)
            await self._serve(session)

    async def _take_ticket(self) -> None:
        try:
            async with asyncio.timeout(min(self._core.door.caps.hello_seconds, self._patience)):
                frame = await self.receive()
        except TimeoutError:
            raise Dismissed(4408, "no ticket came") from None
        self.show(frame.data.ticket if isinstance(frame, Ticket) else None)

    async def _serve(self, session: str) -> None:
        store = self._core.store
        _, head = await store.head(session)
        seen = await store.v1_cursor(session)
        if seen is None:
            await store.set_v1_cursor(session, head)
        self.joined(session, 1)
        hello = StatusData(status="connected", session_id=session, message="Connected to the PM agent")
        await self.send(StatusFrame(timestamp=utc_now(), data=hello))
        await self.alongside(self._write(session, head if seen is None else seen, head), self._read(session))

    async def _say_goodbye(self, code: int, reason: str, retry_after_ms: int) -> None:  # noqa: ARG002
        await self.send(_error(_CODES.get(code, "unavailable"), reason))

    async def warn(self, frame: StatusFrame) -> None:
        """Say nothing: the origin's clients would show it."""

    async def _write(self, session: str, cursor: int, head: int) -> None:
        core, projection = self._core, Projection()
        with core.hub.listen(session) as listener:
            async with aclosing(delivery.follow(core.store, listener, session, cursor, holes=True)) as batches:
                async for rows in batches:
                    for row in rows:
                        for frame in projection.frames(decode_down(row.body)):  # type: ignore[arg-type]
                            final = isinstance(frame, MessageFrame | ErrorFrame)
                            if final or row.seq > head:
                                await self.send(frame)
                            if final:
                                # Shielded: who leaves after an answer must not get it again.
                                await asyncio.shield(core.store.set_v1_cursor(session, row.seq))

    async def _read(self, session: str) -> None:
        connection = uuid.uuid4()
        count = 0
        while True:
            frame = await self.receive()
            match frame:
                case None | Pong():
                    pass
                case Ping():
                    await self.send(Pong(timestamp=utc_now(), data=frame.data or {}))
                case UserMessage():
                    count += 1
                    message_id = frame.id or str(uuid.uuid5(connection, str(count)))
                    await self._take(frame, session, message_id)
                case _:
                    kind = frame.__struct_config__.tag
                    text = f"type {kind!r} needs the subprotocol {SUBPROTOCOL_V2}"
                    await self.send(_error("unknown_type", text))

    async def _take(self, frame: UserMessage, session: str, message_id: str) -> None:
        bare = UserMessage(data=frame.data, session_id=frame.session_id)
        command = command_of(bare, session=session, client="v1", message_id=message_id, who=self.who)
        outcome = await self._core.intake.take(command, self.who)
        if not isinstance(outcome, Accepted):
            await self.send(_error(outcome.code, outcome.message))


def _error(code: ErrorCode, message: str) -> ErrorFrame:
    return msgspec.structs.replace(error_frame(code, message), timestamp=utc_now())
