"""Signatures of browser-based uploads, of version 4 and 2: of the policy document, as it stands in the form.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html; checked against boto3's forms in the
tests.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

from clary.kit.sigv4 import (
    ALGORITHM,
    BadSignature,
    Claim,
    Credential,
    Key,
    Malformed,
    SessionExpired,
    UnknownKey,
    signing_key,
)


def claim_of(fields: Mapping[str, str], region: str) -> Claim | None:
    """What a form says of its signature, nothing of it verified; None where it has none; Malformed.

    `fields` by lower-case name; `region` for version 2, which names none.
    """
    token = fields.get("x-amz-security-token", "")
    if "x-amz-signature" in fields:
        if fields.get("x-amz-algorithm") != ALGORITHM:
            raise Malformed(f"X-Amz-Algorithm only supports {ALGORITHM}")
        parts = fields.get("x-amz-credential", "").split("/")
        timestamp = fields.get("x-amz-date", "")
        if len(parts) != 5 or parts[3:] != ["s3", "aws4_request"] or parts[1] != timestamp[:8]:
            raise Malformed(
                "the Credential is mal-formed; expecting '<YOUR-AKID>/YYYYMMDD/REGION/s3/aws4_request' of the day of "
                "X-Amz-Date"
            )
        return Claim(Credential(*parts[:4]), (), fields["x-amz-signature"], timestamp, 0, token)
    if "awsaccesskeyid" in fields and "signature" in fields:
        return Claim(Credential(fields["awsaccesskeyid"], "", region, "s3"), (), fields["signature"], "", 0, token)
    return None


def verify(claim: Claim, policy: str, key: Key | None, now_s: float) -> Key:
    """The key that signed the policy; UnknownKey, SessionExpired, BadSignature. When it ends, the policy says."""
    if key is None:
        raise UnknownKey(claim.credential.key_id)
    if key.expires_s is not None and now_s >= key.expires_s:
        raise SessionExpired(key.expires_s)
    credential = claim.credential
    if credential.date:
        secret = signing_key(key.secret, credential.date, credential.region, credential.service)
        ours = hmac.digest(secret, policy.encode(), "sha256").hex()
    else:
        ours = base64.b64encode(hmac.digest(key.secret.encode(), policy.encode(), "sha1")).decode()
    if not hmac.compare_digest(ours.encode(), claim.signature.encode()):
        raise BadSignature(credential.key_id, policy, "", claim.signature)
    return key
