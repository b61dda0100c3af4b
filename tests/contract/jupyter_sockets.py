"""A Jupyter server in this process; prints whether its kernel's WebSocket has TCP_NODELAY, as JSON."""

import asyncio
import gc
import json
import socket
import sys
import urllib.request

from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from tests.processes import free_port
from websockets.asyncio.client import connect

TOKEN = "test-token"


async def observe(app: ServerApp) -> dict[str, object]:
    headers = {"Authorization": f"token {TOKEN}"}
    url = f"http://127.0.0.1:{app.port}/api/kernels"
    request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
    kernel = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=60).read()))["id"]
    address = f"ws://127.0.0.1:{app.port}/api/kernels/{kernel}/channels?session_id=test"
    async with connect(address, additional_headers=headers) as ws:
        await ws.recv()  # the kernel says something: the connection stands
        handler = next(h for h in gc.get_objects() if isinstance(h, KernelWebsocketHandler))
        sock = handler.ws_connection.stream.socket
        seen = {
            "nodelay": bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
            "bases": [base.__name__ for base in type(handler.connection).__mro__],
            "limited": handler.connection.limit_rate,
        }
    await app.kernel_manager.shutdown_all()
    return seen


async def main(root: str, *arguments: str) -> None:
    app = ServerApp.instance()
    port = free_port()
    app.initialize([
        "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}", "--ServerApp.log_level=ERROR", *arguments,
    ])
    await asyncio.sleep(0.1)  # it binds its socket in the loop's next turn
    app.http_server.start()
    print(json.dumps(await observe(app)))


asyncio.run(main(*sys.argv[1:]))
