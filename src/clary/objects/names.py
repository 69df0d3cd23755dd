"""Which bucket names and keys are allowed.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and object-keys.html.
"""

from __future__ import annotations

import re

KEY_BYTES_MAX = 1024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def bucket_allowed(name: str) -> bool:
    """Whether S3 would let a general purpose bucket have this name. An allowed name is safe as a folder's name."""
    return (
        _BUCKET.fullmatch(name) is not None
        and ".." not in name
        and _ADDRESS.fullmatch(name) is None
        and not name.startswith(_PREFIXES)
        and not name.endswith(_SUFFIXES)
    )


def key_allowed(key: str) -> bool:
    """Whether the key has 1 to 1024 bytes of UTF-8."""
    return 0 < len(key.encode()) <= KEY_BYTES_MAX


def successor(prefix: bytes) -> bytes | None:
    """The smallest byte string above all that start with `prefix`; None where there is no upper bound."""
    trimmed = prefix.rstrip(b"\xff")
    if not trimmed:
        return None
    return trimmed[:-1] + bytes([trimmed[-1] + 1])
