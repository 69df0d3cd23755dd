"""AWS Signature Version 4: parse, sign and verify. Pure, standard library only: the router's hot path uses it.

Rules: "Signature Version 4 signing process" (IAM user guide), "Authenticating requests: using query parameters" and
"Signature calculations for ... chunked upload" (S3 API reference); checked against botocore's signers in the tests.

Strings here are what stood on the wire, decoded as latin-1: a path keeps its percent signs, a query its order.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes

from clary.kit.sigv4_claim import (
    ALGORITHM,
    EMPTY_SHA256,
    EXPIRES_MAX_S,
    SKEW_S,
    BadSignature,
    Claim,
    Credential,
    Expired,
    Key,
    Keys,
    Malformed,
    Proof,
    SessionExpired,
    SigV4Error,
    Stale,
    UnknownKey,
    Unsigned,
    instant_s,
    parse,
    parse_headers,
    parse_query,
    timestamp_of,
)

__all__ = [
    "ALGORITHM",
    "EMPTY_SHA256",
    "EXPIRES_MAX_S",
    "SKEW_S",
    "STREAMING_SIGNED",
    "STREAMING_SIGNED_TRAILER",
    "STREAMING_UNSIGNED_TRAILER",
    "UNSIGNED_PAYLOAD",
    "BadSignature",
    "Claim",
    "Credential",
    "Expired",
    "Key",
    "Keys",
    "Malformed",
    "Proof",
    "SessionExpired",
    "SigV4Error",
    "Stale",
    "UnknownKey",
    "Unsigned",
    "canonical_headers",
    "canonical_path",
    "canonical_query",
    "check_time",
    "instant_s",
    "parse",
    "parse_headers",
    "parse_query",
    "payload_literal",
    "sign",
    "signing_key",
    "timestamp_of",
    "verify",
]

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
S3_SERVICES = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
"""Signing names whose paths are encoded once and never normalised."""


# -- the canonical form ------------------------------------------------------------------------------------------------

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?").fullmatch
"""Paths that normalisation and encoding leave alone: no empty or dot segment, no reserved character."""


def canonical_path(path: str, *, s3: bool) -> str:
    """S3: the path as it stands (encoded once). Others: dot and empty segments removed, then encoded a second time."""
    if s3:
        return path or "/"
    if _PLAIN_PATH(path):
        return path or "/"
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    tail = "/" if path.endswith("/") and kept else ""
    return quote("/" + "/".join(kept) + tail, safe="/~", encoding="latin-1")


def canonical_query(query: str, *, presigned: bool) -> str:
    """Pairs in order of name, then value, as encoded by the client; without the signature itself."""
    if not query:
        return ""
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if not (presigned and name == "X-Amz-Signature"):
            pairs.append((name, value))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def canonical_headers(headers: Mapping[str, str], signed: Sequence[str]) -> str:
    """`name:value\\n` for each signed header, values trimmed and runs of blanks made one; `headers` by lower-case name,
    values of a repeated header joined by commas."""
    block = "".join([f"{name}:{headers.get(name, '')}\n" for name in signed])
    # One look at the whole block: nearly every client sends values that are trimmed already.
    if ": " in block or " \n" in block or "  " in block or "\t" in block:
        trimmed = [(name, re.sub(r"[ \t]+", " ", headers.get(name, "")).strip(" ")) for name in signed]
        block = "".join([f"{name}:{value}\n" for name, value in trimmed])
    return block


@functools.lru_cache(maxsize=4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service. Cached: deriving it is four of the six hashes of a verification."""
    key = hmac.digest(f"AWS4{secret}".encode(), date.encode("latin-1"), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def _string_to_sign(timestamp: str, scope: str, canonical_request: str) -> str:
    digest = hashlib.sha256(canonical_request.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


# -- verifying and signing ---------------------------------------------------------------------------------------------


def verify(
    claim: Claim,
    key: Key | None,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    payload: str,
    now_s: float,
) -> Proof:
    """The proof of a claim, or UnknownKey, SessionExpired, Stale, Expired, Unsigned, BadSignature.

    `path` and `query` as on the wire; `headers` by lower-case name; `payload`: for S3 `payload_literal(...)`, elsewhere
    the hex sha256 of the body, so that a body that was changed fails as a bad signature.
    """
    if key is None:
        raise UnknownKey(claim.credential.key_id)
    if key.expires_s is not None and now_s >= key.expires_s:
        raise SessionExpired(key.expires_s)
    check_time(claim, now_s)
    _check_signed(claim, headers)
    credential = claim.credential
    s3 = credential.service in S3_SERVICES
    derived = signing_key(key.secret, credential.date, credential.region, credential.service)
    rest = f"{canonical_headers(headers, claim.signed_headers)}\n{';'.join(claim.signed_headers)}\n{payload}"
    first = f"{method}\n{canonical_path(path, s3=s3)}\n{canonical_query(query, presigned=claim.presigned)}\n{rest}"
    to_sign = _string_to_sign(claim.timestamp, credential.scope, first)
    if not _matches(derived, to_sign, claim.signature):
        # Clients that send a path or query in another encoding than the one they signed: the rule is to decode
        # and encode again, which the first try saves for those (nearly all) that send what they signed.
        again = f"{method}\n{_recoded_path(path, s3=s3)}\n{_recoded_query(query, presigned=claim.presigned)}\n{rest}"
        if again == first or not _matches(
            derived, _string_to_sign(claim.timestamp, credential.scope, again), claim.signature
        ):
            raise BadSignature(credential.key_id, to_sign, first, claim.signature)
    return Proof(claim, payload, key, derived)


def payload_literal(headers: Mapping[str, str], *, presigned: bool) -> str:
    """What S3 takes as the payload hash: the x-amz-content-sha256 header; UNSIGNED-PAYLOAD for a presigned URL
    without one; Malformed for a header-signed request without one."""
    given = headers.get("x-amz-content-sha256")
    if given:
        return given
    if presigned:
        return UNSIGNED_PAYLOAD
    raise Malformed("Missing required header for this request: x-amz-content-sha256")


def check_time(claim: Claim, now_s: float) -> None:
    """Stale for a header-signed request outside the skew, Expired for a presigned URL that is over."""
    at_s = instant_s(claim.timestamp)
    if claim.expires_s is None:
        if abs(now_s - at_s) > SKEW_S:
            raise Stale(claim.timestamp, int(now_s))
    elif now_s >= at_s + claim.expires_s:
        raise Expired(at_s + claim.expires_s, int(now_s), claim.expires_s)
    elif at_s - now_s > SKEW_S:
        raise Stale(claim.timestamp, int(now_s))


def _check_signed(claim: Claim, headers: Mapping[str, str]) -> None:
    """Every `x-amz-` header (one of them chooses the operation) and host are signed; Unsigned."""
    lacking = _lacking(claim.signed_headers, tuple(headers), claim.presigned)
    if lacking:
        raise Unsigned(lacking)


@functools.lru_cache(maxsize=4096)
def _lacking(signed: tuple[str, ...], names: tuple[str, ...], presigned: bool) -> tuple[str, ...]:
    """Headers that should be signed and are not. Cached: a client sends the same names again and again."""
    lacking = [name for name in names if name.startswith("x-amz-") and name not in signed]
    # A presigned URL cannot know the hash of what will be sent; clients add the header unsigned.
    if presigned and "x-amz-content-sha256" in lacking:
        lacking.remove("x-amz-content-sha256")
    if "host" not in signed:
        lacking.append("host")
    return tuple(lacking)


def _matches(key: bytes, to_sign: str, signature: str) -> bool:
    ours = hmac.digest(key, to_sign.encode("latin-1"), "sha256").hex()
    return hmac.compare_digest(ours, signature) if signature.isascii() else False


def _recoded_path(path: str, *, s3: bool) -> str:
    decoded = quote(unquote_to_bytes(path.encode("latin-1")), safe="/~")
    return decoded if s3 else canonical_path(decoded, s3=False)


def _recoded_query(query: str, *, presigned: bool) -> str:
    pairs = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        pairs.append("=".join(quote(unquote_to_bytes(part.encode("latin-1")), safe="~") for part in (name, value)))
    return canonical_query("&".join(pairs), presigned=presigned)


def sign(
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    payload: bytes,
    key_id: str,
    secret: str,
    region: str,
    service: str,
    now_s: float,
    token: str = "",
) -> dict[str, str]:
    """Headers to send, lower-case: those given (host must be among them) and the signature's own.

    `path` is percent-encoded as it will be sent, `query` too, without the question mark.
    """
    timestamp = timestamp_of(now_s)
    signed = {name.lower(): value for name, value in headers.items()}
    signed["x-amz-date"] = timestamp
    if token:
        signed["x-amz-security-token"] = token
    s3 = service in S3_SERVICES
    digest = hashlib.sha256(payload).hexdigest()
    if s3:
        signed["x-amz-content-sha256"] = digest
    names = tuple(sorted(signed))
    request = (
        f"{method}\n{canonical_path(path, s3=s3)}\n{canonical_query(query, presigned=False)}\n"
        f"{canonical_headers(signed, names)}\n{';'.join(names)}\n{digest}"
    )
    credential = Credential(key_id, timestamp[:8], region, service)
    derived = signing_key(secret, *credential[1:])
    to_sign = _string_to_sign(timestamp, credential.scope, request)
    signature = hmac.digest(derived, to_sign.encode("latin-1"), "sha256").hex()
    signed["authorization"] = (
        f"{ALGORITHM} Credential={key_id}/{credential.scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed
