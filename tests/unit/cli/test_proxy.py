"""What a command is told of the proxy: variables that lead to it, and past it where that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.cli.connect import Keys, Target
from clary.cli.exit_codes import CliError, Exit
from clary.cli.private import free_port
from clary.cli.proxy import direct_hosts, proxied, refused_note, trusted

SUFFIXES = ("amazonaws.com", "api.aws")


@pytest.mark.parametrize(
    ("past", "kept"),
    [
        ("", ""),
        ("intra.example.com, .corp", ",intra.example.com,.corp"),
        ("localhost,10.0.0.0/8", ",10.0.0.0/8"),
        ("*", ""),
        ("*.amazonaws.com,.com,aws,s3.amazonaws.com,x.api.aws", ""),
        ("notamazonaws.com", ",notamazonaws.com"),
    ],
)
def test_nothing_leads_past_the_proxy_to_aws(past: str, kept: str) -> None:
    assert direct_hosts(past, "clary.lan", SUFFIXES) == "localhost,127.0.0.1,::1,clary.lan" + kept


def test_a_users_own_bundle_is_trusted_still_and_the_usual_roots_otherwise(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(b"OWN\n")
    assert trusted({"REQUESTS_CA_BUNDLE": str(own), "AWS_CA_BUNDLE": str(own)}) == b"\nOWN\n"
    assert trusted({"SSL_CERT_FILE": str(tmp_path / "none")}).count(b"BEGIN CERTIFICATE") > 50


def test_a_note_says_what_can_be_done() -> None:
    assert "NO_PROXY" in refused_note("example.com", SUFFIXES)
    assert refused_note("ec2.us-east-1.amazonaws.com", SUFFIXES).endswith("Clary does not serve it.")


def test_a_server_is_needed(tmp_path: Path) -> None:
    target = Target(f"http://127.0.0.1:{free_port()}", "--url", "us-east-1", Keys("K", "S", "", "test"), tmp_path)
    with pytest.raises(CliError) as refused, proxied(target, {}):
        pass
    assert refused.value.code is Exit.NO_SERVER
