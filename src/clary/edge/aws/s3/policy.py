"""The policy document of a browser-based upload: what a form may say, until when, and how long its file may be.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clary.edge.aws.s3.errors import S3Error

_FREE = frozenset({"x-amz-signature", "file", "policy", "awsaccesskeyid", "signature", "bucket"})
"""Fields that need no condition; so do those that begin with `x-ignore-`. A `bucket` is the address's own."""


@dataclass(frozen=True)
class Sizes:
    """Bytes that the file may have."""

    least: int = 0
    most: int | None = None

    def check(self, size: int, *, whole: bool) -> None:
        """S3Error where a file is too long, or, once it is whole, too short."""
        if self.most is not None and size > self.most:
            raise S3Error("EntityTooLarge", ProposedSize=str(size), MaxSizeAllowed=str(self.most))
        if whole and size < self.least:
            raise S3Error("EntityTooSmall", ProposedSize=str(size), MinSizeAllowed=str(self.least))


def check(policy: str, fields: Mapping[str, str], now_us: int) -> Sizes:
    """What a policy lets the file be; S3Error where it does not let the form through.

    `policy` in base64; `fields` by lower-case name, with `bucket` from the address and `key` as it will be.
    """
    expiration, conditions = _read(policy)
    if now_us >= expiration:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")
    sizes = Sizes()
    named: set[str] = set()
    for condition in conditions:
        operator, name, wanted = _condition(condition)
        if operator == "content-length-range":
            sizes = Sizes(int(name), int(wanted))
            continue
        named.add(name)
        value = fields.get(name, "")
        held = value.startswith(wanted) if operator == "starts-with" else value == wanted
        if not held:
            raise S3Error(
                "AccessDenied", f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}"
            )
    extra = sorted(name for name in fields if name not in named | _FREE and not name.startswith("x-ignore-"))
    if extra:
        raise S3Error("AccessDenied", f"Invalid according to Policy: Extra input fields: {extra[0]}")
    return sizes


def _read(policy: str) -> tuple[int, list[Any]]:
    """Expiration (microseconds since 1970) and conditions; S3Error."""
    try:
        document = json.loads(base64.b64decode(policy, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise S3Error("InvalidPolicyDocument", "Invalid Policy: Invalid JSON.") from None
    if not isinstance(document, dict) or not isinstance(document.get("conditions"), list):
        raise S3Error("InvalidPolicyDocument", "Invalid Policy: Policy missing conditions.")
    try:
        expiration = datetime.fromisoformat(document["expiration"])
    except (KeyError, TypeError, ValueError):
        raise S3Error("InvalidPolicyDocument", "Invalid Policy: Invalid 'expiration' value.") from None
    if expiration.tzinfo is None:
        expiration = expiration.replace(tzinfo=UTC)
    return int(expiration.timestamp() * 1_000_000), document["conditions"]


def _condition(condition: Any) -> tuple[str, str, str]:
    """Operator, field (lower case, without `$`) and value; of a range, its ends as digits. S3Error."""
    if isinstance(condition, dict) and len(condition) == 1:
        [(name, value)] = condition.items()
        return "eq", name.lower(), _text(value)
    if isinstance(condition, list) and len(condition) == 3 and isinstance(condition[0], str):
        operator, name, value = condition[0].lower(), condition[1], condition[2]
        if operator == "content-length-range" and _text(name).isdecimal() and _text(value).isdecimal():
            return operator, _text(name), _text(value)
        if operator in ("eq", "starts-with") and isinstance(name, str) and name.startswith("$"):
            return operator, name[1:].lower(), _text(value)
    raise S3Error("InvalidPolicyDocument", f"Invalid Policy: Invalid condition: {json.dumps(condition)[:256]}")


def _text(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise S3Error("InvalidPolicyDocument", "Invalid Policy: A condition's value is no text.")
    return str(value)
