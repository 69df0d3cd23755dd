"""The SDK's configuration file that `clary env` and `clary exec` write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from clary.cli.connect import Keys, Target
from clary.cli.sdk_config import VARIABLE, sdk_variables

TARGET = Target("http://127.0.0.1:8430", "default", "eu-west-1", Keys("K", "s", "", "root key"), Path("/h"))


def at(home: Path) -> Target:
    (home / "run").mkdir()
    (home / "run" / "server.json").write_text('{"account": "210987654321"}')
    return replace(TARGET, home=home)


def test_the_sdk_gets_its_own_name_of_the_default_bucket_and_reports_nothing(tmp_path: Path) -> None:
    found = sdk_variables(at(tmp_path), {})
    assert found["SAGEMAKER_VALIDATE_ROLE"] == "false"
    assert found["AWS_DISABLE_HOST_PREFIX_INJECTION"] == "true"
    config = yaml.safe_load(Path(found[VARIABLE]).read_text())
    modules = {"TelemetryOptOut": True, "Session": {"DefaultS3Bucket": "sagemaker-eu-west-1-210987654321"}}
    assert config == {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": modules}}}


def test_a_users_own_file_stays_in_charge_and_one_of_another_clary_does_not(tmp_path: Path) -> None:
    target = at(tmp_path)
    assert VARIABLE not in sdk_variables(target, {VARIABLE: "/mine/config.yaml"})
    assert "SAGEMAKER_VALIDATE_ROLE" not in sdk_variables(target, {"SAGEMAKER_VALIDATE_ROLE": "true"})
    found = sdk_variables(target, {VARIABLE: "/gone/run/sagemaker-sdk.yaml"})
    assert found[VARIABLE] == str(tmp_path / "run" / "sagemaker-sdk.yaml")


def test_without_a_home_there_is_no_file(tmp_path: Path) -> None:
    assert VARIABLE not in sdk_variables(replace(TARGET, home=tmp_path), {})
