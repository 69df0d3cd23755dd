"""What the runtime API answers: bytes of whole HTTP responses, errors in rest-json's form.

Codes and statuses: botocore's sagemaker-runtime model. Texts of `ModelError`, of an unknown endpoint and of a body too
large: as the hosted service sends them (public issues); texts that nobody recorded are ours.
"""

from __future__ import annotations

import time
from http import HTTPStatus

import msgspec

TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. "
    "Review the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
CRASHED = "The model's process ended while it answered this request."
MESSAGE_CHARS_MAX = 2048
"""`Message` in the service model."""

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def status_line(status: int) -> bytes:
    """`HTTP/1.1 424 Failed Dependency`, with its CRLF."""
    return b"HTTP/1.1 %d %s\r\n" % (status, _REASONS.get(status, b"Unknown"))


class DateLine:
    """The Date header of the current second."""

    def __init__(self) -> None:
        self._second = -1
        self.line = b""
        """`Date: ...\\r\\n`; read it at each response, call `at` at least once a second."""

    def at(self, now_us: int) -> None:
        """Make `line` that of this moment (RFC 9110: IMF-fixdate, always English)."""
        second = now_us // 1_000_000
        if second == self._second:
            return
        self._second = second
        t = time.gmtime(second)
        day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[t.tm_wday]
        month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[t.tm_mon - 1]
        text = f"Date: {day}, {t.tm_mday:02d} {month} {t.tm_year} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT\r\n"
        self.line = text.encode()


def header_text(value: str) -> bytes:
    """A header value that cannot end its line."""
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")


def error(
    status: int,
    code: str,
    members: dict[str, str | int],
    request_id: bytes,
    date: bytes,
    *,
    variant: str = "",
    retry_ms: int = 0,
) -> bytes:
    """One whole error response. `code` goes to x-amzn-ErrorType; `retry_ms`: how long to wait, 0 says nothing."""
    body = msgspec.json.encode(members)
    return _whole(status, code, b"application/json", body, request_id, date, variant=variant, retry_ms=retry_ms)


CONTROL_DOWN = "Clary's control process is not answering. Invocations go on; try again."


def control_down(head: bytes, request_id: bytes, date: bytes) -> bytes:
    """The refusal of a request that control would have answered, in the form that its client reads.

    `head`: what was read of the request. Which protocol it speaks shows as in edge.aws.detect, only less exactly.
    """
    told = head.partition(b"\r\n\r\n")[0].lower()
    code = "ServiceUnavailable"
    kind, body = b"application/json", msgspec.json.encode({"Message": CONTROL_DOWN})
    if any(mark in told for mark in _S3_MARKS):
        kind, body = b"application/xml", _S3_ERROR % (code.encode(), CONTROL_DOWN.encode(), request_id)
    elif b"\r\nx-amz-target:" in told:
        kind, body = b"application/x-amz-json-1.1", msgspec.json.encode({"__type": code, "message": CONTROL_DOWN})
    elif b"\r\ncontent-type: application/x-www-form-urlencoded" in told:
        kind, body = b"text/xml", _QUERY_ERROR % (code.encode(), CONTROL_DOWN.encode(), request_id)
    return _whole(503, code, kind, body, request_id, date)


_S3_MARKS = (b"/s3/aws4_request", b"%2fs3%2faws4_request", b"awsaccesskeyid=")
"""In the signature of a header, of a URL, of a URL of version 2."""
_S3_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>%s</Code><Message>%s</Message><RequestId>%s</RequestId></Error>"
)
_QUERY_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<ErrorResponse><Error><Type>Receiver</Type><Code>%s</Code><Message>%s</Message></Error>"
    b"<RequestId>%s</RequestId></ErrorResponse>"
)


def _whole(
    status: int,
    code: str,
    kind: bytes,
    body: bytes,
    request_id: bytes,
    date: bytes,
    *,
    variant: str = "",
    retry_ms: int = 0,
) -> bytes:
    parts = [status_line(status), b"Content-Type: %s\r\n" % kind]
    if code:
        parts.append(b"x-amzn-ErrorType: %s\r\n" % code.encode())
    if variant:
        parts.append(b"x-Amzn-Invoked-Production-Variant: %s\r\n" % header_text(variant))
    if retry_ms:
        parts.append(b"Retry-After: %d\r\nx-amz-retry-after: %d\r\n" % (-(-retry_ms // 1000), retry_ms))
    parts.append(
        b"x-amzn-RequestId: %s\r\n%sContent-Length: %d\r\n\r\n%s" % (request_id, date, len(body), body),
    )
    return b"".join(parts)


def model_error_members(
    status: int, message: str, *, logs_url: str, region: str, account: str, endpoint: str
) -> dict[str, str | int]:
    """Body of a ModelError. `status`: the model's own, 0 where it gave none; `message`: its body."""
    side = "client" if 400 <= status < 500 else "server"
    original = message[:MESSAGE_CHARS_MAX]
    text = (
        f'Received {side} error ({status}) from primary with message "{message}". '
        f"See {logs_url} in account {account} for more information."
    )
    if len(text) > MESSAGE_CHARS_MAX:
        # The end of the text is what clients match on and where the url stands: the model's words give way.
        text = text.replace(message, message[: max(0, len(message) - (len(text) - MESSAGE_CHARS_MAX))], 1)
    members: dict[str, str | int] = {
        "LogStreamArn": f"arn:aws:logs:{region}:{account}:log-group:/aws/sagemaker/Endpoints/{endpoint}",
        "Message": text,
        "OriginalMessage": original,
        "OriginalStatusCode": status,
    }
    if side == "server":
        members["ErrorCode"] = "INTERNAL_FAILURE_FROM_MODEL"
    return members


def with_connection_close(response: bytes) -> bytes:
    """The response, saying that it is the last of its connection."""
    return response.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
