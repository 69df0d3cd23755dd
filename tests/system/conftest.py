"""A real `clary serve` for each test module, and real boto3 clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model import packed_regressor
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server on its own HOME and port; every process of it is gone afterwards."""
    with Server(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.tar.gz of a small XGBoost regressor of four features."""
    path = tmp_path_factory.mktemp("model") / "model.tar.gz"
    path.write_bytes(packed_regressor())
    return path
