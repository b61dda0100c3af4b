"""The floor: a bare uvicorn WebSocket echo with one durable SQLite commit for each message."""

import sqlite3
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
conn = sqlite3.connect(sys.argv[2], isolation_level=None, check_same_thread=False)
conn.execute("PRAGMA journal_mode=WAL")
conn.execute("PRAGMA synchronous=FULL")
conn.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body TEXT)")


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.websocket("/ws/chat")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("INSERT INTO message (body) VALUES (?)", (text,))
            conn.execute("COMMIT")
            await socket.send_text(text)
    except WebSocketDisconnect:
        return


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), ws="websockets-sansio", ws_per_message_deflate=False,
                log_level="warning")
