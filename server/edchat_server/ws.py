"""The WebSocket route: version 2 by subprotocol, the origin's frames otherwise.

A connection is two tasks: the reader here, which never awaits a run, and the writer, which reads the log.
"""

import asyncio
import logging
from contextlib import aclosing

from starlette.websockets import WebSocket, WebSocketDisconnect

from edchat_protocol import PROTOCOL, SUBPROTOCOL_V2
from edchat_protocol.frames import Cancel, Hello, HelloData, Ping, Pong, PresenceFrame, Seen, Ticket, UserMessage

from . import delivery
from .access import Forbidden
from .core import Core
from .door import TooMany
from .errors import error_frame
from .intake import answer, command_of
from .peer import Dismissed, Peer
from .store import StoreError, Trimmed
from .store.base import Greeting
from .ws_v1 import V1

_log = logging.getLogger("edchat.server.ws")


async def serve(ws: WebSocket, core: Core, *, patience: float | None = None) -> None:
    """Serve one WebSocket until it ends. A peer that reads nothing for `patience` seconds is cut off."""
    if patience is None:
        patience = core.door.caps.send_seconds
    v2 = SUBPROTOCOL_V2 in ws.scope["subprotocols"]
    await ws.accept(subprotocol=SUBPROTOCOL_V2 if v2 else None)
    peer: V2 | V1 = V2(ws, core, patience) if v2 else V1(ws, core, patience)
    code = None
    try:
        await peer.serve()
    except WebSocketDisconnect as gone:
        code = gone.code
    except TooMany as exc:
        code = 4429
        _log.warning("a connection is sent away: %s", exc)
        await peer.dismiss(code, str(exc), exc.retry_after_ms)
    except Forbidden as exc:
        code = 4503
        _log.warning("a connection is sent away: %s", exc)
        await peer.dismiss(code, str(exc))
    except Dismissed as exc:
        code = exc.code
        _log.warning("a connection is sent away: %s", exc)
        await peer.dismiss(code, str(exc))
    except Trimmed:
        code = 4413
        await peer.close(code, "too far behind")
    except StoreError as exc:
        code = 1011
        _log.error("a connection ends because the store failed: %s", exc)
        await peer.close(code, "the store failed")
    except Exception:  # noqa: BLE001 - the root of the connection's tasks
        code = 1011
        _log.exception("a connection ends because of a defect")
        await peer.close(code, "the server failed")
    finally:
        peer.left(code)


class V2(Peer):
    """hello, welcome, then the log from the client's cursor on."""

    async def serve(self) -> None:
        """Converse until the end."""
        hello = await self._hello()
        if hello is None:
            return
        core, data = self._core, hello.data
        self.show(data.ticket)
        core.door.hello()
        if core.hub.draining.is_set():
            await self.close(1012, "the server is going away")
            return
        with core.door.client(data.session, data.client, self.who.name):
            await core.access.enter(data.session, self.who, data.client)
            await self._converse(data)

    async def _converse(self, data: HelloData) -> None:
        core = self._core
        greeting = await core.store.greet(
            data.session, data.client, data.conn, cursor=data.cursor, epoch=data.epoch
        )
        if greeting.stale:
            await self.close(4409, "superseded by a newer connection")
            return
        with core.hub.place(data.session, data.client, data.conn, self.close) as place:
            self.joined(data.session, 2)
            await self.send(core.welcome(data.session, greeting))
            core.hub.greeted(data.session, data.client, place)
            with core.presence.here(data.session, data.client, self.who.name):
                also = [self._tell_of_others(data)] if "presence" in data.want else []
                await self.alongside(self._write(data, greeting), self._read(data), *also)

    async def _say_goodbye(self, code: int, reason: str, retry_after_ms: int) -> None:
        await self.send(self._core.goaway(code, reason, retry_after_ms))

    async def _hello(self) -> Hello | None:
        try:
            async with asyncio.timeout(min(self._core.door.caps.hello_seconds, self._patience)):
                frame = await self.receive()
        except TimeoutError:
            await self.close(4408, "no hello came")
            return None
        if not isinstance(frame, Hello):
            await self.send(error_frame("bad_frame", "the first frame must be hello"))
            await self.close(4400, "the first frame must be hello")
            return None
        if frame.data.proto != PROTOCOL:
            await self.send(error_frame("bad_frame", f"hello: proto {PROTOCOL} is spoken here"))
            await self.close(4504, f"proto {PROTOCOL} is spoken here")
            return None
        return frame

    async def _write(self, hello: HelloData, greeting: Greeting) -> None:
        core, session, cursor = self._core, hello.session, hello.cursor
        with core.hub.listen(session) as listener:
            if not greeting.replay:
                async for out in delivery.snapshot(core.store, session):
                    await self.write(out.body)
                    cursor = out.seq or 0
            leaving = False
            async with aclosing(delivery.follow(core.store, listener, session, cursor)) as batches:
                async for rows in batches:
                    for out in delivery.events(rows):
                        await self.write(out.body)
                    if core.hub.draining.is_set() and not leaving:
                        leaving = True  # and stay: the last events of a run may still come
                        await self.send(core.goaway())

    async def _read(self, hello: HelloData) -> None:
        while True:
            frame = await self.receive()
            match frame:
                case None | Pong() | Seen():
                    pass
                case Ping():
                    await self.send(Pong(data=frame.data))
                case Hello() | Ticket():
                    await self.send(error_frame("bad_frame", "hello was said already"))
                case UserMessage() | Cancel():
                    await self._take(frame, hello)

    async def _tell_of_others(self, hello: HelloData) -> None:
        with self._core.presence.follow(hello.session, hello.client) as follower:
            while True:
                await self.send(PresenceFrame(data=await follower.news.get()))

    async def _take(self, frame: UserMessage | Cancel, hello: HelloData) -> None:
        if frame.id is None or frame.csn is None:
            await self.send(error_frame("bad_frame", "message: id and csn are needed", ref=frame.id))
            return
        command = command_of(frame, session=hello.session, client=hello.client, message_id=frame.id, who=self.who)
        await self.send(answer(command, await self._core.intake.take(command, self.who)))
