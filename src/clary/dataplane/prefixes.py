"""How responses begin: made once for equal headers of replicas' answers, and remembered by the variant."""

from __future__ import annotations

from clary.dataplane import answers
from clary.dataplane.live import LiveVariant
from clary.replica import frames
from clary.replica.frames import Tag

PREFIXES_MAX = 256
"""Of one variant: custom attributes may differ with each answer."""


def learn(variant: LiveVariant, key: bytes, head: bytes) -> tuple[int, bytes] | None:
    """Status and first lines of the response to an answer with this header, kept under `key`; None where it is a
    ModelError."""
    tlvs = frames.decode_head(head)
    status = frames.number(tlvs, Tag.STATUS, 500)
    if not 200 <= status < 300:
        return None
    name = answers.header_text(variant.route.name)
    lines = [answers.status_line(status), b"x-Amzn-Invoked-Production-Variant: %b\r\n" % name]
    for tag, header in (
        (Tag.CONTENT_TYPE, b"Content-Type"),
        (Tag.CUSTOM_ATTRIBUTES, b"X-Amzn-SageMaker-Custom-Attributes"),
    ):
        if tlvs.get(tag):
            lines.append(b"%b: %b\r\n" % (header, answers.header_text(frames.text(tlvs, tag))))
    known = status, b"".join(lines)
    if len(variant.prefixes) < PREFIXES_MAX:
        variant.prefixes[key] = known
    return known
