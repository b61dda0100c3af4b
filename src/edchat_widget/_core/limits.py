"""What a message may be. Checked before anything is stored or sent."""

from edchat_protocol.errors import MAX_MESSAGE_BYTES
from edchat_widget.errors import MessageError


def checked(text: str) -> str:
    """Return the text.

    Raises:
        MessageError: it is empty, or over 64 KiB of UTF-8, or not text at all.
    """
    if not isinstance(text, str):
        raise MessageError(f"A message is a str, not {type(text).__name__}.", code="bad_message")
    if not text.strip():
        raise MessageError("The message is empty; nothing was sent.", code="empty_message")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise MessageError("The message has half a character in it (a lone surrogate).") from exc
    if size > MAX_MESSAGE_BYTES:
        raise MessageError(
            f"The message has {size:,} bytes; at most {MAX_MESSAGE_BYTES:,} can be sent.", code="too_large",
            hint="Split it, or send the part that matters.",
        )
    return text
