"""Certificates as strict clients check them: chain, name, dates, and nothing outside AWS's names."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from clary.edge.proxy import authority as authority_module
from clary.edge.proxy.authority import HOST_HOURS, Authority
from clary.kit.clock import SystemClock, VirtualClock

HOST = "bucket.s3.us-east-1.amazonaws.com"
LONG = f"{'b' * 60}.s3.us-east-1.amazonaws.com"


def shake(authority: Authority, served: str, asked: str) -> None:
    """A handshake in memory of a client that trusts the authority; ssl.SSLCertVerificationError."""
    client = ssl.create_default_context(cadata=authority.pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=asked),
        authority.context(served).wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    while len(done) < 2:
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("host", [HOST, LONG])
def test_a_strict_client_trusts_a_host(tmp_path: Path, host: str) -> None:
    shake(Authority(tmp_path, ("amazonaws.com",), SystemClock()), host, host)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_holds_for_its_host_only(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(Authority(tmp_path, ("amazonaws.com",), SystemClock()), HOST, "sts.amazonaws.com")


def test_the_authority_is_good_for_nothing_but_aws(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake(Authority(tmp_path, ("amazonaws.com",), SystemClock()), "example.com", "example.com")


async def test_a_host_gets_a_new_certificate_in_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    authority = Authority(tmp_path, ("amazonaws.com",), clock)
    first = authority.context(HOST)
    await clock.advance(HOST_HOURS * 3600 / 2)
    assert authority.context(HOST) is first
    await clock.advance(1)
    assert authority.context(HOST) is not first
    made = x509.load_pem_x509_certificate(authority.pem)
    assert made.not_valid_before_utc < datetime.fromtimestamp(clock.now_us() / 1e6, UTC) < made.not_valid_after_utc


def test_the_hosts_remembered_are_the_last_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_module, "HOSTS_MAX", 2)
    authority = Authority(tmp_path, ("amazonaws.com",), SystemClock())
    a, b = authority.context("a.amazonaws.com"), authority.context("b.amazonaws.com")
    authority.context("c.amazonaws.com")
    assert authority.context("b.amazonaws.com") is b
    assert authority.context("a.amazonaws.com") is not a
