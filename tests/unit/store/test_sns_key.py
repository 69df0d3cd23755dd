"""The key of topics' messages: made once, by the clock, and what it signs holds."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from clary.kit.clock import MICROS, VirtualClock
from clary.kit.instants import utc_of
from clary.store.sns_key import Signer

NOW_US = 1_700_000_040 * MICROS


def test_a_certificate_holds_from_the_clocks_now_on_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "sns.pem"
    signer = Signer(path, "http://127.0.0.1:1", VirtualClock(NOW_US))
    made = x509.load_pem_x509_certificate(signer.certificate)
    assert made.not_valid_before_utc == utc_of(NOW_US) - timedelta(hours=1)
    assert made.not_valid_after_utc > utc_of(NOW_US) + timedelta(days=10_000)
    assert path.stat().st_mode & 0o777 == 0o600
    again = Signer(path, "http://127.0.0.1:1", VirtualClock(2 * NOW_US))
    assert (again.certificate, again.certificate_name) == (signer.certificate, signer.certificate_name)


@pytest.mark.parametrize(("version", "algorithm"), [("1", hashes.SHA1()), ("2", hashes.SHA256())])
def test_a_signature_covers_what_sns_signs(tmp_path: Path, version: str, algorithm: hashes.HashAlgorithm) -> None:
    signer = Signer(tmp_path / "sns.pem", "http://127.0.0.1:1", VirtualClock(NOW_US))
    signature = signer.sign({"Type": "Notification", "Message": "m", "Other": "not signed"}, version)
    key = x509.load_pem_x509_certificate(signer.certificate).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    signed = b"Message\nm\nType\nNotification\n"
    key.verify(base64.b64decode(signature), signed, padding.PKCS1v15(), algorithm)
