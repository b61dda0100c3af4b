"""The origin's HTTP routes as a connection: for a server that has neither our routes nor a WebSocket.

Each message is one request, and its answer comes all at once. The frames that the core sees are those that
the origin's WebSocket would bring.
"""

import asyncio
import logging
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import httpx
import msgspec

from edchat_protocol.artifacts import Artifact
from edchat_protocol.codec import decode_up, encode
from edchat_protocol.frames import (
    ErrorData,
    ErrorFrame,
    Frame,
    MessageData,
    MessageFrame,
    Ping,
    Pong,
    StatusData,
    StatusFrame,
    UserMessage,
)
from edchat_widget._core.carriers import Way
from edchat_widget.errors import ConnectError, ConnectionLost, EdChatError, TransportError

from .requests import body_of, broken, client_for, opening
from .transport import Endpoint, refusal

_log = logging.getLogger("edchat.client.connection")
ROUTES = ("/api/agent/process", "/api/agent/chat", "/api/chat")
_PATIENCE = httpx.Timeout(10.0, read=600.0)  # an agent may take its time; the heartbeat watches the server
_PAUSES = (1.0, 2.0, 4.0, 8.0)
_MAY_HAVE_ACTED = {502, 504}  # said by a gateway that has no answer; what happened behind it is not known


class OriginTransport:
    """One message at a time by POST. `keyed`: the server takes a message once, however often it is sent."""

    def __init__(self, client: httpx.AsyncClient, route: str, session: str, *, keyed: bool) -> None:
        self._client = client
        self._route = route
        self._session = session
        self._keyed = keyed
        self._in: asyncio.Queue[bytes | EdChatError] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._put(StatusFrame(data=StatusData(status="connected", session_id=session)))

    @property
    def way(self) -> Way:
        """Requests and their answers."""
        return "http"

    @property
    def subprotocol(self) -> str | None:
        """None: the origin's frames."""
        return None

    async def send(self, raw: bytes) -> None:
        """Begin the request for one frame."""
        match decode_up(raw):
            case UserMessage(data=data):
                self._begin(self._ask(data.content, [msgspec.to_builtins(m) for m in data.message_history or ()]))
            case Ping():
                self._begin(self._look())

    async def receive(self) -> bytes | str:
        """Return the next frame."""
        item = await self._in.get()
        if isinstance(item, EdChatError):
            self._in.put_nowait(item)
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: ARG002
        """End what is under way."""
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(httpx.HTTPError):
            await self._client.aclose()

    def abort(self) -> None:
        """End what is under way, at once."""
        for task in self._tasks:
            task.cancel()

    def _put(self, frame: Frame) -> None:
        self._in.put_nowait(encode(frame))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except EdChatError as exc:
            self._in.put_nowait(exc)
        except httpx.HTTPError as exc:
            self._in.put_nowait(broken(exc))

    async def _look(self) -> None:
        # Whatever it answers, it answers.
        await self._client.get("/health")
        self._put(Pong())

    async def _ask(self, content: str, history: list[dict[str, str]]) -> None:
        self._put(StatusFrame(data=StatusData(status="processing")))
        camel = self._route == "/api/chat"
        body = {
            "message": content,
            "sessionId" if camel else "session_id": self._session,
            "messageHistory" if camel else "message_history": history,
        }
        status, answer = await self._repeated(body)
        self._put(_failure(answer, status) if status >= 300 else _answer(answer))

    async def _repeated(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body of the answer. It is asked for again only where that cannot act twice."""
        key = str(uuid.uuid4())
        for pause in _PAUSES:
            try:
                return await self._post(body, key)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                _log.debug("no connection, so nothing was sent; again in %s s", pause)
            except (httpx.HTTPError, TransportError) as exc:
                if not self._keyed:
                    raise
                _log.info("the answer was cut (%s); asking for it again", type(exc).__name__)
            await asyncio.sleep(pause)
        return await self._post(body, key)

    async def _post(self, body: dict[str, Any], key: str) -> tuple[int, bytes]:
        async with self._client.stream(
            "POST", self._route, json=body, headers={"Idempotency-Key": key}, timeout=_PATIENCE
        ) as response:
            if response.status_code in _MAY_HAVE_ACTED:
                raise ConnectionLost("Something on the way gave up waiting for the answer.")
            return response.status_code, await body_of(response)


class _Answer(msgspec.Struct):
    response: str | None = None
    success: bool = True
    artifacts: list[msgspec.Raw] = []
    requires_clarification: bool = False
    clarification_prompt: str | None = None


class _Error(msgspec.Struct):
    error: str | None = None
    detail: Any = None
    message: str | None = None


def _answer(raw: bytes) -> Frame:
    try:
        answer = msgspec.json.decode(raw, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _failed("The server's answer cannot be read.")
    if not answer.success or answer.response is None:
        return _failed(answer.response or "The agent could not answer.")
    artifacts = [found for each in answer.artifacts if (found := _artifact(each)) is not None]
    asked = answer.clarification_prompt
    if answer.requires_clarification and asked and not any(a.type == "clarification" for a in artifacts):
        artifacts.append(Artifact(type="clarification", data={"question": asked}))
    return MessageFrame(data=MessageData(content=answer.response, artifacts=tuple(artifacts)))


def _artifact(raw: msgspec.Raw) -> Artifact | None:
    try:
        return msgspec.json.decode(raw, type=Artifact)
    except msgspec.DecodeError:
        _log.warning("an artifact from the server cannot be read")
        return None


def _failure(raw: bytes, status: int) -> Frame:
    words = str(refusal(status, None))
    try:
        error = msgspec.json.decode(raw, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _failed(words)
    detail = error.detail if isinstance(error.detail, str) else None
    return _failed(error.error or detail or error.message or words)


def _failed(text: str) -> ErrorFrame:
    return ErrorFrame(data=ErrorData(error=text, message=text, code="internal"))


async def connect_origin(endpoint: Endpoint, session: str, otherwise: ConnectError) -> OriginTransport:
    """Find the origin's route for messages.

    Raises:
        ConnectError: `otherwise`, where there is none. Timeout, Refused
    """
    client = client_for(endpoint)
    try:
        async with opening():
            for route in ROUTES:
                # Asks whether there is such a route, and acts on none.
                response = await client.request("OPTIONS", route)
                if response.status_code != 404:
                    return OriginTransport(client, route, session, keyed=await _keyed(client))
        raise otherwise
    except BaseException:
        await client.aclose()
        raise


class _Root(msgspec.Struct):
    name: str = ""


async def _keyed(client: httpx.AsyncClient) -> bool:
    """Return whether the server is one of ours, which honours an Idempotency-Key."""
    try:
        return msgspec.json.decode((await client.get("/")).content, type=_Root).name == "edchat"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
