"""A worker's server for each test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.worker import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Stopped, and joined, afterwards."""
    it = Bench(tmp_path)
    yield it
    for _ in range(10):
        it.model.gate.release()
    it.close()
