"""Which requests control hands on to a router."""

from __future__ import annotations

import pytest

from clary.edge.forward import is_hot


@pytest.mark.parametrize(
    ("path", "hot"),
    [
        ("/endpoints/a/invocations", True),
        ("/endpoints/a/invocations-response-stream", True),
        ("/endpoints/a/versions/2/invocations", True),
        ("/endpoints/a/versions/latest/invocations", True),
        ("/endpoints/a/b/invocations", False),
        ("/endpoints//invocations", False),
        ("/endpoints/a/docs", False),
    ],
)
def test_an_invocation_is_a_routers_and_an_object_of_that_bucket_is_not(path: str, hot: bool) -> None:
    assert is_hot("POST", path) is hot
    assert not is_hot("GET", path)
