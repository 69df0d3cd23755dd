"""Pagination tokens: where a listing goes on, opaque to the client.

Keyset pagination: a token holds the sort key and uid of the last row given, so that rows made or deleted between two
pages neither repeat nor hide others. A token belongs to the parameters of the request it came from, and is refused with
others, because its position would mean nothing there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

import orjson

from clary.domain.errors import Invalid

VERSION = 1
TOKEN_CHARS_MAX = 8192
"""SageMaker's NextToken: at most 8192 characters."""
_CHECK_BYTES = 12

Position = tuple[str | int, ...]
"""Sort key and uid of the last row given."""


def encode(position: Position, parameters: Mapping[str, object]) -> str:
    """The token that goes on after `position` in a listing with these parameters (operation, account, region, filters
    and order; not the page size)."""
    body = orjson.dumps([VERSION, list(position)])
    return base64.urlsafe_b64encode(_check(body, parameters) + body).decode("ascii").rstrip("=")


def decode(token: str, parameters: Mapping[str, object], *, field: str = "NextToken") -> Position:
    """The position in a token; Invalid when it is malformed or came from other parameters. `field` is named."""
    refusal = Invalid(
        f"{field} is not valid: pass the value from the previous answer unchanged, with the same other parameters, "
        "or leave it out to start anew."
    )
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise refusal
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(body, parameters):
            raise refusal
        version, position = orjson.loads(body)
    except (binascii.Error, ValueError):
        raise refusal from None
    if version != VERSION:
        raise refusal
    return tuple(position)


def _check(body: bytes, parameters: Mapping[str, object]) -> bytes:
    """Ties a position to its parameters and notices a changed token. Not a secret: a position gives no right."""
    given = {name: value for name, value in parameters.items() if value is not None}
    bound = orjson.dumps(given, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(body + b"\0" + bound).digest()[:_CHECK_BYTES]
