"""Fills a small disk with a conversation, makes room, and goes on: ``python -m tests.faults.full_disk DIR``."""

import asyncio
import json
import sys
from pathlib import Path

from edchat_protocol.frames import Token, TokenData
from edchat_server.store import Accepted, Command, Quota, Say, SqliteStore, StoreError


def say(n: int) -> Command:
    return Command(session="s", client="c", csn=n, id=f"m{n}", fingerprint=b"%d" % n, work=Say(content="x" * 3000))


async def main(folder: Path) -> dict[str, object]:
    """Return what happened, for the test to judge."""
    others = folder / "somebody-elses"
    others.write_bytes(b"x" * 200_000)
    store = await SqliteStore.open(folder / "edchat.db", quota=Quota(reserve=0))
    await store.accept(say(1))
    claim = await store.claim()
    assert claim is not None
    taken, shown, refused = [1], 1, ""
    try:
        while len(taken) < 1000:
            await store.accept(say(len(taken) + 1))
            taken.append(len(taken) + 1)
            piece = Token(run=claim.run, mid="a", off=len(taken), data=TokenData(token="y" * 500))
            shown = await store.append(claim, [piece])
    except StoreError as exc:
        refused = str(exc)
    seen = [row.seq for row in await store.read_range("s", 0, 10_000)]
    trouble = store.trouble
    try:
        await store.probe()
        await store.accept(say(len(taken) + 1))
        still = False
    except StoreError:
        still = True
    others.unlink()
    await store.probe()
    healed = store.trouble is None
    again = isinstance(await store.accept(say(len(taken) + 1)), Accepted)
    await store.close()
    store = await SqliteStore.open(folder / "edchat.db", quota=Quota(reserve=0))
    kept = [await store.accept(say(n)) for n in taken]
    unfinished = await store.unfinished()
    await store.close()
    return {
        "taken": len(taken), "shown": shown, "seen": len(seen), "refused": refused, "trouble": trouble, "still": still,
        "healed": healed, "again": again, "unfinished": unfinished,
        "kept": sum(isinstance(each, Accepted) and each.duplicate for each in kept),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
