"""Which service and operation a request means."""

from __future__ import annotations

import pytest

from clary.edge.aws.detect import detect
from clary.edge.aws.spec import Spec
from clary.kit.sigv4 import Claim, Credential

SPEC = Spec()
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
LIST = "SageMaker.ListModels"
CBOR = "/service/GraniteServiceVersion20100801/operation/ListMetrics"


def claim(signing: str) -> Claim | None:
    return Claim(Credential("K", "20310105", "r", signing), (), "", "20310105T000000Z") if signing else None


@pytest.mark.parametrize(
    ("signing", "method", "path", "query", "headers", "protocol", "service", "operation"),
    [
        ("sagemaker", "POST", "/", "", {"x-amz-target": LIST}, "json", "sagemaker", "ListModels"),
        ("", "POST", "/", "", {"x-amz-target": LIST}, "json", "sagemaker", "ListModels"),
        ("dynamodb", "POST", "/", "", {"x-amz-target": "DynamoDB_20120810.ListTables"}, "json", None, "ListTables"),
        ("sagemaker", "POST", "/endpoints/e/invocations", "", {}, "rest-json", "sagemaker-runtime", "InvokeEndpoint"),
        ("sagemaker", "POST", "/endpoints/e/async-invocations", "", {}, "rest-json", "sagemaker-runtime",
         "InvokeEndpointAsync"),
        ("sagemaker", "GET", "/endpoints/e/invocations", "", {}, "json", "sagemaker", ""),
        ("monitoring", "POST", "/", "", FORM, "query", "cloudwatch", ""),
        ("monitoring", "POST", "/", "", {}, "json", "cloudwatch", ""),
        ("monitoring", "POST", CBOR, "", {}, "cbor", "cloudwatch", "ListMetrics"),
        ("sts", "POST", "/", "", FORM, "query", "sts", ""),
        ("sts", "GET", "/", "Action=GetCallerIdentity&Version=2011-06-15", {}, "query", "sts", ""),
        ("", "GET", "/", "Action=GetCallerIdentity&Version=2011-06-15", {}, "query", "sts", ""),
        ("", "GET", "/", "Action=X&Version=1999-01-01", {}, "s3", None, ""),
        ("", "POST", "/", "", {"host": "sts.localhost:8430"}, "query", "sts", ""),
        ("lambda", "POST", "/2015-03-31/functions", "", {}, "json", None, ""),
        ("autoscaling", "POST", "/", "", FORM, "query", None, ""),
        ("s3", "GET", "/", "", {}, "s3", None, ""),
        ("s3", "POST", "/b", "Action=x&Version=2011-06-15", {"host": "sts.localhost"}, "s3", None, ""),
        ("s3", "PUT", "/b/endpoints/e/invocations", "", {"x-amz-target": LIST}, "s3", None, ""),
        ("", "GET", "/bucket/key", "", {"host": "localhost"}, "s3", None, ""),
        ("", "GET", "/key", "", {"host": "bucket.localhost"}, "s3", None, ""),
    ],
)  # fmt: skip
def test_what_a_request_means(
    signing: str,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    protocol: str,
    service: str,
    operation: str,
) -> None:
    target = detect(SPEC, method=method, path=path, query_string=query, headers=headers, claim=claim(signing))
    assert (target.protocol, target.service.name if target.service else None, target.operation) == (
        protocol, service, operation,
    )  # fmt: skip
