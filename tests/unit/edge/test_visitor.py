"""Endpoints' pages on a server with --auth are for those who sign."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette

from clary.control.endpoint_docs import EndpointFacts
from clary.domain.principal import Scope
from clary.domain.states import EndpointStatus
from clary.edge import docs_pages
from clary.edge.visitor import Doorman, VisitorOptions
from clary.kit.clock import SystemClock
from clary.kit.sigv4 import sign
from tests.support.door import ANN, OneKey, Served, serve_asgi


async def lookup(account: str, name: str) -> dict[str, str]:
    return {"us-east-1": "01E"} if (account, name) == (ANN.account, "rides") else {}


async def facts(uid: str) -> EndpointFacts | None:
    return EndpointFacts(Scope(ANN.account, "us-east-1"), "rides", EndpointStatus.CREATING, "", 1, ())


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    options = VisitorOptions(auth=True, account="123456789012", region="us-east-1")
    pages = docs_pages.DocsPages(Doorman(lookup, OneKey(), SystemClock(), options), facts, dict)
    with serve_asgi(Starlette(routes=docs_pages.routes(pages))) as running:
        yield running


def signed(served: Served, path: str, secret: str, age_s: float = 0) -> dict[str, str]:
    return sign(
        method="GET", path=path, query="", headers={"host": served.url.removeprefix("http://")}, payload=b"", token="",
        key_id=ANN.key_id, secret=secret, region="us-east-1", service="sagemaker", now_s=time.time() - age_s,
    )  # fmt: skip


@pytest.mark.parametrize("page", ["docs", "openapi.json"])
def test_a_signature_opens_the_page(served: Served, page: str) -> None:
    path = f"/endpoints/rides/{page}"
    assert served.get(path)[0] == 401
    status, _, body = served.get(path, signed(served, path, ANN.secret))
    assert status == 200
    assert b"rides" in body
    assert served.get(path, signed(served, path, "wrong"))[0] == 403
    assert served.get(path, signed(served, path, ANN.secret, age_s=3600))[0] == 403
    other = "/endpoints/other/docs"
    assert served.get(other, signed(served, other, ANN.secret))[0] == 404
