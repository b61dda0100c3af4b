"""A process that chats, as a kernel does, and that a test can kill: from outside, or at one place of its own code.

``python -m tests.faults.kernel JOB``; the job is one JSON object, see `Job`. Each thing that happened is one JSON
line on the standard output. The code that runs is the unmodified package's: the place to die at is found by a profiling
hook, so that nothing of it knows of being tested.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from edchat_protocol.messages import ArtifactPart, TextPart, ToolCallPart
from edchat_widget.view import View


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the process is to do: connect, `say` each text, run the code `then`, wait for all answers, show.

    `die_at`: ``outbox_file.py:add:return:2`` is the second return from a function of that name in that file.
    """

    url: str
    home: str
    session: str = "s1"
    token: str | None = "t"
    say: list[str] = field(default_factory=list)
    then: str = ""
    wait: bool = True
    die_at: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def die_at(place: str) -> None:
    """Have the process end as by kill -9 at a place, in whichever thread that is."""
    file, function, event, nth = re.fullmatch(r"(.+):(.+):(call|return):(\d+)", place).groups()  # type: ignore[union-attr]
    left = int(nth)

    def watch(frame: FrameType, happened: str, _: Any) -> None:
        nonlocal left
        code = frame.f_code
        if happened == event and code.co_name == function and code.co_filename.endswith(f"/{file}"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(watch)
    sys.setprofile(watch)


def tell(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def shown_by(view: View) -> Counter[tuple[str, ...]]:
    """Return what a panel shows: texts and stories, of everybody."""
    seen: Counter[tuple[str, ...]] = Counter()
    for message in view.messages:
        for part in message.parts:
            match part:
                case TextPart() if part.text:
                    seen["text", part.text] += 1
                case ToolCallPart():
                    seen["tool", part.tool] += 1
                case ArtifactPart(artifact="story"):
                    seen["story", part.data["id"]] += 1
    return seen


def unsettled(view: View) -> bool:
    """Whether more is to come."""
    if view.queued or not view.messages or view.connection.state not in ("connected", "fallback"):
        return True
    return any(m.state in ("queued", "sent", "accepted", "streaming") for m in view.messages)


def live(job: Job) -> None:
    from edchat_widget import Chat

    if job.die_at:
        die_at(job.die_at)
    chat = Chat(job.url, token=job.token, session=job.session, data_dir=job.home, **job.options)
    asked = []
    for text in job.say:
        asked.append(chat.send(text))
        tell(stored=asked[-1].message_id)
    exec(job.then, {"chat": chat, "tell": tell, "time": time, "asked": asked})
    if job.wait:
        for pending in asked:
            pending.result(60)
        while unsettled(chat.view):
            time.sleep(0.02)
        shown = [[*seen, n] for seen, n in shown_by(chat.view).items()]
        tell(shown=shown, states=[[m.role, m.text, m.state] for m in chat.view.messages])
    else:
        time.sleep(120)
    chat.close()


if __name__ == "__main__":
    live(Job(**json.loads(sys.argv[1])))
