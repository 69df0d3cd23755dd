"""Presigned URLs of Signature Version 2, which boto3 still makes by default in us-east-1.

Source: "Authenticating requests (Signature Version 2)", query string request authentication alternative (S3 developer
guide); checked against botocore's HmacV1QueryAuth in the tests. Header signatures of version 2 are not taken.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from clary.kit.sigv4 import (
    BadSignature,
    Claim,
    Credential,
    Expired,
    Key,
    Malformed,
    Proof,
    SessionExpired,
    UnknownKey,
    timestamp_of,
)

_SUBRESOURCES = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "partNumber",
        "policy",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)
"""Query members that are part of what is signed."""


class Presigned(NamedTuple):
    """What a version 2 URL says about its signature; nothing of it is verified."""

    key_id: str
    signature: str
    expires_s: int
    """When it ends, in seconds since 1970."""
    token: str


def parse(query: str) -> Presigned | None:
    """The claim of a query string as it stood on the wire; None where there is none; Malformed."""
    if "AWSAccessKeyId=" not in query:
        return None
    given = _pairs(query)
    if not given.get("Signature") or not given.get("Expires"):
        raise Malformed(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters", presigned=True
        )
    expires = given["Expires"]
    if not (expires.isascii() and expires.isdigit()) or len(expires) > 12:
        raise Malformed(f"Invalid date (should be seconds since epoch): {expires[:32]}", presigned=True)
    token = given.get("x-amz-security-token", "")
    return Presigned(given.get("AWSAccessKeyId", ""), given["Signature"], int(expires), token)


def claim_of(presigned: Presigned, region: str) -> Claim:
    """The same in the form of version 4, for what comes after; version 2 names no region."""
    timestamp = timestamp_of(presigned.expires_s)
    credential = Credential(presigned.key_id, timestamp[:8], region, "s3")
    return Claim(credential, (), presigned.signature, timestamp, 0, presigned.token)


def verify(
    presigned: Presigned,
    key: Key | None,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    bucket: str,
    region: str,
    now_s: float,
) -> Proof:
    """The proof of a URL, or UnknownKey, SessionExpired, Expired, BadSignature.

    `path` and `query` as on the wire; `headers` by lower-case name; `bucket`: the one in the host name, empty for
    path-style.
    """
    if key is None:
        raise UnknownKey(presigned.key_id)
    if key.expires_s is not None and now_s >= key.expires_s:
        raise SessionExpired(key.expires_s)
    if now_s >= presigned.expires_s:
        raise Expired(presigned.expires_s, int(now_s), 0)
    to_sign = string_to_sign(presigned, method=method, path=path, query=query, headers=headers, bucket=bucket)
    ours = base64.b64encode(hmac.digest(key.secret.encode(), to_sign.encode("latin-1", "replace"), "sha1"))
    if not hmac.compare_digest(ours, presigned.signature.encode("latin-1", "replace")):
        raise BadSignature(presigned.key_id, to_sign, "", presigned.signature)
    return Proof(claim_of(presigned, region), "UNSIGNED-PAYLOAD", key)


def string_to_sign(
    presigned: Presigned, *, method: str, path: str, query: str, headers: Mapping[str, str], bucket: str
) -> str:
    """Method, digest, type, end, `x-amz-` headers and the resource. Headers may stand in the query instead."""
    given = {name.lower(): value for name, value in _pairs(query).items()}
    said = {**given, **headers}
    amz = {name: value for name, value in said.items() if name.startswith("x-amz-")}
    lines = "".join(f"{name}:{' '.join(amz[name].split())}\n" for name in sorted(amz))
    inside = sorted(pair.split("=", 1) for pair in query.split("&") if pair.partition("=")[0] in _SUBRESOURCES)
    parts = "&".join("=".join([name, *(_decode(value) for value in rest)]) for name, *rest in inside)
    resource = (f"/{bucket}" if bucket else "") + path + (f"?{parts}" if parts else "")
    digest, kind = said.get("content-md5", ""), said.get("content-type", "")
    return f"{method}\n{digest}\n{kind}\n{presigned.expires_s}\n{lines}{resource}"


def _pairs(query: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in query.split("&"))
    return {name: _decode(value) for name, _, value in pairs}


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("latin-1")
