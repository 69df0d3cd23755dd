"""Which images there are, and what answers for each here."""

from __future__ import annotations

import json

import pytest

from clary.cli.exit_codes import Exit
from clary.cli.images import DISTRIBUTIONS, installed
from clary.cli.main import main
from clary.runtimes.images import catalogue


def test_every_runtime_of_an_image_has_a_library_to_look_for() -> None:
    assert {entry.runtime for entry in catalogue()} <= set(DISTRIBUTIONS)


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "--json"]) == 0
    found = {entry["repository"]: entry for entry in json.loads(capsys.readouterr().out)["images"]}
    assert found["sagemaker-xgboost"]["library"].startswith("xgboost")
    assert "1.7-1" in found["sagemaker-xgboost"]["tags"]
    assert main(["images"]) == 0
    assert "sagemaker-scikit-learn" in capsys.readouterr().out
    assert installed("no such runtime") is None


def test_a_folder_that_is_none_is_refused_before_anything_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "add", "app", "--command", "true", "--dir", "/no/such/folder"]) == Exit.USAGE
    assert "--dir '/no/such/folder' is no folder." in capsys.readouterr().err
