"""InvokeEndpointWithResponseStream: parts as they come, errors before and within a stream, clients slow or gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.eventstream import EventStreamBuffer

from clary.dataplane import answers
from clary.replica import frames
from clary.replica.frames import FrameError, Kind, Tag
from clary.telemetry.delta import VariantDelta, decode_deltas
from clary.telemetry.spool import segments
from tests.support.hot_path import MemoryTransport, Rig, Wire, endpoint, invocation, snapshot

FIRST = {Tag.STATUS: frames.u16(200), Tag.CONTENT_TYPE: b"text/plain"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """One endpoint with a script's replica: impure, one request at a time."""
    made = Rig(tmp_path)
    made.use(snapshot(endpoint()), up=False)
    made.wires["v-AllTraffic-0"].up(1, joins="never", pure=False)
    return made


def ask(rig: Rig, **headers: str) -> tuple[MemoryTransport, Wire]:
    connection, transport = rig.client()
    connection.data_received(invocation(stream=True, **headers))
    rig.turn()
    return transport, rig.wires["v-AllTraffic-0"]


def read(raw: bytes) -> tuple[str, list[tuple[str, bytes]], bool]:
    """Head, events as (name, payload) by botocore's decoder, and whether the response ended."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    stream, ended = b"", False
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        ended = length == 0
        stream += rest[:length]
        rest = rest[length + 2 :]
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    events = []
    for event in buffer:
        named = {str(name): value for name, value in event.headers.items()}
        events.append((str(named.get(":event-type") or named[":exception-type"]), bytes(event.payload)))
    return head.decode(), events, ended


def test_parts_leave_as_they_come(rig: Rig) -> None:
    client, wire = ask(rig, accept="text/x", target_variant="AllTraffic", custom_attributes="a=1")
    (frame,) = wire.requests
    assert frame.head[Tag.STREAM] == b""
    assert frame.head[Tag.ACCEPT] == b"text/x"
    assert frame.head[Tag.DEADLINE_MS] == frames.u32(480_000)
    assert client.written == b""
    wire.chunk(frame, b"one ", {**FIRST, Tag.CUSTOM_ATTRIBUTES: b"the model's"})
    assert read(client.written)[1:] == ([("PayloadPart", b"one ")], False)
    wire.chunk(frame, b"two")
    wire.end(frame)
    head, events, ended = read(client.written)
    assert (events, ended) == ([("PayloadPart", b"one "), ("PayloadPart", b"two")], True)
    assert head.splitlines() == [
        "HTTP/1.1 200 OK",
        "Content-Type: application/vnd.amazon.eventstream",
        "x-Amzn-Invoked-Production-Variant: AllTraffic",
        "X-Amzn-SageMaker-Content-Type: text/plain",
        "X-Amzn-SageMaker-Custom-Attributes: the model's",
        "x-amzn-RequestId: 00000000-0000-4000-8000-000000000001",
        "Date: Tue, 14 Nov 2023 22:13:20 GMT",
        "Transfer-Encoding: chunked",
    ]
    assert not client.eof


def test_a_long_part_is_several_events(rig: Rig) -> None:
    client, wire = ask(rig)
    long = b"x" * (30 * 1024 * 1024 + 1)
    wire.chunk(wire.requests[0], long, FIRST)
    wire.end(wire.requests[0])
    _, events, ended = read(client.written)
    assert ended
    assert len(events) == 31
    assert b"".join(payload for _, payload in events) == long


def test_the_replica_is_free_again_and_the_connection_too(rig: Rig) -> None:
    connection, transport = rig.client()
    connection.data_received(invocation(stream=True) + invocation(b"second"))
    rig.turn()
    wire = rig.wires["v-AllTraffic-0"]
    (first,) = wire.requests
    wire.chunk(first, b"x", FIRST)
    wire.end(first)
    assert [bytes(frame.body) for frame in wire.requests] == [b"1,2", b"second"]
    wire.answer_last(b"whole")
    assert transport.written.endswith(b"0\r\n\r\n" + transport.written[transport.written.rindex(b"HTTP/1.1 200") :])
    assert transport.written.endswith(b"whole")
    assert rig.hot.inflight == 0


def test_an_error_before_the_first_part_is_a_model_error(rig: Rig) -> None:
    client, wire = ask(rig)
    (frame,) = wire.requests
    wire.chunk(frame, b"no such thing", {Tag.STATUS: frames.u16(415)})
    wire.end(frame)
    assert client.written.startswith(b"HTTP/1.1 424 ")
    body = json.loads(client.written.partition(b"\r\n\r\n")[2])
    assert (body["OriginalStatusCode"], body["OriginalMessage"]) == (415, "no such thing")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (b"runtime", "StreamBroken", "ValueError: no"),
        (b"timeout", "ModelInvocationTimeExceeded", answers.TIMED_OUT),
    ],
)
def test_an_error_within_a_stream_is_its_last_event(rig: Rig, error: bytes, code: str, message: str) -> None:
    client, wire = ask(rig)
    (frame,) = wire.requests
    wire.chunk(frame, b"x", FIRST)
    wire.end(frame, error, b"ValueError: no")
    _, events, ended = read(client.written)
    assert ended
    assert events[0] == ("PayloadPart", b"x")
    assert events[1][0] == "ModelStreamError"
    assert json.loads(events[1][1]) == {"ErrorCode": code, "Message": message}


def test_a_worker_that_dies_breaks_its_stream(rig: Rig) -> None:
    client, wire = ask(rig)
    wire.chunk(wire.requests[0], b"x", FIRST)
    wire.down()
    _, events, ended = read(client.written)
    assert ended
    assert json.loads(events[1][1]) == {"ErrorCode": "StreamBroken", "Message": answers.CRASHED}
    assert rig.hot.inflight == 0


def test_what_has_begun_is_never_tried_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.use(snapshot(endpoint()))
    client, wire = ask(rig)
    wire.chunk(wire.requests[0], b"x", FIRST)
    wire.down()
    wire.up()
    rig.turn()
    assert len(wire.requests) == 1
    assert read(client.written)[1][1][0] == "ModelStreamError"


async def test_a_stream_has_eight_minutes(rig: Rig) -> None:
    client, wire = ask(rig)
    (frame,) = wire.requests
    wire.chunk(frame, b"x", FIRST)
    await rig.clock.advance(479)
    rig.sweep()
    assert not read(client.written)[2]
    await rig.clock.advance(2)
    rig.sweep()
    _, events, ended = read(client.written)
    assert ended
    assert json.loads(events[1][1])["ErrorCode"] == "ModelInvocationTimeExceeded"
    assert [sent.kind for sent in wire.batches[-1]] == [Kind.CANCEL]
    wire.chunk(frame, b"late")
    wire.end(frame, b"cancelled")
    assert rig.hot.inflight == 0


async def test_a_stream_waits_for_a_replica_no_longer_than_any_call(rig: Rig) -> None:
    _, wire = ask(rig)
    waiting, _ = ask(rig)
    assert len(wire.requests) == 1
    await rig.clock.advance(61)
    rig.sweep()
    assert waiting.written.startswith(b"HTTP/1.1 424 ")


def test_a_client_that_leaves_cancels(rig: Rig) -> None:
    connection, _ = rig.client()
    connection.data_received(invocation(stream=True))
    rig.turn()
    wire = rig.wires["v-AllTraffic-0"]
    wire.chunk(wire.requests[0], b"x", FIRST)
    connection.connection_lost(None)
    assert [sent.kind for sent in wire.batches[-1]] == [Kind.CANCEL]
    wire.end(wire.requests[0], b"cancelled")
    assert rig.hot.inflight == 0


def test_a_client_that_does_not_read_makes_the_model_wait(rig: Rig) -> None:
    connection, _ = rig.client()
    connection.data_received(invocation(stream=True))
    rig.turn()
    wire = rig.wires["v-AllTraffic-0"]
    wire.chunk(wire.requests[0], b"x", FIRST)
    assert not wire.paused
    connection.pause_writing()
    wire.chunk(wire.requests[0], b"y")
    assert wire.paused
    connection.resume_writing()
    assert not wire.paused
    connection.pause_writing()
    wire.chunk(wire.requests[0], b"z")
    connection.connection_lost(None)
    assert not wire.paused


def test_a_stream_behind_another_answer_waits_its_turn(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.use(snapshot(endpoint()), up=False)
    wire = rig.wires["v-AllTraffic-0"]
    wire.up(2)
    connection, transport = rig.client()
    connection.data_received(invocation(b"first") + invocation(stream=True))
    rig.turn()
    first, second = wire.requests
    wire.chunk(second, b"x", FIRST)
    assert transport.written == b""
    wire.answer(first, b"plain")
    written = transport.written
    assert written.index(b"plain") < written.index(b"eventstream")
    wire.end(second)
    assert transport.written.endswith(b"0\r\n\r\n")


def test_a_replica_shared_with_others_is_read_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.use(snapshot(endpoint()))
    connection, _ = rig.client()
    connection.data_received(invocation(stream=True))
    rig.turn()
    wire = rig.wires["v-AllTraffic-0"]
    connection.pause_writing()
    wire.chunk(wire.requests[0], b"x", FIRST)
    assert not wire.paused


def test_connection_close_is_said_in_the_head(rig: Rig) -> None:
    client, wire = ask(rig, connection="close")
    wire.chunk(wire.requests[0], b"x", FIRST)
    wire.end(wire.requests[0])
    head, _, ended = read(client.written)
    assert "Connection: close" in head
    assert ended
    assert client.eof


def test_a_stream_of_nothing_is_an_empty_one(rig: Rig) -> None:
    client, wire = ask(rig)
    wire.end(wire.requests[0])
    assert read(client.written)[1:] == ([], True)


def test_http_1_0_has_no_streams(rig: Rig) -> None:
    connection, transport = rig.client()
    connection.data_received(invocation(stream=True).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert transport.written.startswith(b"HTTP/1.1 505 ")


def test_parts_that_nobody_asked_for_close_the_link(rig: Rig) -> None:
    rig.invoke()
    wire = rig.wires["v-AllTraffic-0"]
    with pytest.raises(FrameError):
        wire.chunk(wire.requests[0], b"x", FIRST)


def test_streams_are_counted_once(rig: Rig) -> None:
    series = rig.recorder.series("123456789012", "eu-west-1", "Ridge", "e-Ridge-eu-west-1", "AllTraffic", 1)
    _, wire = ask(rig)
    wire.chunk(wire.requests[0], b"x", FIRST)
    assert series.concurrent == 1
    wire.end(wire.requests[0])
    assert series.concurrent == 0
    assert rig.hot.inflight == 0


def shipped(rig: Rig) -> VariantDelta:
    """The one variant's share of what the recorder ships now."""
    rig.recorder.ship()
    (path,) = segments(rig.spool_dir)
    (one,) = decode_deltas(path.read_bytes())[0][-1].variants
    return one


def test_the_first_part_and_the_end_of_a_stream_are_counted(rig: Rig) -> None:
    _, wire = ask(rig)
    wire.chunk(wire.requests[0], b"x", FIRST)
    wire.chunk(wire.requests[0], b"y")
    got = shipped(rig)
    assert (got.first_chunk and got.first_chunk.count, got.first_chunk_model and got.first_chunk_model.count) == (1, 1)
    assert got.first_chunk_overhead is not None
    assert (got.streams, got.invocations) == (0, 0)
    wire.end(wire.requests[0])
    got = shipped(rig)
    assert (got.first_chunk, got.streams, got.streams_broken, got.invocations) == (None, 1, 0, 1)


def test_a_stream_that_breaks_off_is_a_mid_stream_error(rig: Rig) -> None:
    _, wire = ask(rig)
    wire.chunk(wire.requests[0], b"x", FIRST)
    wire.end(wire.requests[0], b"runtime", b"ValueError: no")
    got = shipped(rig)
    assert (got.streams, got.streams_broken, got.model_errors) == (1, 1, 1)


def test_a_client_that_leaves_breaks_no_stream(rig: Rig) -> None:
    connection, _ = rig.client()
    connection.data_received(invocation(stream=True))
    rig.turn()
    wire = rig.wires["v-AllTraffic-0"]
    wire.chunk(wire.requests[0], b"x", FIRST)
    connection.connection_lost(None)
    got = shipped(rig)
    assert (got.streams, got.streams_broken, got.model_errors) == (1, 0, 0)
