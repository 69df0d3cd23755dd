"""Unmodified clients against the door, on a real server."""

from __future__ import annotations

import errno
import gzip
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.exceptions
import pytest

from clary.domain.errors import AlreadyExists, InTransition, LimitExceeded, NotFound
from clary.edge.aws.errors import DISK_FULL, AwsError
from clary.edge.aws.operation import Field
from clary.edge.aws.resources import sts
from clary.kit import sigv4
from clary.kit.clock import MICROS, VirtualClock
from clary.store.base import StoreUnavailableError
from tests.support.door import ACCOUNT, ANN, REGION, EchoS3, Served, operation, serve_door

ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e"
AT = datetime(2031, 1, 5, 8, 0, 0, 123000, tzinfo=UTC)
SUMMARY = {"EndpointName": "e", "EndpointArn": ARN, "EndpointStatus": "InService"}
SUMMARY_AT = {**SUMMARY, "CreationTime": AT, "LastModifiedTime": AT}
POINT = {"Timestamp": AT, "Sum": 2.0, "Unit": "None"}
SEEN: list[Any] = []
OPERATIONS = (
    *sts.operations(None, None),  # type: ignore[arg-type]
    operation("sagemaker", "CreateModel", {"ModelArn": ARN}, SEEN),
    operation("sagemaker", "DescribeEndpoint", NotFound("endpoint", "e", ARN)),
    operation("sagemaker", "DeleteEndpointConfig", NotFound("endpoint-config", "e", ARN)),
    operation("sagemaker", "CreateEndpoint", AlreadyExists("endpoint", "e", ARN), SEEN),
    operation("sagemaker", "DeleteEndpoint", InTransition("endpoint", "e", ARN)),
    operation("sagemaker", "AddTags", LimitExceeded("tags on a resource", 50, "tags")),
    operation("sagemaker", "DeleteModel", RuntimeError("secret of the house")),
    operation("sagemaker", "ListModels", OSError(errno.ENOSPC, "No space left on device")),
    operation("sagemaker", "ListEndpointConfigs", StoreUnavailableError("The store postgresql://h/db is away.")),
    operation("sagemaker", "DeleteTags", {}, SEEN),
    operation(
        "sagemaker", "CreateEndpointConfig", {"EndpointConfigArn": ARN}, SEEN,
        fields={"ProductionVariants": Field.SERVED, "ProductionVariants[].ServerlessConfig": Field.REFUSED},
        notes={"ProductionVariants[].ServerlessConfig": "Give InstanceType and InitialInstanceCount instead."},
    ),
    operation("sagemaker", "ListEndpoints", {"Endpoints": [SUMMARY_AT]}, SEEN),
    operation("cloudwatch", "GetMetricStatistics", {"Label": "L", "Datapoints": [POINT]}, SEEN),
    operation("cloudwatch", "ListMetrics", AwsError("InvalidParameterValue", "Bad NextToken.")),
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_door(OPERATIONS) as served:
        yield served


@pytest.fixture
def seen() -> list[Any]:
    SEEN.clear()
    return SEEN


def refusal(call: Any, **members: Any) -> botocore.exceptions.ClientError:
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**members)
    return refused.value


def test_sts_says_who_asks(served: Served) -> None:
    answer = served.client("sts").get_caller_identity()
    assert (answer["Account"], answer["Arn"], answer["UserId"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", "clary")
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


def test_a_json_operation_goes_round(served: Served, seen: list[Any]) -> None:
    members = {"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/R", "PrimaryContainer": {
        "Image": "i", "Environment": {"A": "1", "B": ""}}, "EnableNetworkIsolation": False}  # fmt: skip
    answer = served.client("sagemaker").create_model(**members)
    assert answer["ModelArn"] == ARN
    call, got = seen[0]
    assert got == members
    assert (call.scope.account, call.scope.region) == (ACCOUNT, REGION)
    assert call.endpoint_url == served.url
    assert call.user_agent.startswith("Boto3/")
    assert call.request_id == answer["ResponseMetadata"]["RequestId"]


def test_an_answer_has_one_date_and_one_request_id(served: Served) -> None:
    headers = served.client("sagemaker").list_endpoints()["ResponseMetadata"]["HTTPHeaders"]
    assert "," not in headers["x-amzn-requestid"]
    assert headers["date"].count("GMT") == 1
    assert headers["content-type"] == "application/x-amz-json-1.1"


def test_timestamps_go_both_ways(served: Served, seen: list[Any]) -> None:
    answer = served.client("sagemaker").list_endpoints(CreationTimeAfter=AT, MaxResults=5)
    assert answer["Endpoints"][0]["CreationTime"] == AT
    assert seen[0][1] == {"CreationTimeAfter": AT, "MaxResults": 5}


@pytest.mark.parametrize("protocol", ["json", "query"])
def test_cloudwatch_in_both_of_its_protocols(served: Served, seen: list[Any], protocol: str) -> None:
    client = served.speaking("cloudwatch", protocol)
    members = {
        "Namespace": "AWS/SageMaker", "MetricName": "Invocations", "StartTime": AT, "EndTime": AT, "Period": 60,
        "Statistics": ["Sum", "Average"], "Dimensions": [{"Name": "EndpointName", "Value": "e & <f>"}],
    }  # fmt: skip
    answer = client.get_metric_statistics(**members)
    assert answer["Datapoints"] == [{"Timestamp": AT, "Sum": 2.0, "Unit": "None"}]
    assert seen[0][1] == members
    error = refusal(client.list_metrics).response["Error"]
    assert (error["Code"], error["Message"]) == ("InvalidParameterValue", "Bad NextToken.")


@pytest.mark.parametrize(
    ("method", "members", "text"),
    [
        ("describe_endpoint", {"EndpointName": "e"}, "Could not find endpoint"),
        ("delete_endpoint_config", {"EndpointConfigName": "e"}, "Could not find endpoint configuration"),
        (
            "create_endpoint",
            {"EndpointName": "e", "EndpointConfigName": "c"},
            "Cannot create already existing endpoint",
        ),
        ("delete_endpoint", {"EndpointName": "e"}, "Cannot update in-progress endpoint"),
    ],
)
def test_facts_of_the_domain_in_the_services_words(served: Served, method: str, members: Any, text: str) -> None:
    error = refusal(getattr(served.client("sagemaker"), method), **members)
    assert error.response["Error"] == {"Code": "ValidationException", "Message": f'{text} "{ARN}".'}
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_limit_is_told(served: Served) -> None:
    error = refusal(served.client("sagemaker").add_tags, ResourceArn=ARN, Tags=[{"Key": "k", "Value": "v"}])
    assert error.response["Error"]["Code"] == "ResourceLimitExceeded"


def test_an_unforeseen_failure_tells_the_client_nothing(served: Served) -> None:
    error = refusal(served.client("sagemaker").delete_model, ModelName="m")
    assert error.response["Error"]["Code"] == "InternalFailure"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "secret" not in str(error)


def test_a_full_disk_is_named(served: Served) -> None:
    error = refusal(served.client("sagemaker").list_models)
    assert error.response["Error"] == {"Code": "InternalFailure", "Message": DISK_FULL}


def test_a_store_that_is_away_is_no_fault_of_the_client_and_worth_another_attempt(served: Served) -> None:
    error = refusal(served.client("sagemaker").list_endpoint_configs)
    assert error.response["Error"] == {
        "Code": "ServiceUnavailable",
        "Message": "The server's database cannot be reached now. Please try again.",
    }
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_constraints_are_refused_in_the_services_words(served: Served, seen: list[Any]) -> None:
    client = served.client("sagemaker", parameter_validation=False)
    error = refusal(client.create_endpoint, EndpointName="a b")
    assert error.response["Error"] == {
        "Code": "ValidationException",
        "Message": "2 validation errors detected: Value null at 'endpointConfigName' failed to satisfy constraint: "
        "Member must not be null; Value 'a b' at 'endpointName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    }
    assert not seen


def test_a_refused_field_is_named_with_its_remedy(served: Served, seen: list[Any]) -> None:
    client = served.client("sagemaker")
    variant = {"VariantName": "v", "ModelName": "m", "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    error = refusal(client.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[variant])
    assert error.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value at 'productionVariants.1.member.serverlessConfig' failed to "
        "satisfy constraint: Member is not served by Clary: Give InstanceType and InitialInstanceCount instead.",
    }
    assert not seen


def test_an_instance_type_beyond_the_model_file_passes(served: Served, seen: list[Any]) -> None:
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.t3.medium", "InitialInstanceCount": 1}
    served.client("sagemaker").create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    assert seen[0][1]["ProductionVariants"] == [variant]


def test_an_operation_not_served_is_named(served: Served) -> None:
    error = refusal(served.client("sagemaker").list_training_jobs)
    assert error.response["Error"]["Code"] == "UnknownOperationException"
    assert "Clary does not serve ListTrainingJobs of Amazon SageMaker yet" in error.response["Error"]["Message"]


def test_a_service_not_served_is_named(served: Served) -> None:
    error = refusal(served.client("dynamodb").list_tables)
    assert "Clary has no service 'dynamodb' with an operation 'ListTables'" in error.response["Error"]["Message"]
    error = refusal(served.client("cloudformation").list_stacks)
    assert error.response["Error"]["Code"] == "UnknownOperationException"
    assert "Clary has no service 'cloudformation'" in error.response["Error"]["Message"]


def test_a_type_error_is_a_serialization_exception(served: Served) -> None:
    client = served.client("sagemaker", parameter_validation=False)
    error = refusal(client.create_endpoint, EndpointName=7, EndpointConfigName="c")
    assert error.response["Error"] == {
        "Code": "SerializationException", "Message": "NUMBER_VALUE can not be converted to a String",
    }  # fmt: skip


def test_a_body_over_the_limit_is_refused(served: Served) -> None:
    client = served.client("sagemaker", parameter_validation=False)
    error = refusal(client.create_endpoint, EndpointName="e" * 2_000_000, EndpointConfigName="c")
    assert error.response["Error"]["Code"] == "RequestEntityTooLarge"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_an_operation_without_output_answers_an_empty_body(served: Served) -> None:
    assert (
        served.client("sagemaker").delete_tags(ResourceArn=ARN, TagKeys=["k"])["ResponseMetadata"]["HTTPStatusCode"]
        == 200
    )


def test_what_remains_is_s3() -> None:
    s3 = EchoS3()
    with serve_door(OPERATIONS, s3=s3) as served:
        client = served.client("s3")
        client.put_object(Bucket="bucket", Key="a key", Body=b"x")
        client.list_buckets()
        url = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
        _, headers, _ = served.get(url.partition(served.url)[2])
        assert headers["x-amz-request-id"]
    (put, path, proof), *_ = s3.calls
    assert (path, put.scope.region, len(s3.calls)) == ("/bucket/a key", REGION, 3)
    assert proof is not None
    assert not proof.verified


# -- signatures --------------------------------------------------------------------------------------------------------

START_S = int(datetime.now(UTC).timestamp())


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with serve_door(OPERATIONS, auth=True) as served:
        yield served


def test_a_good_signature_names_its_owner(guarded: Served) -> None:
    answer = guarded.client("sts", ANN).get_caller_identity()
    assert (answer["Account"], answer["Arn"]) == (ANN.account, ANN.arn)
    assert guarded.client("sagemaker", ANN).list_endpoints()["Endpoints"]


@pytest.mark.parametrize(
    ("service", "method", "key", "code"),
    [
        ("sagemaker", "list_endpoints", None, "UnrecognizedClientException"),
        ("sagemaker", "list_endpoints", ANN._replace(secret="x"), "InvalidSignatureException"),
        ("sts", "get_caller_identity", None, "InvalidClientTokenId"),
        ("sts", "get_caller_identity", ANN._replace(secret="x"), "SignatureDoesNotMatch"),
        ("cloudwatch", "list_metrics", None, "InvalidClientTokenId"),
        ("s3", "list_buckets", None, "InvalidAccessKeyId"),
        ("s3", "list_buckets", ANN._replace(secret="x"), "SignatureDoesNotMatch"),
    ],
)
def test_a_bad_signature_is_refused_in_the_services_words(
    guarded: Served, service: str, method: str, key: Any, code: str
) -> None:
    assert refusal(getattr(guarded.client(service, key), method)).response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("service", "method", "code"),
    [
        ("sagemaker", "list_endpoints", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "RequestTimeTooSkewed"),
    ],
)
def test_a_stale_request_is_refused(service: str, method: str, code: str) -> None:
    clock = VirtualClock((START_S + 3600) * MICROS)
    with serve_door(OPERATIONS, auth=True, clock=clock) as served:
        error = refusal(getattr(served.client(service, ANN), method)).response["Error"]
    assert error["Code"] == code
    if service != "s3":
        assert error["Message"].startswith("Signature expired: ")
        assert error["Message"].endswith("- 15 min.)")


def test_a_session_token_of_nobody_is_refused(guarded: Served) -> None:
    client = boto3.client(
        "sagemaker", endpoint_url=guarded.url, region_name=REGION, aws_access_key_id=ANN.key_id,
        aws_secret_access_key=ANN.secret, aws_session_token="token",
    )  # fmt: skip
    guarded.clients.append(client)
    assert refusal(client.list_endpoints).response["Error"]["Code"] == "UnrecognizedClientException"


def test_unsigned_requests_are_refused_even_by_an_open_server(served: Served, guarded: Served) -> None:
    for server in (served, guarded):
        status, _, body = server.get("/", {"x-amz-target": "SageMaker.ListEndpoints"}, "POST", b"{}")
        assert (status, b"MissingAuthenticationTokenException" in body) == (400, True)
        status, _, body = server.get("/bucket/key")
        assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)


# -- odd requests ------------------------------------------------------------------------------------------------------

CREDENTIAL = "Credential=clary/20310105/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=00"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def signed(service: str, **headers: str) -> dict[str, str]:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return {
        "authorization": f"AWS4-HMAC-SHA256 {CREDENTIAL.format(service)}",
        "x-amz-date": "20310105T000000Z",
        **given,
    }


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"authorization": "AWS4-HMAC-SHA256", "x-amz-target": "SageMaker.ListModels"}, 400,
         b'"__type":"IncompleteSignatureException"'),
        ({"authorization": "AWS4-HMAC-SHA256"}, 400, b"<Code>AuthorizationHeaderMalformed</Code>"),
        (signed("sts", **FORM), 400, b"<Code>UnknownOperationException</Code>"),
        (signed("sagemaker"), 400, b"has no operation ''"),
        (signed("sagemaker", x_amz_target="SageMaker.Nope"), 400, b"has no operation 'Nope'"),
        (signed("nope"), 400, b"Clary has no service 'nope'"),
    ],
)  # fmt: skip
def test_requests_that_mean_nothing(served: Served, headers: dict[str, str], status: int, text: bytes) -> None:
    got, _, body = served.get("/", headers, "POST", b"")
    assert got == status
    assert text in body


def test_a_presigned_question_who_am_i(guarded: Served) -> None:
    client = guarded.client("sts", ANN)
    url = client.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    status, _, body = guarded.get(url.removeprefix(guarded.url))
    assert (status, ANN.arn.encode() in body) == (200, True)
    status, _, body = guarded.get(url.removeprefix(guarded.url).replace("X-Amz-Expires=60", "X-Amz-Expires=61"))
    assert (status, b"SignatureDoesNotMatch" in body) == (403, True)


def test_cbor_is_refused_by_name_where_the_service_lacks_it(served: Served) -> None:
    path = "/service/SageMaker/operation/ListModels"
    status, _, body = served.get(path, signed("sagemaker"), "POST", b"\xa0")
    assert (status, b"smithy-rpc-v2-cbor" in body) == (400, True)


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x"], ids=["none", "cut", "more"]
)
def test_a_body_that_is_not_gzip_as_it_says(served: Served, body: bytes) -> None:
    headers = signed("sagemaker", x_amz_target="SageMaker.ListModels", content_encoding="gzip")
    status, _, answer = served.get("/", headers, "POST", body)
    assert (status, b"gzip" in answer) == (400, True)


def test_a_gzip_body_may_not_grow_without_end(served: Served) -> None:
    headers = signed("sagemaker", x_amz_target="SageMaker.ListModels", content_encoding="gzip")
    status, _, _ = served.get("/", headers, "POST", gzip.compress(b" " * (5 << 20)))
    assert status == 413
    headers["content-encoding"] = "br"
    assert served.get("/", headers, "POST", b"{}")[0] == 400


def test_a_chunked_body_over_the_limit_is_refused_before_its_end(served: Served) -> None:
    with socket.create_connection(served.url.removeprefix("http://").split(":"), timeout=20) as connection:
        lines = [f"{name}: {text}" for name, text in signed("sagemaker", x_amz_target="SageMaker.ListModels").items()]
        head = ["POST / HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", *lines, "", ""]
        connection.sendall("\r\n".join(head).encode() + b"100001\r\n" + b" " * 0x100001 + b"\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"RequestEntityTooLarge" in answer


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with (
        serve_door(OPERATIONS, body_s=0.01) as served,
        socket.create_connection(served.url.removeprefix("http://").split(":"), timeout=20) as connection,
    ):
        given = signed("sagemaker", x_amz_target="SageMaker.ListEndpoints")
        lines = [f"{name}: {text}" for name, text in given.items()]
        head = ["POST / HTTP/1.1", "Host: localhost", "Content-Length: 9", *lines, "", "{"]
        connection.sendall("\r\n".join(head).encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"RequestTimeout" in answer


def test_an_error_spells_its_message_as_its_shape_does() -> None:
    operations = [operation("sagemaker-runtime", "InvokeEndpoint", AwsError("ServiceUnavailable", "busy", 503))]
    with serve_door(operations) as served:
        status, headers, body = served.get("/endpoints/e/invocations", signed("sagemaker"), "POST", b"1")
    assert (status, headers["x-amzn-errortype"], body) == (503, "ServiceUnavailable", b'{"Message":"busy"}')


def test_expect_100_continue_is_answered_before_the_body(served: Served) -> None:
    with socket.create_connection(served.url.removeprefix("http://").split(":"), timeout=20) as connection:
        lines = [
            f"{name}: {text}" for name, text in signed("sagemaker", x_amz_target="SageMaker.ListEndpoints").items()
        ]
        head = ["POST / HTTP/1.1", "Host: localhost", "Content-Length: 2", "Expect: 100-continue", *lines, "", ""]
        connection.sendall("\r\n".join(head).encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"{}")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_signature_for_another_service_is_refused(guarded: Served) -> None:
    headers = sigv4.sign(
        method="POST", path="/", query="", headers={"host": guarded.url.removeprefix("http://"), "x-amz-target":
        "SageMaker.ListEndpoints"}, payload=b"{}", key_id=ANN.key_id, secret=ANN.secret, region=REGION,
        service="monitoring", now_s=START_S,
    )  # fmt: skip
    status, _, body = guarded.get("/", headers, "POST", b"{}")
    assert (status, b"scoped to correct service: 'sagemaker'" in body) == (400, True)
