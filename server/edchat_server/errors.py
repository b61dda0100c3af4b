"""The one JSON shape of an error, on both carriers."""

import math

import msgspec
from starlette.responses import Response

from edchat_protocol.codec import encode
from edchat_protocol.errors import ErrorCode
from edchat_protocol.frames import ErrorData, ErrorFrame


class HttpError(Exception):
    """A request that ends in an error response. `retry_after_ms` goes into the body and, in seconds, the header."""

    def __init__(
        self,
        status: int,
        code: ErrorCode,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code: ErrorCode = code
        self.hint = hint
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


def error_frame(code: ErrorCode, message: str, *, ref: str | None = None) -> ErrorFrame:
    """Return an error frame without `seq`: something that the peer sent could not be taken."""
    return ErrorFrame(ref=ref, data=ErrorData(error=message, message=message, code=code))


def error_response(
    status: int,
    code: ErrorCode,
    message: str,
    *,
    hint: str | None = None,
    retryable: bool | None = None,
    retry_after_ms: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return the error as JSON: an error frame, and `detail` where FastAPI's own errors have it."""
    again = status in (429, 502, 503) if retryable is None else retryable
    data = ErrorData(
        error=message, message=message, code=code, retryable=again, hint=hint, retry_after_ms=retry_after_ms
    )
    if retry_after_ms is not None:
        headers = {**(headers or {}), "Retry-After": str(math.ceil(retry_after_ms / 1000))}
    body = {"detail": message, **msgspec.json.decode(encode(ErrorFrame(data=data)))}
    return Response(
        msgspec.json.encode(body), status_code=status, media_type="application/json", headers=headers
    )
