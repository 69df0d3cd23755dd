"""InvokeEndpoint: headers both ways, variants, regions, errors to the letter, metrics.

Where the texts come from: `public-issue` (seen in public trackers), `aws-docs`, `ours`.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from clary.replica import frames
from clary.replica.frames import Tag
from clary.telemetry.delta import decode_deltas
from clary.telemetry.spool import segments
from tests.support.hot_path import Rig, endpoint, invocation, parse_answers, snapshot, variant

RID = "00000000-0000-4000-8000-000000000001"


def test_a_good_answer_is_complete(rig: Rig) -> None:
    client = rig.invoke(b"1,2", accept="text/csv", custom_attributes="a=1", inference_id="i-1")
    wire = rig.wires["v-AllTraffic-0"]
    (frame,) = wire.requests
    assert {tag: bytes(value) for tag, value in frame.head.items()} == {
        Tag.CONTENT_TYPE: b"text/csv",
        Tag.ACCEPT: b"text/csv",
        Tag.CUSTOM_ATTRIBUTES: b"a=1",
        Tag.INFERENCE_ID: b"i-1",
        Tag.REQUEST_ID: RID.encode(),
        Tag.DEADLINE_MS: frames.u32(60_000),
    }
    times = {Tag.PREDICT_US: frames.u32(7), Tag.QUEUE_US: frames.u32(8), Tag.BATCH_ROWS: frames.u32(1)}
    wire.answer(frame, b"0.5\n", head=times)
    (answer,) = parse_answers(client.written)
    assert (answer.status, answer.body) == (200, b"0.5\n")
    assert dict(answer.headers) == {
        "x-amzn-invoked-production-variant": "AllTraffic",
        "content-type": "text/csv",
        "x-amzn-requestid": RID,
        "date": "Tue, 14 Nov 2023 22:13:20 GMT",
        "content-length": "4",
    }


def test_custom_attributes_come_back_only_from_the_model(rig: Rig) -> None:
    client = rig.invoke(custom_attributes="mine")
    rig.wires["v-AllTraffic-0"].answer_last(head={Tag.CUSTOM_ATTRIBUTES: b"the model's\r\nX-Evil: 1"})
    (answer,) = parse_answers(client.written)
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "the model's  X-Evil: 1"
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_passed_through(rig: Rig, status: int) -> None:
    client = rig.invoke()
    rig.wires["v-AllTraffic-0"].answer_last(b"" if status == 204 else b"x", status)
    (answer,) = parse_answers(client.written)
    assert answer.status == status
    assert ("content-length" in answer.headers) is (status != 204)


def test_answers_with_other_timings_share_their_first_lines_and_differ_in_nothing_else(rig: Rig) -> None:
    seen = set()
    for n in range(3):
        client = rig.invoke()
        times = {tag: frames.u32(n) for tag in (Tag.PREDICT_US, Tag.QUEUE_US, Tag.BATCH_ROWS)}
        rig.wires["v-AllTraffic-0"].answer_last(head=times)
        seen.add(parse_answers(client.written)[0].headers["content-type"])
    (live,) = next(iter(rig.hot.table)).variants
    assert (len(live.prefixes), seen) == (1, {"text/csv"})


@pytest.mark.parametrize("name", ["ridge", "RIDGE", "%52idge"])
def test_names_are_found_without_case(rig: Rig, name: str) -> None:
    rig.invoke(name=name)
    assert len(rig.wires["v-AllTraffic-0"].requests) == 1


def signed(region: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential=AKID/20310105/{region}/sagemaker/aws4_request, SignedHeaders=host, Signature=0"


def test_the_region_is_that_of_the_signature_else_the_only_one_else_the_default(rig: Rig) -> None:
    rig.use(
        snapshot(
            endpoint("Both", variant("Here", uid="here")),
            endpoint("Both", variant("There", uid="there"), region="us-east-1"),
            endpoint("One", variant("Only", uid="only"), region="us-east-1"),
        )
    )

    def served(name: str, **headers: str) -> str:
        before = {uid: len(wire.requests) for uid, wire in rig.wires.items()}
        client = rig.invoke(name=name, **headers)
        for uid, wire in rig.wires.items():
            if len(wire.requests) > before[uid]:
                wire.answer_last()
                return uid
        return parse_answers(client.written)[0].json["Message"]

    assert served("both") == "here-0"
    assert served("both", authorization=signed("us-east-1")) == "there-0"
    assert served("one") == "only-0"
    assert served("one", authorization=signed("eu-west-1")) == "Endpoint one of account 123456789012 not found."


def test_traffic_follows_the_weights_and_a_target_variant_its_name(rig: Rig) -> None:
    rig.use(snapshot(endpoint("Ab", variant("A", 3), variant("B", 1), variant("C", 0))))
    rig.draws = [0.0, 0.3, 0.7, 0.8]
    for _ in range(4):
        rig.invoke(name="ab")
    rig.invoke(name="ab", target_variant="C")
    connections = [rig.wires[f"v-{name}-0"] for name in "ABC"]
    for wire in connections:
        wire.answer_last()
    assert Counter(w.replica.uid for w in connections for _ in w.requests) == {"v-A-0": 3, "v-B-0": 1, "v-C-0": 1}


ERRORS = [
    # (headers, name, status, type, text, origin of the text)
    ({}, "nope", "Endpoint nope of account 123456789012 not found."),  # public-issue
    (
        {"target_model": "a.tar.gz"},
        "ridge",
        "Endpoint Ridge is not a multi-model endpoint and does not support target model header.",  # public-issue
    ),
    ({"target_variant": "X"}, "ridge", "Variant X of endpoint Ridge not found. It has: AllTraffic."),  # ours
    *(
        ({header: "x"}, "ridge", f"{member} (header X-Amzn-SageMaker-{header.replace('_', '-').title()}) is not served")
        for header, member in (
            ("enable_explanations", "EnableExplanations"),
            ("inference_component", "InferenceComponentName"),
            ("session_id", "SessionId"),
            ("target_container_hostname", "TargetContainerHostname"),
            ("prefix_aware_id", "PrefixAwareId"),
        )
    ),
    (
        {},
        "a%20b",
        "1 validation error detected: Value 'a b' at 'endpointName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*",  # aws-docs
    ),
    ({}, "x" * 64, "Member must have length less than or equal to 63"),
    ({"inference_id": "x" * 65}, "ridge", "at 'inferenceId' failed"),
    ({"custom_attributes": "é"}, "ridge", "at 'customAttributes' failed"),
    ({"custom_attributes": "x" * 1025}, "ridge", "length less than or equal to 1024"),
    ({"content_type": "x" * 1025}, "ridge", "at 'contentType' failed"),
]


@pytest.mark.parametrize(("headers", "name", "text"), ERRORS)
def test_validation_errors(rig: Rig, headers: dict[str, str], name: str, text: str) -> None:
    (error,) = parse_answers(rig.invoke(name=name, **headers).written)
    assert (error.status, error.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert error.headers["content-type"] == "application/json"
    assert error.headers["x-amzn-requestid"]
    assert text in error.json["Message"]
    assert rig.wires["v-AllTraffic-0"].batches == []


def test_a_header_given_twice_is_refused(rig: Rig) -> None:
    connection, transport = rig.client()
    line = b"X-Amzn-SageMaker-Target-Variant: AllTraffic\r\n"
    connection.data_received(invocation().replace(b"Host:", line * 2 + b"Host:"))
    assert "given more than once" in parse_answers(transport.written)[0].json["Message"]


LOGS = "http://127.0.0.1:8430/clary/logs/Ridge in account 123456789012 for more information."
ARN = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/sagemaker/Endpoints/Ridge"


@pytest.mark.parametrize(
    ("status", "body", "head", "members"),
    [
        (
            400,
            b"bad row",
            {},
            {
                "LogStreamArn": ARN,
                "Message": f'Received client error (400) from primary with message "bad row". See {LOGS}',
                "OriginalMessage": "bad row",
                "OriginalStatusCode": 400,
            },
        ),
        (
            500,
            b"oops",
            {},
            {
                "ErrorCode": "INTERNAL_FAILURE_FROM_MODEL",
                "LogStreamArn": ARN,
                "Message": f'Received server error (500) from primary with message "oops". See {LOGS}',
                "OriginalMessage": "oops",
                "OriginalStatusCode": 500,
            },
        ),
        (
            0,
            b"",
            {Tag.ERROR: b"timeout"},
            {
                "ErrorCode": "INTERNAL_FAILURE_FROM_MODEL",
                "LogStreamArn": ARN,
                "Message": 'Received server error (0) from primary with message "Your invocation timed out while '
                "waiting for a response from container primary. Review the latency metrics for each container in "
                f'Amazon CloudWatch, resolve the issue, and try again.". See {LOGS}',
                "OriginalMessage": "Your invocation timed out while waiting for a response from container primary. "
                "Review the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
                "OriginalStatusCode": 0,
            },
        ),
    ],
    ids=["client (public-issue)", "server (public-issue)", "timeout (public-issue)"],
)
def test_model_errors_to_the_letter(
    rig: Rig, status: int, body: bytes, head: dict[int, bytes], members: dict[str, object]
) -> None:
    client = rig.invoke()
    rig.wires["v-AllTraffic-0"].answer_last(body, status, head)
    (error,) = parse_answers(client.written)
    assert (error.status, error.headers["x-amzn-errortype"]) == (424, "ModelError")
    assert error.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    assert error.json == members


def test_a_long_model_message_leaves_room_for_the_rest(rig: Rig) -> None:
    client = rig.invoke()
    rig.wires["v-AllTraffic-0"].answer_last(b"x" * 10_000, 500)
    (error,) = parse_answers(client.written)
    assert len(error.json["Message"]) == 2048
    assert error.json["Message"].endswith(LOGS)
    assert error.json["OriginalMessage"] == "x" * 2048


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"host": "127.0.0.1.evil.example:8430"},
    ],
)
def test_a_hostile_page_gets_nothing_run(rig: Rig, headers: dict[str, str]) -> None:
    (error,) = parse_answers(rig.invoke(**headers).written)
    assert (error.status, error.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert rig.wires["v-AllTraffic-0"].batches == []


@pytest.mark.parametrize(
    "headers",
    [{"host": "localhost:1"}, {"host": "[::1]:8430"}, {"host": "models.example"}, {"origin": "http://localhost:3000"}],
)
def test_our_own_pages_and_configured_hosts_are_served(rig: Rig, headers: dict[str, str]) -> None:
    rig.invoke(**headers)
    assert len(rig.wires["v-AllTraffic-0"].requests) == 1


def test_an_error_of_ours_is_an_internal_failure_without_a_trace(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("clary.dataplane.batch.VariantQueue.submit", broken)
    (error,) = parse_answers(rig.invoke().written)
    assert (error.status, error.headers["x-amzn-errortype"]) == (500, "InternalFailure")
    assert b"secret" not in error.body
    assert [repr(c) for c in rig.complaints] == ["ZeroDivisionError('secret detail')"]


def test_an_answer_that_makes_no_sense_loses_no_request(rig: Rig) -> None:
    client = rig.invoke()
    wire = rig.wires["v-AllTraffic-0"]
    with pytest.raises(frames.FrameError):  # the link closes on it, and says so
        wire.replica.link_answer(wire.requests[0].id, b"\xff\x00\x01x", b"")
    wire.down()
    wire.up()
    wire.answer_last()
    assert parse_answers(client.written)[0].status == 200


def test_an_endpoint_without_weights_says_so(rig: Rig) -> None:
    rig.use(snapshot(endpoint("Zero", variant("A", 0), variant("B", 0))))
    assert "has a weight above 0" in parse_answers(rig.invoke(name="zero").written)[0].json["Message"]


def test_a_new_snapshot_counts_from_the_next_request_on_one_connection(rig: Rig) -> None:
    connection, transport = rig.client()
    connection.data_received(invocation())
    rig.turn()
    rig.use(snapshot(endpoint("Other")))
    connection.data_received(invocation())
    rig.turn()
    rig.wires["v-AllTraffic-0"].answer_last()
    assert [a.status for a in parse_answers(transport.written)] == [200, 400]


def test_what_waits_for_a_deleted_endpoint_is_told_and_for_a_changed_one_moved(rig: Rig) -> None:
    rig.use(snapshot(endpoint("Gone", variant("A", uid="a")), endpoint("Stays", variant("B", uid="b"))), up=False)
    gone, stays = rig.invoke(name="gone"), rig.invoke(name="stays")
    rig.use(snapshot(endpoint("Stays", variant("C", uid="c"))))
    rig.turn()
    assert parse_answers(gone.written)[0].json["Message"] == "Endpoint gone of account 123456789012 not found.".replace(
        "gone", "Gone"
    )
    rig.wires["c-0"].answer_last()
    assert parse_answers(stays.written)[0].headers["x-amzn-invoked-production-variant"] == "C"
    assert rig.hot.inflight == 0


async def test_metrics_tell_model_time_from_overhead_and_whose_fault_it_was(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    rig.invoke(b"1")
    await rig.clock.advance(0.25)
    rig.invoke(b"2")
    await rig.clock.advance(0.25)
    wire.answer_last()
    series = rig.recorder.series("123456789012", "eu-west-1", "Ridge", "e-Ridge-eu-west-1", "AllTraffic", 1)
    assert series.concurrent == 1
    await rig.clock.advance(0.5)
    wire.answer_last(b"no", 400)
    taken = series.take()
    assert taken is not None
    assert (taken.invocations, taken.errors_4xx, taken.errors_5xx, taken.model_errors) == (2, 1, 0, 1)
    assert taken.model is not None
    assert taken.overhead is not None
    assert (taken.model.min_us, taken.model.max_us) == pytest.approx((500_000, 500_000), abs=2)
    assert taken.overhead.max_us == pytest.approx(250_000, abs=2)
    assert (taken.concurrent_max, series.concurrent) == (2, 0)


def test_replicas_are_counted_one_by_one_where_enhanced_metrics_are_wanted(rig: Rig) -> None:
    both = msgspec.structs.replace(variant(replicas=2), enhanced=True)
    rig.use(snapshot(endpoint("Ridge", both)))
    rig.invoke()
    rig.invoke()
    for wire in rig.wires.values():
        wire.answer_last()
    rig.recorder.ship()
    (path,) = segments(rig.spool_dir)
    (delta,), *_ = decode_deltas(path.read_bytes())
    found = {one.replica: one.invocations for one in delta.variants}
    assert found == {"": 2, "v-AllTraffic-0": 1, "v-AllTraffic-1": 1}
    rig.use(snapshot(endpoint("Ridge", variant(replicas=2)), revision=2))
    assert all(wire.replica.series is None for wire in rig.wires.values())
