"""Events down over HTTP: by long poll, where something on the way holds a stream back."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec

from edchat_protocol.codec import Unknown, decode_down
from edchat_protocol.errors import FrameError
from edchat_protocol.frames import Down, Events, HelloData, Logged, Snapshot, Welcome
from edchat_widget._core.carriers import Way
from edchat_widget.errors import ConnectionLost, RemoteProtocolError

from .requests import body_of, events_request, refused

WAIT = 12  # less than the server would allow: a line that is dead is noticed in WAIT + _GRACE
_GRACE = 8.0
_PACE = 0.25  # the least time from one poll to the next: an answer that streams comes in gulps
_FRUITLESS = 1.0  # … when the first brought nothing
_TRIES = 3


class _Polled(msgspec.Struct):
    welcome: msgspec.Raw
    frames: list[msgspec.Raw] = []


class Polls:
    """One poll after the other, each from where the last one ended."""

    way: Way = "poll"
    suspicions = 0

    def __init__(self, client: httpx.AsyncClient, hello: HelloData) -> None:
        self._client = client
        self._hello = hello
        self._first: list[bytes] = []
        self.heard_at = 0.0

    async def greeted(self) -> None:
        """Ask for the greeting, which comes at once."""
        polled = await self._poll(0)
        welcome = decode_down(polled.welcome)
        if not isinstance(welcome, Welcome):
            raise RemoteProtocolError("The server broke the protocol: a poll without welcome.")
        self._hello = msgspec.structs.replace(self._hello, epoch=welcome.data.epoch)
        self._first = [bytes(polled.welcome), *self._taken(polled.frames)]

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield each frame, for ever."""
        loop = asyncio.get_running_loop()
        for frame in self._first:
            yield frame
        while True:
            before, began = self._hello, loop.time()
            for frame in self._taken((await self._poll_again()).frames):
                yield frame
            # An answer that was not held back for news, or a stored one, must not make us spin.
            pause = _FRUITLESS if self._hello == before else _PACE
            await asyncio.sleep(max(0.0, began + pause - loop.time()))

    async def aclose(self) -> None:
        """Nothing is held between polls."""

    async def _poll_again(self) -> _Polled:
        for attempt in range(1, _TRIES):
            try:
                return await self._poll(WAIT)
            except httpx.TransportError:
                await asyncio.sleep(attempt)  # nothing is lost by a lost poll
        return await self._poll(WAIT)

    async def _poll(self, wait: int) -> _Polled:
        request = events_request(self._client, self._hello, {"wait": wait})
        request.extensions["timeout"] = httpx.Timeout(10.0, read=wait + _GRACE).as_dict()
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise await refused(response)
            return msgspec.json.decode(await body_of(response), type=_Polled)
        except msgspec.DecodeError as exc:
            raise ConnectionLost("What answered the poll is no chat server.") from exc
        finally:
            await response.aclose()

    def _taken(self, frames: list[msgspec.Raw]) -> list[bytes]:
        """Return the frames, and move on to where they end."""
        for raw in frames:
            try:
                self._move(decode_down(raw))
            except FrameError as exc:
                raise RemoteProtocolError("The server sent a frame that cannot be read.") from exc
        return [bytes(raw) for raw in frames]

    def _move(self, frame: Down | Unknown) -> None:
        cursor, epoch = self._hello.cursor, self._hello.epoch
        if isinstance(frame, Events):
            cursor = max(cursor, frame.data.last)
        elif isinstance(frame, Snapshot):
            cursor, epoch = frame.data.head, frame.data.epoch
        elif isinstance(frame, Unknown | Logged) and frame.seq is not None:
            cursor = max(cursor, frame.seq)
        self._hello = msgspec.structs.replace(self._hello, cursor=cursor, epoch=epoch)
