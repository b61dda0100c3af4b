"""The numbers that two peers compare when they meet."""

PROTOCOL = 2
SUBPROTOCOL_V2 = "edchat.v2"
SUBPROTOCOL_V1 = "edchat.v1"
