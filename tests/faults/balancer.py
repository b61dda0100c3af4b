"""A TCP balancer in front of several servers: each connection goes to the next one, and none lives long."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from types import TracebackType


class Balancer:
    """Forwards connections in turn to `targets` (ports); ends each after so many bytes from the server.

    `cuts` are these numbers, in turn; None: as long as it lives. A target that cannot be reached is passed over,
    as by a balancer that checks its servers' health.
    """

    def __init__(self, targets: list[int], cuts: list[int | None]) -> None:
        self._turn = itertools.cycle(targets)
        self._targets = len(targets)
        self._cuts = itertools.cycle(cuts)
        self.connections = 0
        self._door = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"

    def __enter__(self) -> "Balancer":
        Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = self._next()
                if server is None:
                    client.close()
                    continue
                self.connections += 1
                Thread(target=_pump, args=(client, server, None), daemon=True).start()
                Thread(target=_pump, args=(server, client, next(self._cuts)), daemon=True).start()

    def _next(self) -> socket.socket | None:
        for _ in range(self._targets):
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", next(self._turn)), timeout=2)
        return None


def _pump(source: socket.socket, sink: socket.socket, left: int | None) -> None:
    source.settimeout(None)
    with _closing(source, sink), suppress(OSError):
        while data := source.recv(4096 if left is None else min(left, 4096)):
            sink.sendall(data)
            if left is not None:
                left -= len(data)
                if left <= 0:
                    return


@contextmanager
def _closing(*ends: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
