"""A Jupyter server extension that lets small messages to the browser leave at once.

Tornado leaves Nagle's algorithm on for WebSockets, and the Jupyter server does not turn it off: behind a
message that the browser has not acknowledged yet, the next one waits for that acknowledgement, which the
browser's system may hold back for up to 40 ms (RFC 896, RFC 1122 section 4.2.3.2). This sets TCP_NODELAY on
the kernels' WebSockets and does nothing else.

The wheel enables it in ``etc/jupyter/jupyter_server_config.d``; what turns it off is
``jupyter server extension disable edchat_widget.server_extension``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

_SETTING = "kernel_websocket_connection_class"


def without_nagle(connection_class: type[Any]) -> type[Any]:
    """Return a subclass of a kernel WebSocket's connection class whose sockets wait for nothing.

    Whatever class was configured stays in charge, with the configuration under its own name.
    """

    class NoDelayConnection(connection_class):  # type: ignore[misc]
        def connect(self) -> Any:  # a coroutine in some classes, a future or nothing in others
            self.websocket_handler.set_nodelay(True)
            return super().connect()

    return NoDelayConnection


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "edchat_widget.server_extension"}]


def _load_jupyter_server_extension(app: "ServerApp") -> None:
    settings = app.web_app.settings
    settings[_SETTING] = without_nagle(settings[_SETTING])
    app.log.debug("edchat_widget: small messages to the browser leave at once")
