"""What `Chat.on` reports and `Chat.stream` yields."""

from typing import Literal

import msgspec

from edchat_protocol.artifacts import Artifact
from edchat_protocol.messages import Message, ToolCallPart

from .view import ConnectionView

EventType = Literal["message", "token", "tool", "story", "connection", "retry"]


class ChatEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened.

    ``token``: `text` was added to the answer · ``tool``: the state of the tool call `tool` changed ·
    ``story``: a story was made or changed, in `artifact` · ``message``: `message` is complete, the user's
    or the agent's · ``retry``: the run begins again, the text so far is void · ``connection``: the badge
    changed. `run_id` says which run, where there is one.
    """

    type: EventType
    run_id: str | None = None
    text: str = ""
    tool: ToolCallPart | None = None
    artifact: Artifact | None = None
    message: Message | None = None
    connection: ConnectionView | None = None
