"""Traces of callers: what is recorded, what the model is told, what breaks the rules of W3C Trace Context."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.dataplane.tracing import trace_of
from clary.replica.frames import Frame, Tag
from clary.telemetry.delta import Span, decode_deltas
from clary.telemetry.recorder import SPANS_MAX
from clary.telemetry.spool import segments
from tests.support.hot_path import Rig, endpoint, invocation, snapshot

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
def traced(rig: Rig) -> Rig:
    """A router whose spans are exported."""
    rig.use(msgspec.structs.replace(snapshot(endpoint()), tracing=True))
    return rig


def ask(rig: Rig, stream: bool = False, **headers: str) -> Frame:
    """Send one request with further headers; the frame that the replica gets."""
    connection, _ = rig.client()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    connection.data_received(invocation(stream=stream).replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n", 1))
    rig.turn()
    return rig.wires["v-AllTraffic-0"].requests[-1]


def told(frame: Frame) -> dict[Tag, str]:
    tags = (Tag.TRACEPARENT, Tag.TRACESTATE, Tag.AMZN_TRACE_ID)
    return {tag: bytes(frame.head[tag]).decode() for tag in tags if tag in frame.head}


def spans(rig: Rig) -> list[Span]:
    rig.recorder.ship()
    return [s for path in segments(rig.spool_dir) for d in decode_deltas(path.read_bytes())[0] for s in d.spans]


async def test_a_sampled_request_is_a_span_and_the_model_its_child(traced: Rig) -> None:
    frame = ask(traced, traceparent=SAMPLED, tracestate="vendor=1")
    assert told(frame) == {Tag.TRACEPARENT: f"00-{TRACE}-{1:016x}-01", Tag.TRACESTATE: "vendor=1"}
    await traced.clock.advance(0.25)
    traced.wires["v-AllTraffic-0"].answer(frame)
    (span,) = spans(traced)
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_id.hex()) == (TRACE, f"{1:016x}", PARENT)
    assert (span.end_us - span.start_us, span.end_us, span.model_us) == (250_000, traced.clock.now_us(), 250_000)
    assert (span.endpoint, span.variant, span.replica, span.state) == (
        "Ridge",
        "AllTraffic",
        "v-AllTraffic-0",
        "vendor=1",
    )
    assert (span.status, span.model_status, span.stream) == (200, 200, False)
    assert span.request_id == "00000000-0000-4000-8000-000000000001"


def test_equal_heads_are_spans_of_their_own(traced: Rig) -> None:
    onward = []
    for _ in range(2):
        onward.append(told(ask(traced, traceparent=SAMPLED))[Tag.TRACEPARENT])
        traced.wires["v-AllTraffic-0"].answer_last()
    assert onward == [f"00-{TRACE}-{n:016x}-01" for n in (1, 2)]


def test_failures_are_told_as_the_client_and_as_the_model_saw_them(traced: Rig) -> None:
    wire = traced.wires["v-AllTraffic-0"]
    wire.answer(ask(traced, traceparent=SAMPLED), b"no", 503)
    wire.replica.link_read()
    stream = ask(traced, stream=True, traceparent=SAMPLED)
    wire.chunk(stream, b"x", {Tag.STATUS: b"\x00\xc8"})
    wire.end(stream, b"runtime", b"broke")
    assert [(span.status, span.model_status, span.stream) for span in spans(traced)] == [
        (424, 503, False),
        (200, 0, True),
    ]


def test_a_client_that_left_was_told_nothing(traced: Rig) -> None:
    connection, _ = traced.client()
    lines = f"\r\ntraceparent: {SAMPLED}\r\n\r\n".encode()
    connection.data_received(invocation().replace(b"\r\n\r\n", lines, 1))
    connection.connection_lost(None)
    assert [(span.status, span.replica, span.model_us) for span in spans(traced)] == [(0, "", -1)]


def test_what_is_not_sampled_or_not_exported_is_told_onward_only(rig: Rig, traced: Rig) -> None:
    assert told(ask(traced, traceparent=UNSAMPLED)) == {Tag.TRACEPARENT: UNSAMPLED}
    traced.wires["v-AllTraffic-0"].answer_last()
    rig.use(snapshot(endpoint(), revision=2))
    assert told(ask(rig, traceparent=SAMPLED)) == {Tag.TRACEPARENT: SAMPLED}
    rig.wires["v-AllTraffic-0"].answer_last()
    assert spans(rig) == []


def test_amazon_s_trace_id_passes_through(rig: Rig) -> None:
    root = "Root=1-67891233-abcdef012345678912345678;Sampled=1"
    assert told(ask(rig, **{"X-Amzn-Trace-Id": root})) == {Tag.AMZN_TRACE_ID: root}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
    ],
)
def test_what_breaks_the_rules_is_no_trace(parent: str) -> None:
    assert trace_of({"traceparent": parent, "tracestate": "a=1"}, exported=True) == (None, {})


def test_a_later_version_is_read_as_the_first() -> None:
    trace, _ = trace_of({"traceparent": f"01-{TRACE}-{PARENT}-03-more"}, exported=True)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, PARENT)


@given(st.text(max_size=100), st.text(max_size=2000), st.text(max_size=2000), st.booleans())
def test_no_header_breaks_it(parent: str, state: str, amzn: str, exported: bool) -> None:
    headers = {"traceparent": parent, "tracestate": state, "x-amzn-trace-id": amzn}
    _, tlvs = trace_of(headers, exported=exported)
    assert all(value.isascii() and len(value) <= 1024 for value in tlvs.values())


def test_spans_are_bounded_and_losses_counted(traced: Rig) -> None:
    wire = traced.wires["v-AllTraffic-0"]
    for _ in range(SPANS_MAX + 3):
        wire.answer(ask(traced, traceparent=SAMPLED))
        wire.replica.link_read()
    traced.recorder.ship()
    (path,) = segments(traced.spool_dir)
    (delta,) = decode_deltas(path.read_bytes())[0]
    assert (len(delta.spans), delta.spans_lost) == (SPANS_MAX, 3)
