"""The key that messages of topics are signed with, in a file of its own.

Source: SNS developer guide, "Verifying the signatures of Amazon SNS messages".
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from clary.kit.clock import Clock
from clary.kit.instants import utc_of
from clary.store.seal import write_secret

_SIGNED = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")
"""What a signature covers, in its order; what a document lacks is left out."""
_YEARS = 30


class Signer:
    """The server's own key for messages of topics, and its certificate; made on first use."""

    def __init__(self, path: Path, url: str, clock: Clock) -> None:
        """`path`: of key and certificate, PEM, 0600. `url`: where clients reach the server."""
        self._path = path
        self.url = url
        self._clock = clock
        self._loaded: tuple[rsa.RSAPrivateKey, bytes] | None = None

    @property
    def certificate(self) -> bytes:
        """The certificate, PEM. Blocking."""
        return self._load()[1]

    @property
    def certificate_name(self) -> str:
        """The last part of SigningCertURL. Blocking."""
        return f"SimpleNotificationService-{hashlib.sha256(self.certificate).hexdigest()[:32]}.pem"

    def sign(self, document: Mapping[str, str], version: str) -> str:
        """The signature of a document: version 1 uses SHA1, 2 SHA256, as SNS does. Blocking."""
        text = "".join(f"{name}\n{document[name]}\n" for name in _SIGNED if name in document)
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 - what SNS's version 1 is
        return base64.b64encode(self._load()[0].sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()

    def _load(self) -> tuple[rsa.RSAPrivateKey, bytes]:
        if self._loaded is None:
            if not self._path.exists():
                write_secret(self._path, _made(utc_of(self._clock.now_us())))
            pem = self._path.read_bytes()
            key = serialization.load_pem_private_key(pem, None)
            assert isinstance(key, rsa.RSAPrivateKey), "it is made so"
            certificate = x509.load_pem_x509_certificate(pem)
            self._loaded = key, certificate.public_bytes(serialization.Encoding.PEM)
        return self._loaded


def _made(now: datetime) -> bytes:
    """A new key and a certificate of its own, PEM, from an hour before `now` on."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clary sns")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    own = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return own + certificate.public_bytes(pem)
