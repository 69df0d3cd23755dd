"""What InvokeEndpointWithResponseStream answers: a chunked HTTP response of events. Pure.

`PayloadPart` for each part of the model's answer; `ModelStreamError` with one of its two codes where it breaks (API
reference, ModelStreamError). What fails before the first part is an error response like InvokeEndpoint's.
"""

from __future__ import annotations

from collections.abc import Mapping

from clary.dataplane import answers
from clary.kit import eventstream
from clary.replica import frames
from clary.replica.frames import Tag

PART_BYTES_MAX = 1024 * 1024
"""Payload of one event: a client holds a whole event before it sees its first byte."""
END = b"0\r\n\r\n"
TIME_EXCEEDED = "ModelInvocationTimeExceeded"
BROKEN = "StreamBroken"


def head(variant: str, tlvs: Mapping[int, bytes], request_id: bytes, date: bytes) -> bytes:
    """The response's head; `tlvs` of the first CHUNK say what the parts are."""
    lines = [
        answers.status_line(200),
        b"Content-Type: %b\r\n" % eventstream.CONTENT_TYPE.encode(),
        b"x-Amzn-Invoked-Production-Variant: %b\r\n" % answers.header_text(variant),
    ]
    for tag, header in (
        (Tag.CONTENT_TYPE, b"X-Amzn-SageMaker-Content-Type"),
        (Tag.CUSTOM_ATTRIBUTES, b"X-Amzn-SageMaker-Custom-Attributes"),
    ):
        if tlvs.get(tag):
            lines.append(b"%b: %b\r\n" % (header, answers.header_text(frames.text(tlvs, tag))))
    lines.append(b"x-amzn-RequestId: %b\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (request_id, date))
    return b"".join(lines)


def part(body: bytes) -> bytes:
    """A part of the answer, as several events where it is long; nothing for an empty one."""
    if len(body) <= PART_BYTES_MAX:
        return _chunk(eventstream.payload_part(body)) if body else b""
    return b"".join([part(body[at : at + PART_BYTES_MAX]) for at in range(0, len(body), PART_BYTES_MAX)])


def broken(code: str, message: str) -> bytes:
    """The error that ends a stream, and the end."""
    members = {"ErrorCode": code, "Message": message[: answers.MESSAGE_CHARS_MAX]}
    return _chunk(eventstream.exception("ModelStreamError", members)) + END


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
