"""The wire contract between the kernel's side and the server. It knows neither."""

from ._version import PROTOCOL, SUBPROTOCOL_V1, SUBPROTOCOL_V2

__all__ = ["PROTOCOL", "SUBPROTOCOL_V1", "SUBPROTOCOL_V2"]
