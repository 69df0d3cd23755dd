"""Whether an invocation is signed, by whom, and with which region in its scope."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from clary.dataplane.head import Head, Refused
from clary.dataplane.routes import KeyRoute
from clary.kit import sigv4
from clary.store.sessions import Sessions

SERVICE = "sagemaker"
"""Signing name of sagemaker-runtime."""

_KEY_ID = re.compile(r"Credential=([^/,\s]{1,128})/").search
_SCOPE_REGION = re.compile(r"Credential=[^/,\s]+/\d{8}/([^/,\s]+)/").search


def region_of(head: Head) -> str:
    """The region of the credential scope, unverified; empty for an unsigned request."""
    found = _SCOPE_REGION(head.headers.get("authorization", ""))
    return found[1] if found else ""


def key_id_of(head: Head) -> str:
    """The key id that a request names, unverified; empty for an unsigned request."""
    found = _KEY_ID(head.headers.get("authorization", ""))
    return found[1] if found else ""


class Keyring:
    """The keys of one snapshot. Signing keys are cached by kit.sigv4."""

    def __init__(self, keys: Iterable[KeyRoute], sessions: str = "") -> None:
        """`sessions`: the key of session tokens in hex; empty where the snapshot's writer knew none."""
        self._sessions = Sessions(bytes.fromhex(sessions)) if sessions else None
        self._keys = {key.key_id: sigv4.Key(key.key_id, key.secret, key.account, key.arn) for key in keys}

    def verify(self, head: Head, body: bytes, now_s: float) -> sigv4.Key:
        """The key that signed this request. Refused, in the form that the service's own front end uses."""
        try:
            claim = sigv4.parse(head.headers, head.query)
            if claim is None:
                raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            if claim.credential.service != SERVICE:
                text = f"Credential should be scoped to correct service: '{SERVICE}'."
                raise Refused(403, "InvalidSignatureException", text)
            key = self._key_of(claim)
            sigv4.verify(
                claim,
                key,
                method=head.method,
                path=head.path,
                query=head.query,
                headers=head.headers,
                payload=hashlib.sha256(body).hexdigest(),
                now_s=now_s,
            )
        except sigv4.SigV4Error as error:
            raise _refused(error) from None
        assert key is not None, "verify raises UnknownKey for None"
        return key

    def _key_of(self, claim: sigv4.Claim) -> sigv4.Key | None:
        key_id = claim.credential.key_id
        if not claim.token:
            return self._keys.get(key_id)
        return None if self._sessions is None else self._sessions.key_of(key_id, claim.token, self._keys)


def _refused(error: sigv4.SigV4Error) -> Refused:
    """Codes and texts as AWS front ends send them (IAM user guide, "Troubleshoot SigV4 signing")."""
    if isinstance(error, sigv4.UnknownKey):
        text = "The security token included in the request is invalid."
        return Refused(403, "UnrecognizedClientException", text)
    if isinstance(error, sigv4.SessionExpired):
        return Refused(403, "ExpiredTokenException", "The security token included in the request is expired")
    if isinstance(error, sigv4.Malformed):
        return Refused(403, "IncompleteSignatureException", error.message)
    if isinstance(error, sigv4.Stale):
        ours = sigv4.timestamp_of(error.now_s)
        if error.too_old:
            edge = sigv4.timestamp_of(error.now_s - sigv4.SKEW_S)
            text = f"Signature expired: {error.timestamp} is now earlier than {edge} ({ours} - 15 min.)"
        else:
            edge = sigv4.timestamp_of(error.now_s + sigv4.SKEW_S)
            text = f"Signature not yet current: {error.timestamp} is still later than {edge} ({ours} + 15 min.)"
        return Refused(403, "InvalidSignatureException", text)
    if isinstance(error, sigv4.Unsigned):
        text = f"These headers must be signed: {', '.join(error.headers)}."
        return Refused(403, "InvalidSignatureException", text)
    if isinstance(error, sigv4.Expired):
        return Refused(403, "InvalidSignatureException", "The presigned URL has expired.")
    text = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )
    return Refused(403, "InvalidSignatureException", text)
