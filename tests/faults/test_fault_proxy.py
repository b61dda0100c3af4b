"""The fault proxy itself: what it is told to break, it breaks, to the byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.faults.fault_proxy import FIN, RST, SILENT, FaultProxy, How, Script, hosted, most_within

HEAD = b"GET /x HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching\r\n\r\n"
FRAMES = [b"\x81\x05hello", b"\x81\x7e\x00\xc8" + b"x" * 200, b"\x89\x00"]


@contextlib.asynccontextmanager
async def upstream(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says `answer` to the first request, then notes what comes."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            while chunk := await reader.read(4096):
                seen.append(chunk)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


async def read_all(reader: asyncio.StreamReader, seconds: float = 0.2) -> tuple[bytes, str]:
    """Return what comes, and how it ended: fin, rst or silent."""
    got = b""
    while True:
        try:
            chunk = await asyncio.wait_for(reader.read(4096), seconds)
        except TimeoutError:
            return got, "silent"
        except ConnectionResetError:
            return got, "rst"
        if not chunk:
            return got, "fin"
        got += chunk


def through(script: Script, check: Callable[[Any, Any, list[bytes], FaultProxy], Awaitable[None]]) -> None:
    async def main() -> None:
        async with upstream(ANSWER + b"".join(FRAMES)) as (port, seen), FaultProxy("127.0.0.1", port) as proxy:
            proxy.next(script)
            reader, writer = await asyncio.open_connection(*proxy.url[7:].split(":"))
            writer.write(HEAD)
            try:
                await check(reader, writer, seen, proxy)
            finally:
                writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", [FIN, RST, SILENT])
@pytest.mark.parametrize("count", [0, 1, 20, 40])
def test_a_cut_lets_exactly_so_many_bytes_through(count: int, how: How) -> None:
    async def check(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        got, end = await read_all(reader)
        assert got == (ANSWER + b"".join(FRAMES))[:count]
        assert end == how

    through(Script().cut_after("down", nbytes=count, how=how), check)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_cut_after_frames_falls_between_two_frames(count: int) -> None:
    async def check(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        got, end = await read_all(reader)
        assert got == ANSWER + b"".join(FRAMES[:count])
        assert end == "fin"

    through(Script().cut_after("down", nframes=count, how=FIN), check)


def test_a_cut_upwards_ends_what_the_server_reads() -> None:
    async def check(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        await reader.readexactly(len(ANSWER))
        writer.write(b"0123456789")
        await read_all(reader)
        assert b"".join(seen) == HEAD + b"01234"

    through(Script().cut_after("up", nbytes=len(HEAD) + 5, how=FIN), check)


def test_a_buffering_proxy_passes_whole_blocks_alone() -> None:
    async def check(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        got, end = await read_all(reader)
        assert got == ANSWER + b"".join(FRAMES)[:192]
        assert end == "silent"

    through(Script().hold_until(64), check)


def test_an_answer_can_be_held_for_good() -> None:
    async def check(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        assert await read_all(reader) == (ANSWER, "silent")

    through(Script().hold_until(), check)


def test_what_is_held_for_a_time_comes_in_clumps() -> None:
    async def check(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        got, _ = await read_all(reader, 1.0)
        assert got == ANSWER + b"".join(FRAMES)

    through(Script().hold_until(seconds=0.1), check)


def test_an_upgrade_is_refused_stripped_or_swallowed() -> None:
    async def refused(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        got, _ = await read_all(reader)
        assert got.startswith(b"HTTP/1.1 404 ")
        assert not seen

    async def stripped(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        await read_all(reader)
        assert seen == [b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n"]

    async def swallowed(reader: Any, writer: Any, seen: list[bytes], proxy: FaultProxy) -> None:
        assert await read_all(reader) == (ANSWER, "silent")

    through(Script().mangle_http(status=404), refused)
    through(Script().mangle_http(strip="Upgrade"), stripped)
    through(Script().mangle_http(swallow=True), swallowed)


def test_all_lines_are_cut_at_a_word() -> None:
    async def main() -> None:
        async with upstream(ANSWER) as (port, _):
            address = ("127.0.0.1", port)
            with hosted(*address) as proxy:
                reader, writer = await asyncio.open_connection(*proxy.url[7:].split(":"))
                writer.write(HEAD)
                await reader.readexactly(len(ANSWER))
                await asyncio.to_thread(proxy.do, lambda p: p.cut(RST))
                assert await read_all(reader) == (b"", "rst")
                writer.close()
                assert len(proxy.stats.connects) == 1

    asyncio.run(main())


def test_the_rate_of_connects_is_the_busiest_span() -> None:
    assert most_within([0, 1, 2, 3.5, 3.6, 3.7, 9], 3.0) == 5
    assert most_within([], 3.0) == 0
