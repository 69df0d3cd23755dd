"""What the tests of the hot path share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hot_path import Rig, endpoint, snapshot


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """One endpoint `Ridge` with one variant and one live, pure, exactly joining replica."""
    made = Rig(tmp_path)
    made.use(snapshot(endpoint()))
    return made
