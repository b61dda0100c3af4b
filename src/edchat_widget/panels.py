"""One panel per conversation, however often its cell runs: stale panels would each be sent every patch."""

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from ._io.conversation import Conversation, answer_of_closed
from ._io.portal import Portal
from .errors import PortalClosed
from .view import AnyIntent

if TYPE_CHECKING:
    from .widget import ChatWidget

_log = logging.getLogger("edchat.client.widget")
_widgets: "weakref.WeakKeyDictionary[Conversation, ChatWidget]" = weakref.WeakKeyDictionary()
_widgets_lock = threading.Lock()


def panel_of(owner: Portal, of: Conversation) -> "ChatWidget":
    """Return the conversation's panel, made if there is none."""
    from .widget import ChatWidget

    with _widgets_lock:
        panel = _widgets.get(of)
        if panel is None or panel.comm is None:  # a panel that the user closed can never be shown again
            panel = ChatWidget(lambda intent: _intend(owner, weak, intent))
            weak = weakref.ref(of), weakref.ref(panel)
            _widgets[of] = panel
            owner.post(of.driver.subscribe, panel.deliver)
        return panel


def _intend(
    owner: Portal,
    weak: "tuple[weakref.ref[Conversation], weakref.ref[ChatWidget]]",
    intent: AnyIntent,
) -> None:
    of, panel = weak[0](), weak[1]()
    if of is None or panel is None:
        _log.warning("the panel belongs to a chat that is gone")
        return

    def act() -> None:
        answer = of.act(intent)
        if answer is not None:
            panel.deliver(answer)

    try:
        owner.post(act)
    except PortalClosed:
        # The I/O thread has ended, so nothing else can be on its way to the panel.
        panel.deliver(answer_of_closed(of, intent))
