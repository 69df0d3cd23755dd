"""Reading and writing each protocol; round trips through real clients are in tests/wire/test_operations.py."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.model import DenormalizedStructureBuilder, Shape
from hypothesis import given
from hypothesis import strategies as st

from clary.edge.aws.protocols import eventstream, json, query, rest_json, values
from clary.edge.aws.protocols.json import DEPTH_MAX, UNKNOWN
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.spec import Spec

AT = datetime(2031, 1, 5, 8, 0, 0, 123000, tzinfo=UTC)
SPEC = Spec()


def shape(**members: Any) -> Shape:
    return DenormalizedStructureBuilder().with_members(members).build_model()


ALL = shape(
    Text={"type": "string"},
    Count={"type": "integer"},
    Big={"type": "long"},
    Share={"type": "double"},
    Flag={"type": "boolean"},
    At={"type": "timestamp"},
    Raw={"type": "blob"},
    Items={"type": "list", "member": {"type": "string"}},
    Pairs={"type": "map", "key": {"type": "string"}, "value": {"type": "integer"}},
    Inner={"type": "structure", "members": {"A": {"type": "string"}}},
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "The request body is not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"Text": 1}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"Text": true}', "TRUE_VALUE can not be converted to a String"),
        (b'{"Text": {}}', "Start of structure or map found where not expected."),
        (b'{"Count": "1"}', "STRING_VALUE can not be converted to an Integer"),
        (b'{"Count": 1.5}', "1.5 can not be converted to an Integer"),
        (b'{"Count": 2147483648}', "2147483648 can not be converted to an Integer"),
        (b'{"Big": 1e300}', "1e+300 can not be converted to a Long"),
        (b'{"Share": "x"}', "STRING_VALUE can not be converted to a Double"),
        (b'{"Flag": "true"}', "STRING_VALUE can not be converted to a Boolean"),
        (b'{"At": true}', "TRUE_VALUE can not be converted to milliseconds since epoch"),
        (b'{"At": 1e300}', "is not a time"),
        (b'{"At": "soon"}', "must follow ISO8601"),
        (b'{"Raw": "*"}', "not valid base64"),
        (b'{"Items": "a"}', "Expected list or null"),
        (b'{"Pairs": []}', "Expected map or null, found list"),
        (b'{"Inner": "a"}', "Expected structure or null, found STRING_VALUE"),
    ],
)
def test_json_that_does_not_fit_its_types(body: bytes, text: str) -> None:
    with pytest.raises(Unreadable) as unreadable:
        json.parse(body, ALL)
    assert text in unreadable.value.message


def test_json_that_fits() -> None:
    body = (
        b'{"Text":"a","Count":1.0,"Share":"NaN","At":1925280000.123,"Raw":"AQI=","Items":[],"Inner":null,'
        b'"Pairs":{"a":1}}'
    )
    members = json.parse(body, ALL)
    assert math.isnan(members.pop("Share"))
    at = datetime(2031, 1, 4, 8, 0, 0, 123000, tzinfo=UTC)
    assert members == {"Text": "a", "Count": 1, "At": at, "Raw": b"\x01\x02", "Items": [], "Pairs": {"a": 1}}
    assert json.parse(b"", ALL) == {}
    assert json.parse(b'{"Nope": 1, "__type": "x"}', ALL) == {f"{UNKNOWN}Nope": 1}
    assert json.parse(b'{"Nope": 1}', None) == {f"{UNKNOWN}Nope": 1}


@given(st.binary(max_size=60))
def test_any_body_is_read_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(Unreadable):
        json.parse(body, ALL)
    with contextlib.suppress(Unreadable):
        query.parse(query.form_fields(body.decode("latin-1")), ALL)


def test_json_nested_beyond_the_limit_is_unreadable() -> None:
    model = SPEC.operation("sagemaker", "Search")
    assert model is not None
    deep = b'{"SearchExpression":' + b'{"SubExpressions":[' * DEPTH_MAX + b"{}" + b"]}" * DEPTH_MAX + b"}"
    with pytest.raises(Unreadable, match="deeper"):
        json.parse(deep, model.input_shape)


def test_json_out_leaves_out_none_and_refuses_members_that_the_shape_lacks() -> None:
    assert json.serialise({"Text": None, "Share": math.inf, "At": AT, "Raw": b"\x01"}, ALL) == (
        b'{"Share":"Infinity","At":1925366400.123,"Raw":"AQ=="}'
    )
    with pytest.raises(KeyError):
        json.serialise({"Nope": 1}, ALL)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ("Count=x", "'x' can not be converted to an Integer"),
        ("Share=x", "'x' can not be converted to a Float"),
        ("Share=1_0", "'1_0' can not be converted to a Float"),
        ("Flag=yes", "'yes' can not be converted to a Boolean"),
        ("At=soon", "must follow ISO8601"),
        ("Raw=*", "not valid base64"),
        ("Items.1=a", "Unexpected list element: '1'"),
        ("Items.member.x=a", "can not be converted to an Integer"),
        ("Text.a=b", "Unexpected complex element termination"),
        ("%FF=b", "not UTF-8"),
        ("a." * 70 + "b=c", "nested deeper"),
    ],
)
def test_query_fields_that_do_not_fit(fields: str, text: str) -> None:
    with pytest.raises(Unreadable) as unreadable:
        query.parse(query.form_fields(fields), ALL)
    assert text in unreadable.value.message


def test_query_fields_that_fit() -> None:
    form = (
        "Action=X&Version=1&Text=a+b%26&Flag=TRUE&Items.member.10=c&Items.member.2=b&Pairs.entry.1.key=k&"
        "Pairs.entry.1.value=7&Inner.A=x&At=2031-01-05T08:00:00.123Z&Nope=1&X-Amz-Date=1"
    )
    assert query.parse(query.form_fields(form), ALL) == {
        "Text": "a b&", "Flag": True, "Items": ["b", "c"], "Pairs": {"k": 7}, "Inner": {"A": "x"}, "At": AT,
        f"{UNKNOWN}Nope": "",
    }  # fmt: skip
    assert query.parse({"Items": ""}, ALL) == {"Items": []}


def test_too_many_fields_are_unreadable() -> None:
    with pytest.raises(Unreadable, match="more than"):
        query.form_fields("&".join(f"a{i}=1" for i in range(query.FIELDS_MAX + 1)))


@given(st.text(max_size=40))
def test_any_text_makes_well_formed_xml(text: str) -> None:
    body = query.error_body("Code", text, sender=True, request_id="r", namespace="http://n/")
    message = ElementTree.fromstring(body).find("{http://n/}Error/{http://n/}Message")
    assert message is not None
    assert (message.text or "").replace("\n", "").replace("\r", "") == query.xml_text(text).replace("\r", "").replace(
        "\n", ""
    )


@given(st.datetimes(datetime(1902, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_timestamps_in_every_form(at: datetime) -> None:
    milliseconds = at.replace(microsecond=at.microsecond // 1000 * 1000)
    assert values.from_epoch(values.to_epoch(at)) == milliseconds
    assert values.from_text(values.to_iso8601(at)) == milliseconds
    assert values.from_text(values.to_http_date(at)) == at.replace(microsecond=0)
    assert isinstance(values.to_epoch(at.replace(microsecond=0)), int)


header_values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=20),
    st.text(max_size=20),
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=0)
    ),
    st.uuids(),
)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.text(min_size=1, max_size=9), header_values, max_size=4), st.binary(max_size=80))
    )
)
def test_botocore_reads_our_events(messages: list[tuple[dict[str, Any], bytes]]) -> None:
    buffer = EventStreamBuffer()
    for headers, payload in messages:
        buffer.add_data(eventstream.encode(headers, payload))
    got = [(event.headers, event.payload) for event in buffer]
    assert [payload for _, payload in got] == [payload for _, payload in messages]
    for (read, _), (written, _) in zip(got, messages, strict=True):
        assert read == {name: as_read(value) for name, value in written.items()}


def as_read(value: Any) -> Any:
    """botocore gives timestamps in milliseconds and UUIDs as bytes."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    return value.bytes if isinstance(value, UUID) else value


def test_events_of_a_stream_operation() -> None:
    model = SPEC.operation("sagemaker-runtime", "InvokeEndpointWithResponseStream")
    assert model is not None
    assert model.output_shape is not None
    part = model.output_shape.members["Body"].members["PayloadPart"]
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.event("PayloadPart", {"Bytes": b"abc"}, part))
    buffer.add_data(eventstream.exception("ModelStreamError", {"Message": "m"}))
    buffer.add_data(eventstream.error("InternalFailure", "m"))
    first, second, third = list(buffer)
    assert (first.headers[":event-type"], first.payload) == ("PayloadPart", b"abc")
    assert first.headers[":content-type"] == "application/octet-stream"
    assert (second.headers[":exception-type"], second.payload) == ("ModelStreamError", b'{"Message":"m"}')
    assert third.headers[":error-code"] == "InternalFailure"


def test_an_event_over_the_limit_is_a_bug_of_ours() -> None:
    for headers, payload in (
        ({}, b"x" * (eventstream.PAYLOAD_BYTES_MAX + 1)),
        ({"a": "x" * 40_000}, b""),
        ({"": 1}, b""),
    ):
        with pytest.raises(ValueError, match=r"limit|at most|1 to 255"):
            eventstream.encode(headers, payload)


def test_rest_paths() -> None:
    pattern = rest_json.template_pattern("/a/{Name}/b/{Rest+}?x")
    found = pattern.fullmatch("/a/n%2Fm/b/c/d")
    assert found is not None
    assert found.groups() == ("n%2Fm", "c/d")
    assert not pattern.fullmatch("/a/n/m/b/c")
    assert rest_json.labels("/a/{Name}/b/{Rest+}?x") == ["Name", "Rest"]
    model = SPEC.operation("sagemaker-runtime", "InvokeEndpoint")
    assert model is not None
    head = rest_json.Head("/endpoints/a%20b/invocations", "", {"content-type": "text/csv"})
    assert rest_json.parse(head, b"1,2", model) == {"EndpointName": "a b", "ContentType": "text/csv", "Body": b"1,2"}
