"""Every served operation, whoever wrote it: botocore is the client, and the oracle of what comes back.

Inputs and outputs are generated from the shapes; handlers are replaced by ones that record and answer, so that what is
tested is the way in and out. Operations that are added to `resources` are covered without a change here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import botocore.exceptions
import botocore.handlers
import pytest
from botocore.model import StructureShape
from hypothesis import HealthCheck, assume, given, settings

from clary.assembly.operations import Desks
from clary.assembly.operations import operations as assembled_operations
from clary.edge.aws import fields_doc
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.registry import entry_of, paths, problems
from clary.edge.aws.spec import BY_NAME, Spec
from tests.support.door import Served, serve_door
from tests.support.shapes import inputs_of, least_with, outputs_of

SPEC = Spec()
OPERATIONS = tuple(fields_doc.operations())
NAMES = [f"{operation.service}.{operation.name}" for operation in OPERATIONS]
QUICK = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)  # fmt: skip


class Recorder:
    """Stands in for a handler: keeps what came, gives what it is told."""

    def __init__(self) -> None:
        self.came: list[Members] = []
        self.answer: Members = {}

    async def __call__(self, call: Call, members: Members) -> Members:
        self.came.append(members)
        return self.answer


RECORDER = Recorder()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_door([replace(operation, handler=RECORDER) for operation in OPERATIONS]) as served:
        yield served


@pytest.fixture(scope="module")
def clients(served: Served) -> dict[str, Any]:
    by_service = {service: served.client(service, parameter_validation=False) for service in BY_NAME}
    # What boto3 makes of a policy document is its own: here counts what was sent.
    by_service["iam"].meta.events.unregister("after-call.iam", botocore.handlers.json_decode_policies)
    return {
        **by_service,
        "cloudwatch over query": served.speaking("cloudwatch", "query"),
        "cloudwatch over cbor": served.speaking("cloudwatch", "smithy-rpc-v2-cbor"),
    }


def streams(operation: Operation) -> bool:
    """Whether routers answer it with events, which the door never does (tests/unit/dataplane/test_streams.py)."""
    model = SPEC.operation(operation.service, operation.name)
    return model is not None and model.has_event_stream_output


# A service that speaks several protocols is tried in each.
SPOKEN = [(operation, operation.service) for operation in OPERATIONS if not streams(operation)]
SPOKEN += [
    (operation, f"cloudwatch over {protocol}")
    for operation in OPERATIONS
    for protocol in ("query", "cbor")
    if operation.service == "cloudwatch"
]


def method_of(client: Any, operation: Operation) -> Any:
    by_wire_name = {wire: python for python, wire in client.meta.method_to_api_mapping.items()}
    return getattr(client, by_wire_name[operation.name])


def holds_empty(value: Any) -> bool:
    """Whether a structure somewhere below has no member."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(item == {} or holds_empty(item) for item in inner)


def plain(value: Any) -> Any:
    """An answer of botocore without what the client adds."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.read() if hasattr(value, "read") else value


@pytest.mark.parametrize(("operation", "client"), SPOKEN, ids=[f"{client}.{o.name}" for o, client in SPOKEN])
def test_what_a_client_sends_arrives_and_what_is_answered_comes_back(
    clients: dict[str, Any], operation: Operation, client: str
) -> None:
    model = SPEC.operation(operation.service, operation.name)
    assert model is not None
    method = method_of(clients[client], operation)
    by_form = "query" in client or BY_NAME[operation.service].protocol == "query"

    @QUICK
    @given(inputs_of(operation, model.input_shape), outputs_of(model.output_shape))
    def goes_round(members: dict[str, Any], answer: dict[str, Any]) -> None:
        # A form has no way to say an empty structure or map.
        assume(not by_form or not holds_empty(members))
        RECORDER.came.clear()
        RECORDER.answer = answer
        got = plain(method(**members))
        assert RECORDER.came == [members]
        # HTTP names a content type even where the answer does not.
        assert {name: got[name] for name in got if name in answer or name != "ContentType"} == answer

    goes_round()


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_what_is_missing_is_named(clients: dict[str, Any], operation: Operation) -> None:
    model = SPEC.operation(operation.service, operation.name)
    assert model is not None
    shape = model.input_shape
    # What stands in the path cannot be left out: the request would be another one.
    required = [] if not isinstance(shape, StructureShape) else [
        name for name in shape.required_members if shape.members[name].serialization.get("location") != "uri"
        and shape.serialization.get("payload") != name
    ]  # fmt: skip
    if not required:
        return
    RECORDER.came.clear()
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        method_of(clients[operation.service], operation)()
    message = refused.value.response["Error"]["Message"]
    for name in required:
        path = name[0].lower() + name[1:]
        assert f"Value null at '{path}' failed to satisfy constraint: Member must not be null" in message
    assert not RECORDER.came


def refused_paths(operation: Operation) -> Iterator[str]:
    """Paths that may not be given. Where something below a refused one is allowed, the others right below it."""
    model = SPEC.operation(operation.service, operation.name)
    assert model is not None
    for path, how in operation.fields.items():
        if how is Field.REFUSED:
            below = [other for other in paths(model.input_shape) if other.startswith(path + ".")]
            follows = [other for other in below if entry_of(operation, other) == path]
            if len(follows) == len(below):
                yield path
            else:
                yield from (other for other in follows if not any(other.startswith(f"{top}.") for top in follows))


# With an EndpointId boto3 signs for many regions (SigV4a): that is refused before anything is read.
UNREAD = ("PutEvents", "EndpointId")
REFUSED = [
    (operation, path)
    for operation in OPERATIONS
    for path in refused_paths(operation)
    if (operation.name, path) != UNREAD
]


@pytest.mark.parametrize(("operation", "path"), REFUSED, ids=[f"{o.name}-{path}" for o, path in REFUSED])
def test_a_refused_field_is_named(clients: dict[str, Any], operation: Operation, path: str) -> None:
    model = SPEC.operation(operation.service, operation.name)
    assert model is not None
    assert isinstance(model.input_shape, StructureShape)
    RECORDER.came.clear()
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        method_of(clients[operation.service], operation)(**least_with(model.input_shape, path))
    message = refused.value.response["Error"]["Message"]
    named = re.search(r"Value at '(.*)' failed to satisfy constraint: Member is not served by Clary", message)
    assert named is not None, message
    spelled = [re.sub(r"[\[\]{}]", "", part) for part in path.split(".")]
    assert re.sub(r"\.[^.]+\.member", "", named[1]) == ".".join(part[0].lower() + part[1:] for part in spelled)
    assert not RECORDER.came


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_every_field_is_listed(operation: Operation) -> None:
    assert problems(operation, SPEC) == []


def test_an_unlisted_and_a_made_up_field_are_problems() -> None:
    operation = Operation("sagemaker", "DescribeEndpoint", RECORDER, fields={"EndpointNam": Field.STORED})
    assert problems(operation, SPEC) == [
        "sagemaker DescribeEndpoint: EndpointName is not listed",
        "sagemaker DescribeEndpoint: EndpointNam is not a field of the operation",
        "sagemaker DescribeEndpoint: EndpointNam is stored without a reason in notes",
    ]


def test_the_page_of_operations_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert fields_doc.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_noticed(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "operations.md"
    assert fields_doc.main(["--path", str(page)]) == 0
    assert fields_doc.main(["--check", "--path", str(page)]) == 0
    page.write_text(page.read_text().replace("GetCallerIdentity", "GetCallerIdentities"))
    assert fields_doc.main(["--check", "--path", str(page)]) == 1
    assert "fields_doc" in capsys.readouterr().err


def test_paths_end_where_a_structure_holds_itself() -> None:
    for service in BY_NAME:
        for name in SPEC.service(service).operation_names:
            model = SPEC.operation(service, name)
            assert model is not None
            assert len(list(paths(model.input_shape))) < 20_000


def test_errors_of_resources_may_be_raised_as_such() -> None:
    assert str(AwsError("Code", "text.")) == "Code: text."


def test_what_is_documented_is_what_is_assembled() -> None:
    made = assembled_operations(Desks(Any, Any, Any, Any, Any))  # type: ignore[arg-type]
    assembled = {(operation.service, operation.name) for operation in made}
    assert assembled == {(operation.service, operation.name) for operation in OPERATIONS}
