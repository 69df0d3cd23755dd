"""Bodies that came compressed: SDKs compress PutMetricData above 10 KB (the models' trait `requestcompression`)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from clary.edge.aws import errors
from clary.edge.aws.protocols.values import Unreadable

GROWTH_MAX = 4
"""How often a service's longest body an unpacked one may be."""


def unpacked(headers: Mapping[str, str], body: bytes, body_bytes_max: int) -> bytes:
    """The body itself. `headers` by lower-case name. AwsError for one that grows too long, Unreadable."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise Unreadable(f"The Content-Encoding {encoding[:64]!r} is not served; use gzip or none")
    most = GROWTH_MAX * body_bytes_max
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error:
        raise Unreadable("The body is not gzip, as its Content-Encoding says") from None
    if len(plain) > most:
        raise errors.too_large(most)
    if not unpacker.eof or unpacker.unused_data:
        raise Unreadable("The gzip body is cut short, or something follows it")
    return plain
