"""The schema and the page of an endpoint say what its model says, and nothing that a name could smuggle in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clary.control.endpoint_docs import EndpointFacts, VariantFacts
from clary.domain.principal import Scope
from clary.domain.signature import Column, Example, ModelSignature
from clary.domain.states import EndpointStatus
from clary.edge import docs_html, docs_pages, openapi

FACTS = EndpointFacts(
    Scope("123456789012", "us-east-1"), "Rides", EndpointStatus.IN_SERVICE, "", 3,
    (VariantFacts("blue", 1.0, 2, "model", "image:1", "sklearn", ("r1",)),),
)  # fmt: skip
MIXED = ModelSignature(
    columns=(Column("zone", "string"), Column("miles"), Column("tip", required=False), Column("x", "any")),
    outputs=1,
    accepts=("application/json", "text/csv"),
    answers=("application/json",),
    json_body="records",
    example=Example('[{"zone": "a"}]', "application/json", "[1.5]", "application/json"),
)


def made(signature: ModelSignature, **how: Any) -> Any:
    found = openapi.document(FACTS, [openapi.Variant("blue", signature)], "http://h:1", **{"auth": False, **how})
    return json.loads(json.dumps(found))


def operation(document: Any) -> Any:
    return document["paths"]["/endpoints/Rides/invocations"]["post"]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {v for k, v in value.items() if k == "$ref"}.union(*(references(v) for v in value.values()))
    return set().union(*(references(one) for one in value)) if isinstance(value, list) else set()


def test_records_are_objects_by_column() -> None:
    document = made(MIXED)
    assert document["components"]["schemas"]["Row"] == {
        "type": "object",
        "properties": {
            "zone": {"type": "string"}, "miles": {"type": "number"}, "tip": {"type": ["number", "null"]}, "x": {},
        },
        "required": ["zone", "miles", "x"],
    }  # fmt: skip
    content = operation(document)["requestBody"]["content"]
    assert list(content) == ["application/json", "text/csv"]
    assert content["application/json"]["example"] == [{"zone": "a"}]
    assert content["text/csv"]["schema"]["description"] == "One row a line: zone, miles, tip, x."
    assert operation(document)["responses"]["200"]["content"]["application/json"]["example"] == [1.5]
    assert operation(document)["parameters"][0]["schema"]["enum"] == ["blue"]


@pytest.mark.parametrize("form", ["rows", "records", "mlflow", ""])
@pytest.mark.parametrize("columns", [(), MIXED.columns, (Column(""),) * 3])
def test_every_reference_leads_somewhere(form: str, columns: tuple[Column, ...]) -> None:
    document = made(ModelSignature(columns, accepts=("application/json", "text/csv", "x/y"), json_body=form), auth=True)
    for reference in references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert document["security"] == [{"sigv4": []}]


def test_without_a_replica_the_document_is_one_all_the_same() -> None:
    document = openapi.document(FACTS, [], "http://h:1", auth=False)
    assert operation(document)["requestBody"]["content"]["text/csv"]["schema"]["type"] == "string"
    assert "does not say" in docs_html.page(FACTS, [], "http://h:1", auth=False)


def test_nothing_that_a_model_says_is_markup() -> None:
    bad = '"><script>alert(1)</script>'
    signature = ModelSignature((Column(bad),), accepts=(bad,), example=Example(bad, bad, bad, bad))
    page = docs_html.page(FACTS, [openapi.Variant("blue", signature)], "http://h:1", auth=False)
    assert "<script>alert" not in page
    assert page.count("<script>") == 1
    assert "script-src 'sha256-" in docs_html.POLICY


def test_a_server_with_auth_offers_no_form() -> None:
    page = docs_html.page(FACTS, [openapi.Variant("blue", MIXED)], "http://h:1", auth=True)
    assert "<form" not in page
    assert "--aws-sigv4" in page


@pytest.mark.parametrize(
    ("method", "path", "query", "authorization", "page"),
    [
        ("GET", "/endpoints/a/docs", b"", None, True),
        ("HEAD", "/endpoints/a/openapi.json", b"", None, True),
        ("POST", "/endpoints/a/docs", b"", None, False),
        ("GET", "/endpoints/a/b/docs", b"", None, False),
        ("GET", "/endpoints//docs", b"", None, False),
        ("GET", "/endpoints/a/docs", b"", b"AWS4-HMAC-SHA256 Credential=K/20260101/r/s3/aws4_request", False),
        ("GET", "/endpoints/a/docs", b"", b"AWS4-HMAC-SHA256 Credential=K/20260101/r/sagemaker/aws4_request", True),
        ("GET", "/endpoints/a/docs", b"X-Amz-Credential=K%2F20260101%2Fr%2Fs3%2Faws4_request", None, False),
        ("GET", "/endpoints/a/docs", b"AWSAccessKeyId=K&Signature=x", None, False),
    ],
)
def test_what_is_a_page_and_what_an_object(
    method: str, path: str, query: bytes, authorization: bytes | None, *, page: bool
) -> None:
    headers = [(b"authorization", authorization)] if authorization else []
    scope = {"method": method, "path": path, "query_string": query, "headers": headers}
    assert docs_pages.is_page(scope) is page
