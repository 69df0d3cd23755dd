"""What a signed request says about its signature: parsed, not yet verified. `clary.kit.sigv4` is the public face."""

from __future__ import annotations

import calendar
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
SKEW_S = 15 * 60
"""How far a request's time may lie from ours, in seconds (IAM user guide; S3: RequestTimeTooSkewed)."""
EXPIRES_MAX_S = 7 * 24 * 3600
"""The longest life of a presigned URL, in seconds (S3 API reference, X-Amz-Expires)."""


class SigV4Error(Exception):
    """The root of what can be wrong with a signature."""


class Malformed(SigV4Error):  # noqa: N818 - named by the fact, as the domain's errors are
    """The credential cannot be read. `message` is in the words of the services."""

    def __init__(self, message: str, *, presigned: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.presigned = presigned


class UnknownKey(SigV4Error):  # noqa: N818
    """No access key of that id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(key_id)
        self.key_id = key_id


class BadSignature(SigV4Error):  # noqa: N818
    """The signature is not the one that this key gives. Carries what we signed, as S3's answer shows it."""

    def __init__(self, key_id: str, string_to_sign: str, canonical_request: str, provided: str) -> None:
        super().__init__(key_id)
        self.key_id = key_id
        self.string_to_sign = string_to_sign
        self.canonical_request = canonical_request
        self.provided = provided


class Unsigned(SigV4Error):  # noqa: N818
    """Headers that must be signed (host, every `x-amz-`) and are not."""

    def __init__(self, headers: tuple[str, ...]) -> None:
        super().__init__(", ".join(headers))
        self.headers = headers


class Stale(SigV4Error):  # noqa: N818
    """The request's time lies more than `SKEW_S` from `now_s`."""

    def __init__(self, timestamp: str, now_s: int) -> None:
        super().__init__(timestamp)
        self.timestamp = timestamp
        self.now_s = now_s

    @property
    def too_old(self) -> bool:
        return instant_s(self.timestamp) < self.now_s


class SessionExpired(SigV4Error):  # noqa: N818
    """Temporary credentials whose time is over, in seconds since 1970."""

    def __init__(self, expired_s: int) -> None:
        super().__init__(str(expired_s))
        self.expired_s = expired_s


class Expired(SigV4Error):  # noqa: N818
    """A presigned URL whose time is over."""

    def __init__(self, expired_s: int, now_s: int, expires_s: int) -> None:
        super().__init__(str(expired_s))
        self.expired_s = expired_s
        self.now_s = now_s
        self.expires_s = expires_s


class Key(NamedTuple):
    """One access key that may sign."""

    key_id: str
    secret: str
    account: str
    """Twelve digits."""
    arn: str
    user_id: str = ""
    """`AROA...:NAME` of an assumed role; empty: the key's own id."""
    session: str = ""
    """RoleSessionName; empty for all else."""
    expires_s: int | None = None
    """When temporary credentials end, in seconds since 1970; None for a long-term key."""
    parent: str = ""
    """The long-term key behind temporary credentials; empty where the server itself made them."""


class Keys(Protocol):
    """Where keys are found. Answers from memory: it stands in every request."""

    def lookup(self, key_id: str, token: str = "") -> Key | None:
        """The key, with a session token the temporary one; None for an unknown or revoked one, and for a token that is
        not of this server."""
        ...


class Credential(NamedTuple):
    """`KEY/20310105/us-east-1/sagemaker/aws4_request`."""

    key_id: str
    date: str
    region: str
    service: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class Claim(NamedTuple):
    """What a request says about its signature; nothing of it is verified."""

    credential: Credential
    signed_headers: tuple[str, ...]
    """Lower case, in the order given."""
    signature: str
    timestamp: str
    """`20310105T080000Z`."""
    expires_s: int | None = None
    """Life of a presigned URL in seconds; None: signed in headers."""
    token: str = ""
    """Session token; empty for a long-term key."""

    @property
    def presigned(self) -> bool:
        return self.expires_s is not None


class Proof(NamedTuple):
    """What stays of a request's signature after the head was handled: all that chunks need."""

    claim: Claim
    payload: str
    """Payload hash as signed: 64 hex digits, UNSIGNED-PAYLOAD or a STREAMING- literal. Who reads the body checks it."""
    key: Key | None = None
    """None: nothing was verified (server without --auth), and chunks need no checking."""
    signing_key: bytes = b""

    @property
    def verified(self) -> bool:
        return self.key is not None

    def chunk_signature(self, previous: str, chunk_sha256: str) -> str:
        """Signature of a chunk from the one before it (first: `claim.signature`) and the chunk's hex digest."""
        return self._sign(f"{ALGORITHM}-PAYLOAD", f"{previous}\n{EMPTY_SHA256}\n{chunk_sha256}")

    def trailer_signature(self, previous: str, trailer_sha256: str) -> str:
        """Signature of the trailer, from the last chunk's and the digest of its lines `name:value\\n`."""
        return self._sign(f"{ALGORITHM}-TRAILER", f"{previous}\n{trailer_sha256}")

    def _sign(self, algorithm: str, rest: str) -> str:
        text = f"{algorithm}\n{self.claim.timestamp}\n{self.claim.credential.scope}\n{rest}"
        return hmac.digest(self.signing_key, text.encode("latin-1"), "sha256").hex()


# -- reading what a request claims -------------------------------------------------------------------------------------


def parse_headers(headers: Mapping[str, str]) -> Claim | None:
    """The claim of an Authorization header (names in lower case), None where there is no such header; Malformed."""
    authorization = headers.get("authorization")
    if not authorization:
        return None
    head, comma, signature = authorization.rpartition("Signature=")
    if not comma or "," in signature or " " in signature:
        head, signature = _reorder(authorization)
    credential, signed_headers = _parse_head(head)
    timestamp = headers.get("x-amz-date") or _from_http_date(headers.get("date"))
    if timestamp is None:
        raise Malformed(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
            f"Authorization={authorization.split(' ')[0]}"
        )
    _check_date(credential, timestamp, presigned=False)
    return Claim(credential, signed_headers, signature, timestamp, None, headers.get("x-amz-security-token", ""))


def parse_query(query: str) -> Claim | None:
    """The claim of a presigned URL's query string, None where it has no X-Amz-Signature or Algorithm; Malformed."""
    if "X-Amz-" not in query:
        return None
    given: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name.startswith("X-Amz-"):
            given[name] = unquote_to_bytes(value).decode("latin-1")
    if "X-Amz-Signature" not in given and "X-Amz-Algorithm" not in given:
        return None
    names = ("Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires")
    missing = [f"X-Amz-{name}" for name in names if f"X-Amz-{name}" not in given]
    # S3 alone needs X-Amz-Expires; elsewhere (a presigned GetCallerIdentity) it defaults to the skew.
    if missing and missing != ["X-Amz-Expires"]:
        raise Malformed(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            presigned=True,
        )
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise Malformed(f'X-Amz-Algorithm only supports "{ALGORITHM}"', presigned=True)
    credential = _parse_credential(given["X-Amz-Credential"], presigned=True)
    expires = given.get("X-Amz-Expires", str(SKEW_S))
    if not (expires.isascii() and expires.isdigit()):
        raise Malformed("X-Amz-Expires should be a number", presigned=True)
    if len(expires) > 9 or int(expires) > EXPIRES_MAX_S:
        raise Malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            f"{EXPIRES_MAX_S} seconds",
            presigned=True,
        )
    timestamp = given["X-Amz-Date"]
    _check_date(credential, timestamp, presigned=True)
    signed = tuple(given["X-Amz-SignedHeaders"].split(";"))
    token = given.get("X-Amz-Security-Token", "")
    return Claim(credential, signed, given["X-Amz-Signature"], timestamp, int(expires), token)


def parse(headers: Mapping[str, str], query: str) -> Claim | None:
    """The claim of a request, from its header or else its query; None for an unsigned request; Malformed."""
    return parse_headers(headers) or parse_query(query)


def _reorder(authorization: str) -> tuple[str, str]:
    """Head and signature of a header whose Signature is missing or does not stand last."""
    scheme, _, rest = authorization.strip().partition(" ")
    parts = [part.strip() for part in rest.split(",")]
    signatures = [part for part in parts if part.startswith("Signature=")]
    head = f"{scheme} {','.join(part for part in parts if part not in signatures)}"
    if len(signatures) != 1:
        _parse_head(head)
        raise Malformed(f"Authorization header requires 'Signature' parameter. Authorization={_first(authorization)}")
    return head, signatures[0].partition("=")[2]


def _first(authorization: str) -> str:
    """The scheme: what a message may repeat of an Authorization header."""
    return authorization.split(" ", 1)[0][:64]


# One entry per client and day: the head holds neither time nor signature.
@functools.lru_cache(maxsize=4096)
def _parse_head(head: str) -> tuple[Credential, tuple[str, ...]]:
    """Credential and signed headers of an Authorization header less its signature."""
    scheme, _, rest = head.strip().partition(" ")
    if scheme != ALGORITHM:
        raise Malformed(f"Unsupported AWS 'algorithm': '{scheme[:64]}'. Clary takes {ALGORITHM}.")
    given = dict(part.strip().partition("=")[::2] for part in rest.split(",") if part.strip())
    lacking = [name for name in ("Credential", "SignedHeaders") if not given.get(name)]
    if lacking:
        needs = " ".join(f"Authorization header requires '{name}' parameter." for name in lacking)
        raise Malformed(f"{needs} Authorization={scheme}")
    signed = tuple(name.strip().lower() for name in given["SignedHeaders"].split(";"))
    return _parse_credential(given["Credential"], presigned=False), signed


def _parse_credential(text: str, *, presigned: bool) -> Credential:
    parts = text.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts) or not re.fullmatch(r"[0-9]{8}", parts[1]):
        raise Malformed(
            "Error parsing the credential: it must be of the form <YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request",
            presigned=presigned,
        )
    return Credential(*parts[:4])


def _from_http_date(date: str | None) -> str | None:
    """`20310105T080000Z` of a Date header in either of its two forms, None where there is none; Malformed."""
    if date is None:
        return None
    if re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", date):
        return date
    try:
        at = parsedate_to_datetime(date).utctimetuple()
    except (TypeError, ValueError, OverflowError):  # a time zone may take it out of the calendar
        raise Malformed(f"Date header is not a date: '{date[:64]}'") from None
    return time.strftime("%Y%m%dT%H%M%SZ", at)


def _check_date(credential: Credential, timestamp: str, *, presigned: bool) -> None:
    """The timestamp is one, and the scope's day is its day; Malformed."""
    try:
        instant_s(timestamp)
    except ValueError:
        raise Malformed(
            f"Date must be in ISO8601 'basic format'. Got '{timestamp[:64]}'.", presigned=presigned
        ) from None
    if credential.date != timestamp[:8]:
        raise Malformed(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{credential.date}' != '{timestamp[:8]}', from '{timestamp}'.",
            presigned=presigned,
        )


@functools.lru_cache(maxsize=256)
def instant_s(timestamp: str) -> int:
    """Seconds since 1970 of `20310105T080000Z`; ValueError."""
    if len(timestamp) != 16:
        raise ValueError(timestamp)
    return calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))


def timestamp_of(now_s: float) -> str:
    """`20310105T080000Z` of seconds since 1970."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
