"""Text that models send, made fit for JSON."""

from typing import Any


def whole(text: str) -> str:
    """Return the text with surrogate pairs joined, and with U+FFFD for each half that stands alone.

    Some servers cut a model's text between the two halves of an emoji, and JSON takes no half.
    """
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_json(value: Any) -> Any:
    """Return a JSON value with `whole` texts."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [whole_json(item) for item in value]
    if isinstance(value, dict):
        return {whole_json(key): whole_json(item) for key, item in value.items()}
    return value
