"""One object store for the tests of this folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.s3 import S3Server, serve_s3


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve_s3(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def s3(server: S3Server) -> Any:
    return server.s3


@pytest.fixture
def bucket(server: S3Server, request: pytest.FixtureRequest) -> str:
    """A bucket of this test's own, empty."""
    name = f"b-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"
    server.s3.create_bucket(Bucket=name)
    return name
