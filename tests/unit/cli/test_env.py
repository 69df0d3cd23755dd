"""`clary env`: exports that shells and botocore itself understand, profiles that harm nobody's."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import botocore.session
import pytest

from clary.cli.connect import Keys, Target
from clary.cli.env import MARK, Shell, conflicting, lines, variables, write_profile
from clary.cli.exit_codes import CliError

TARGET = Target(
    "http://127.0.0.1:8430", "default", "eu-west-1", Keys("CLARYID", "se'cr$et", "", "root key"), Path("/h")
)


def test_a_shell_that_evaluates_the_lines_has_the_variables_and_lost_those_in_the_way() -> None:
    environ = {
        "AWS_PROFILE": "work",
        "AWS_ENDPOINT_URL_S3": "http://minio",
        "AWS_SESSION_TOKEN": "t",
        "PATH": os.defpath,
    }
    script = "\n".join(lines(Shell.SH, variables(TARGET, environ), conflicting(environ)))
    out = subprocess.run(["sh", "-c", f"{script}\nenv"], env=environ, capture_output=True, text=True, check=True).stdout
    seen = dict(line.split("=", 1) for line in out.splitlines() if line.startswith("AWS_"))
    assert seen == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:8430",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "CLARYID",
        "AWS_SECRET_ACCESS_KEY": "se'cr$et",
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }


def test_other_shells_quote_in_their_way() -> None:
    settings = {"A": "it's \\ $x"}
    assert lines(Shell.FISH, settings, ["B"]) == ["set -e B", "set -gx A 'it\\'s \\\\ $x'"]
    assert lines(Shell.POWERSHELL, settings, ["B"]) == ["Remove-Item Env:B", "$env:A = 'it''s \\ $x'"]


def test_a_proxy_is_told_to_leave_the_server_alone_and_keeps_its_other_exceptions() -> None:
    assert "NO_PROXY" not in variables(TARGET, {})
    found = variables(TARGET, {"HTTPS_PROXY": "http://p", "NO_PROXY": "corp"})
    assert found["NO_PROXY"] == found["no_proxy"] == "corp,127.0.0.1"
    assert variables(TARGET, {"http_proxy": "http://p", "NO_PROXY": "127.0.0.1"})["NO_PROXY"] == "127.0.0.1"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {
        "AWS_CONFIG_FILE": str(tmp_path / "aws" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws" / "credentials"),
    }


def test_botocore_reads_the_profile_and_the_other_profiles_stay_as_they_were(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, credentials = Path(files["AWS_CONFIG_FILE"]), Path(files["AWS_SHARED_CREDENTIALS_FILE"])
    config.parent.mkdir()
    config.write_text("# mine\n[default]\nregion = us-west-2\n\n[profile work]\nregion=eu-central-1\ns3 =\n  a = b\n")
    credentials.write_text("[work]\naws_access_key_id = W\naws_secret_access_key = w\n")
    before = config.read_text(), credentials.read_text()
    write_profile("clary", TARGET, files)
    write_profile("clary", TARGET, files)
    assert config.read_text().startswith(before[0])
    assert credentials.read_text().startswith(before[1])
    assert config.read_text().count("[profile clary]") == 1
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    for name, value in files.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    session = botocore.session.Session(profile="clary")
    client = session.create_client("sagemaker")
    assert client.meta.endpoint_url == "http://127.0.0.1:8430"
    assert client.meta.region_name == "eu-west-1"
    assert session.get_credentials().access_key == "CLARYID"
    assert session.get_credentials().secret_key == "se'cr$et"


def test_a_profile_of_somebody_else_is_refused_and_nothing_is_written(files: dict[str, str]) -> None:
    credentials = Path(files["AWS_SHARED_CREDENTIALS_FILE"])
    credentials.parent.mkdir()
    credentials.write_text("[clary]\naws_access_key_id = MINE\n")
    with pytest.raises(CliError, match="did not write"):
        write_profile("clary", TARGET, files)
    assert credentials.read_text() == "[clary]\naws_access_key_id = MINE\n"
    assert not Path(files["AWS_CONFIG_FILE"]).exists()


def test_a_rewritten_profile_between_others_leaves_both_neighbours(files: dict[str, str]) -> None:
    credentials = Path(files["AWS_SHARED_CREDENTIALS_FILE"])
    credentials.parent.mkdir()
    credentials.write_text(f"[a]\nx = 1\n\n[clary]\n{MARK}\nold = 1\n\n[b]\ny = 2\n")
    write_profile("clary", TARGET, files)
    text = credentials.read_text()
    assert "old" not in text
    assert text.index("[a]\nx = 1") < text.index("[b]\ny = 2") < text.index("[clary]")


@pytest.mark.parametrize("name", ["", "a]b", "two words", "x" * 65])
def test_what_is_no_profile_name_is_refused(files: dict[str, str], name: str) -> None:
    with pytest.raises(CliError, match="not a profile name"):
        write_profile(name, TARGET, files)
