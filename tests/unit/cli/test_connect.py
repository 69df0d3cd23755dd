"""Which server, which keys, which region: by precedence, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HOME with a server and its root key; no clary.toml in the working folder."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "secrets").mkdir()
    (home / "run" / "server.json").write_text(
        json.dumps({"url": "http://127.0.0.1:9999", "region": "eu-west-1", "account": "123456789012"})
    )
    (home / "secrets" / "root.json").write_text(json.dumps({"key_id": "CLARYROOT", "secret": "s"}))
    return home


AWS = {"AWS_ACCESS_KEY_ID": "AKIAREAL", "AWS_SECRET_ACCESS_KEY": "real"}


def test_homes_own_server_is_found_with_its_root_key_even_beside_keys_of_a_real_account(home: Path) -> None:
    target = find(None, home, None, None, AWS)
    assert (target.url, target.url_source, target.region) == ("http://127.0.0.1:9999", "server.json", "eu-west-1")
    assert target.keys.key_id == "CLARYROOT"


@pytest.mark.parametrize("given", [{"CLARY_URL": "http://other:1"}, {"AWS_ENDPOINT_URL": "http://other:1/"}])
def test_a_server_named_by_the_environment_is_asked_with_the_environments_keys(
    home: Path, given: dict[str, str]
) -> None:
    target = find(None, home, None, None, {**AWS, **given})
    assert (target.url, target.keys.key_id) == ("http://other:1", "AKIAREAL")


def test_the_option_wins_over_the_environment(home: Path) -> None:
    target = find("http://flag:1", home, "ap-south-1", None, {"CLARY_URL": "http://other:1", "AWS_REGION": "us-west-2"})
    assert (target.url, target.region) == ("http://flag:1", "ap-south-1")


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"CLARY_REGION": "us-west-1", "AWS_REGION": "us-west-2"}, "us-west-1"),
        ({"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-east-2"}, "us-west-2"),
        ({"AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
        ({}, "eu-west-1"),
    ],
)
def test_region_comes_from_the_nearest_place(home: Path, environ: dict[str, str], region: str) -> None:
    assert find(None, home, None, None, environ).region == region


def test_without_any_server_the_configured_address_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = find(None, tmp_path / "none", None, None, {"CLARY_PORT": "7777"})
    assert (target.url, target.url_source, target.region) == ("http://127.0.0.1:7777", "default", "us-east-1")
    assert target.keys.source == "none"


def test_a_profile_gives_keys_and_region(home: Path, tmp_path: Path) -> None:
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text("[profile work]\nregion = eu-north-1\n")
    credentials.write_text("[work]\naws_access_key_id = K\naws_secret_access_key = S\naws_session_token = T\n")
    files = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    target = find(None, home, None, "work", files)
    assert (target.keys.key_id, target.keys.secret, target.keys.token, target.region) == ("K", "S", "T", "eu-north-1")
    assert find("http://x:1", home, None, None, {**files, "AWS_PROFILE": "work"}).keys.source == "profile work"
    with pytest.raises(CliError, match="'other' has no access key"):
        find(None, home, None, "other", files)


@pytest.mark.parametrize("url", ["127.0.0.1:8430", "ftp://x", "http://"])
def test_what_is_no_url_is_refused_with_its_source(home: Path, url: str) -> None:
    with pytest.raises(CliError, match="CLARY_URL = ") as refused:
        find(None, home, None, None, {"CLARY_URL": url})
    assert refused.value.code is Exit.USAGE


def test_a_bad_setting_ends_the_command_with_its_source(home: Path) -> None:
    with pytest.raises(CliError, match="port = 'x' \\(from CLARY_PORT\\)"):
        find(None, home, None, None, {"CLARY_PORT": "x"})
