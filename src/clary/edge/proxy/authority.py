"""A certificate authority for the life of one command: its key stays in memory, and it signs for AWS's names only."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clary.kit.clock import MICROS, Clock

AUTHORITY_DAYS = 365
"""Longer than any run: nobody can use it once the run is over."""
HOST_HOURS = 48
"""Life of a host's certificate; a connection after half of it gets a new one."""
HOSTS_MAX = 256
"""Hosts whose certificates are remembered, the last that were made: every bucket may be a host of its own."""
_BACKDATED = timedelta(hours=1)
"""For clients whose clock is behind."""
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clary exec --proxy")])


class Authority:
    """Certificates for host names below `suffixes`."""

    def __init__(self, folder: Path, suffixes: tuple[str, ...], clock: Clock) -> None:
        """`folder`: private to this user; a host's key lies in it for as long as it takes to load it."""
        self._folder = folder
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._hosts_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: dict[str, tuple[datetime, ssl.SSLContext]] = {}
        permitted = [x509.DNSName(suffix) for suffix in suffixes]
        self._certificate = (
            self._builder(self._key.public_key(), timedelta(days=AUTHORITY_DAYS))
            .subject_name(_NAME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.NameConstraints(permitted, None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """The authority's own certificate, for clients to trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def context(self, host: str) -> ssl.SSLContext:
        """What a TLS server named `host` speaks with."""
        now = self._now()
        made, context = self._contexts.get(host, (None, None))
        if made is None or context is None or now - made > timedelta(hours=HOST_HOURS / 2):
            context = self._new_context(host)
            self._contexts.pop(host, None)
            while len(self._contexts) >= HOSTS_MAX:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[host] = (now, context)
        return context

    def _new_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        file = self._folder / "host.pem"
        file.touch(mode=0o600)
        try:
            file.write_bytes(
                self._hosts_key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                + self._sign(host)
            )
            context.load_cert_chain(file)
        finally:
            file.unlink()
        return context

    def _sign(self, host: str) -> bytes:
        signed = (
            self._builder(self._hosts_key.public_key(), timedelta(hours=HOST_HOURS))
            .subject_name(_NAME)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM)

    def _builder(self, key: ec.EllipticCurvePublicKey, life: timedelta) -> x509.CertificateBuilder:
        now = self._now()
        return (
            x509.CertificateBuilder()
            .issuer_name(_NAME)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + life)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_us() / MICROS, UTC)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
