"""A server that says what a test tells it to. The command against a real one: tests/system/test_cli.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.scripted import Asked, Scripted, scripting

__all__ = ["Asked", "Scripted"]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A scripted server on a free port."""
    with scripting() as script:
        yield script
