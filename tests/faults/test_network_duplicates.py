"""The same command comes twice, at once, over two carriers, or late: it is taken once, and each offer gets the
same answer."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.faults import oracle
from tests.server_fixtures import Client, ServerProcess, server

ROUNDS = 40


def body(client: str, conn: int, *csns: int) -> dict[str, Any]:
    frames = [
        {"type": "message", "id": f"{client}-{csn}", "csn": csn, "data": {"content": f"make {client} {csn}"}}
        for csn in csns
    ]
    return {"client": client, "conn": conn, "frames": frames}


async def race(running: ServerProcess, session: str, seed: int) -> None:
    """Offer three messages in any overlapping batches, at once, over POST and WebSocket, until all are acknowledged."""
    rng = random.Random(seed)
    client = Client(running, session=session, client=session)
    await asyncio.to_thread(client.open)
    headers = {"Authorization": f"Bearer {running.ready['token']}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, trust_env=False, timeout=30) as http:

        async def post() -> dict[str, Any]:
            await asyncio.sleep(rng.random() * 0.02)
            first, last = sorted(rng.choices([1, 2, 3], k=2))
            answer = await http.post(
                f"/v2/sessions/{session}/frames", json=body(session, rng.choice([1, 1, 2]), *range(first, last + 1)))
            return {"status": answer.status_code, **answer.json()}

        def over_the_socket() -> None:
            for csn in (1, 2, 3):
                client.send(body(session, 1, csn)["frames"][0])

        *answers, _ = await asyncio.gather(*(post() for _ in range(6)), asyncio.to_thread(over_the_socket))
        last = await http.post(f"/v2/sessions/{session}/frames", json=body(session, 2, 1, 2, 3))
    assert last.status_code == 200
    final = last.json()["acks"]
    assert [ack["type"] for ack in final] == ["ack"] * 3
    runs = {ack["ref"]: ack["data"]["run"] for ack in final}
    assert all(ack["data"]["duplicate"] for ack in final), "the last offer was not known"
    assert len(set(runs.values())) == 3
    for answer in answers:
        assert answer["status"] in (200, 409), answer
        for ack in answer.get("acks", []):
            if ack["type"] == "ack":
                assert ack["data"]["run"] == runs[ack["ref"]], "two answers to one command"
            else:
                assert ack["data"]["code"] == "gap", ack
    await asyncio.to_thread(oracle.until_over, client, 3)
    client.close()


@pytest.mark.fault("F7", "overlapping batches by POST and WebSocket at once, older connections' too")
def test_a_command_that_comes_many_times_at_once_is_taken_once(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with server(tmp_path / "data") as running:
        sessions = [f"race{n}" for n in range(ROUNDS)]

        async def main() -> None:
            for start in range(0, ROUNDS, 8):
                await asyncio.gather(
                    *(race(running, session, seed + n) for n, session in enumerate(sessions[start:start + 8], start)))

        asyncio.run(main())
        for session in sessions:
            oracle.check_session(running, session, states=["completed"] * 3)
        wanted = sorted(f"{session} {csn}" for session in sessions for csn in (1, 2, 3))
        assert oracle.stories(running) == wanted
    record_property("cases", ROUNDS)


@pytest.mark.fault("F7", "a frame of a connection that a newer one replaced")
def test_a_frame_of_an_older_connection_that_comes_late_is_taken_once(tmp_path: Path) -> None:
    with server(tmp_path / "data") as running, running.http(
        headers={"Authorization": f"Bearer {running.ready['token']}"}
    ) as http:
        old = Client(running)
        old.open()
        new = Client(running, conn=1)
        new.open()
        late = body("c1", 1, 1)
        first = http.post("/v2/sessions/s1/frames", json=late)
        new.send(late["frames"][0])
        ack = new.until("ack")
        oracle.until_over(new)
        again = http.post("/v2/sessions/s1/frames", json=late).json()["acks"][0]
        assert again["data"] == {"run": ack["data"]["run"], "duplicate": True}
        assert first.json()["acks"][0]["data"]["run"] == ack["data"]["run"]
        oracle.check_session(running, stayed=new)
        assert oracle.stories(running) == ["c1 1"]
        new.close()
        oracle.read_to_the_cut(old)
