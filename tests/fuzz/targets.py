"""What is fuzzed: each target takes bytes and lets nothing escape but the parser's own refusal.

A parser that is fed in pieces is fed twice, whole and in pieces, and must say the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import io
import math
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import orjson

from clary.artifacts.base import Limits as ArtifactLimits
from clary.artifacts.unpack import unpack
from clary.control.widgets import read_widget
from clary.dataplane.head import Head, Refused
from clary.dataplane.http import Connection
from clary.dataplane.limits import Limits
from clary.description.source import DescriptionError, read
from clary.description.wanted import wanted
from clary.domain import dashboards, schedules
from clary.domain.alarm_rules import parse_rule
from clary.domain.alarms import AlarmValue
from clary.domain.errors import ArtifactError, Invalid, NotServed
from clary.domain.objectives import Watched, alarm_of, parse_objective
from clary.edge.aws.protocols import cbor, json, query, rest_json, rest_xml
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.s3.chunked import ChunkedDecoder
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.formdata import FormData
from clary.edge.aws.s3.ranges import source_span, span_of
from clary.kit import cbor as cbor_items
from clary.kit import sigv4_claim
from clary.replica import frames
from clary.replica.http import HttpError, HttpReplica
from clary.runtimes.onnx_file import read_onnx
from clary.runtimes.picklescan import imports
from clary.runtimes.recordio import recordio_rows
from clary.runtimes.tensors import BodyError
from clary.runtimes.xgboost_legacy import LegacyError, is_legacy, to_ubj, version_of
from clary.telemetry import expressions
from clary.telemetry.emf import Place, samples_of
from clary.telemetry.expressions import BadExpression, Series
from clary.telemetry.log_pattern import BadPattern, compile_pattern
from clary.telemetry.statistics import Window
from tests.support.hot_path import MemoryTransport


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` less its first byte, in pieces of as many bytes as that byte says."""
    size = (data[0] if data else 0) % 61 + 1
    for at in range(1, len(data), size):
        yield data[at : at + size]


class _Echo:
    """Answers every request at once with what it understood."""

    def __init__(self) -> None:
        self.limits = Limits(body_bytes_max=200, head_bytes_max=2048, pipelined_max=3)
        self.now_s = 0.0
        self.stopping = False
        self.heads: dict[bytes, Head] = {}
        self.connections: set[Connection] = set()
        self.moved: list[bytes] = []

    def request(self, connection: Connection, head: Head, body: bytes) -> bytes:
        text = repr((head.name, head.version, head.stream, sorted(head.headers.items()), body)).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    def refusal(self, refused: Refused) -> bytes:
        return b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % refused.status

    def unexpected(self, error: Exception) -> Refused:
        raise error

    def hand_over(self, transport: asyncio.Transport, read: bytes) -> bytes | None:
        self.moved.append(read)
        return None


def _spoken(parts: list[bytes]) -> tuple[bytes, bool, bytes]:
    app = _Echo()
    connection, transport = Connection(app), MemoryTransport()  # type: ignore[arg-type]
    connection.connection_made(transport)
    for at, part in enumerate(parts):
        connection.data_received(part)
        if app.moved:  # the rest stays in the socket, which is control's now
            return _final(transport.written), True, b"".join([*app.moved, *parts[at + 1 :]])
    connection.sweep(1e9)
    return _final(transport.written), False, b""


def _final(written: bytes) -> bytes:
    """Without 100 Continue, which is sent only where the body had not come along."""
    return written.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


def http_connection(data: bytes) -> None:
    """A router's client: the answers do not depend on how its bytes came."""
    whole, parted = _spoken([data[1:]]), _spoken(list(pieces(data)))
    if b" 431 " in whole[0] + parted[0] or b" 400 " in whole[0] + parted[0]:
        return  # a line that is too long, or no HTTP, is refused as early as it is seen: statuses may differ
    assert whole == parted, (whole, parted)


def replica_frames(data: bytes) -> None:
    """The other end of a router's or a replica's link."""

    def read(parts: list[bytes]) -> list[tuple[int, int, dict[int, bytes], bytes]]:
        decoder, found = frames.Decoder(4096), []
        with contextlib.suppress(frames.FrameError):
            for part in parts:
                for frame in decoder.feed(part):
                    found.append((frame.kind, frame.id, dict(frame.head), bytes(frame.body)))
                    _checked(frame)
        return found

    assert read([data[1:]]) == read(list(pieces(data)))


def _checked(frame: frames.Frame) -> None:
    for tag in frames.Tag:
        frames.number(frame.head, tag)
        frames.text(frame.head, tag)
    try:
        frames.check_hello(frame)
    except frames.FrameError:
        return
    except ValueError as error:
        raise AssertionError("a HELLO was refused by accident") from error


def http_answer(data: bytes) -> None:
    """The answer of somebody's own server."""

    async def read() -> None:
        reader = asyncio.StreamReader(limit=65536)
        reader.feed_data(data)
        reader.feed_eof()
        replica = HttpReplica("127.0.0.1", 1)
        with contextlib.suppress(HttpError):
            answer = await replica._on(_connection(reader), "GET", "/", {}, None)
            async for _ in answer.parts:
                pass

    loop = _loop()
    with contextlib.suppress(*_NOTHING):
        loop.run_until_complete(read())


class _Nowhere:
    """A writer whose bytes go nowhere."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return True


def _connection(reader: asyncio.StreamReader) -> Any:
    from clary.replica import http

    return http._Connection(reader, _Nowhere())  # type: ignore[arg-type]


def _nothing() -> tuple[type[Exception], ...]:
    from clary.replica import http

    return (http._NothingCame,)


_NOTHING = _nothing()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def s3_chunks(data: bytes) -> None:
    """`aws-chunked` uploads."""

    def read(parts: list[bytes]) -> tuple[bytes, dict[str, str], bool]:
        decoder = ChunkedDecoder(["x-amz-checksum-crc32"], None, "", sign_trailer=False)
        got = b""
        try:
            for part in parts:
                for piece in decoder.feed(part):
                    got += piece
            decoder.finish()
        except S3Error:
            return b"", {}, False
        return got, decoder.trailers, True

    assert read([data[1:]]) == read(list(pieces(data)))


def s3_form(data: bytes) -> None:
    """Uploads of browsers' forms."""

    def read(parts: list[bytes]) -> tuple[bytes, dict[str, str], bool]:
        form, got = FormData("multipart/form-data; boundary=b"), b""
        try:
            for part in parts:
                got += form.feed(part)
            form.finish()
        except S3Error:
            return b"", {}, False
        return got, form.fields, True

    assert read([data[1:]]) == read(list(pieces(data)))


def signatures(data: bytes) -> None:
    """Authorization and Date headers, presigned URLs, ranges."""
    authorization, _, rest = data.decode("latin-1").partition("\n")
    date, _, rest = rest.partition("\n")
    for headers in (
        {"authorization": authorization, "date": date},
        {"authorization": authorization, "x-amz-date": date},
    ):
        with contextlib.suppress(sigv4_claim.SigV4Error):
            sigv4_claim.parse(headers, rest)
    with contextlib.suppress(sigv4_claim.SigV4Error):
        sigv4_claim.parse({}, rest)
    for span in (span_of, source_span):
        with contextlib.suppress(S3Error):
            span(rest, 1000)


_SESSION = botocore.session.get_session()


@functools.cache
def _operation(service: str, name: str) -> Any:
    return _SESSION.get_service_model(service).operation_model(name)


def control_bodies(data: bytes) -> None:
    """Bodies of the control plane, in each of its five protocols."""
    text = data.decode("latin-1")
    with contextlib.suppress(Unreadable):
        json.parse(data, _operation("sagemaker", "CreateEndpointConfig").input_shape)
    with contextlib.suppress(Unreadable):
        cbor.parse(data, _operation("cloudwatch", "PutMetricData").input_shape)
    with contextlib.suppress(Unreadable):
        query.parse(query.form_fields(text), _operation("iam", "CreateRole").input_shape)
    with contextlib.suppress(Unreadable):
        model = _operation("sagemaker-runtime", "InvokeEndpoint")
        rest_json.parse(rest_json.Head("/endpoints/a/invocations", text, {}), data, model)
    for name in ("CompleteMultipartUpload", "PutBucketCors", "PutBucketPolicy", "DeleteObjects"):
        with contextlib.suppress(Unreadable):
            rest_xml.parse(_operation("s3", name), rest_xml.Incoming({"Bucket": "b"}, {}, {}), data)


def archives(data: bytes) -> None:
    """A model.tar.gz: raw, or (first byte even) a tar that is gzipped first, so that its insides are reached."""
    raw = data[1:]
    if data and data[0] % 2 == 0:
        raw = gzip.compress(raw, 1)
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "a" / "into"
        into.mkdir(parents=True)
        with contextlib.suppress(ArtifactError):
            unpack(io.BytesIO(raw), into, ArtifactLimits(bytes_max=1 << 20, files_max=20, members_max=50))
        assert [path.name for path in Path(folder).iterdir()] == ["a"], "a file outside"
        assert [path.name for path in (Path(folder) / "a").iterdir()] == ["into"], "a file outside"


def model_files(data: bytes) -> None:
    """What is read of models before anything is loaded, and records of an invocation."""
    read_onnx(data)
    imports(data)
    if is_legacy(data):
        version_of(data)
    with contextlib.suppress(LegacyError):
        to_ubj(data)
    with contextlib.suppress(BodyError):
        recordio_rows(data)


def log_patterns(data: bytes) -> None:
    """Filter patterns of logs, and what they are held against."""
    pattern, _, message = data.decode("utf-8", "replace").partition("\n")
    with contextlib.suppress(BadPattern):
        compiled = compile_pattern(pattern)
        compiled(message)
        for selector in compiled.fields(message):
            compiled.extract(message, selector)


def embedded_metrics(data: bytes) -> None:
    """Lines of logs that may be metrics."""
    for sample in samples_of(data, Place("123456789012", "us-east-1")):
        assert sample.cell.count > 0
        assert math.isfinite(sample.cell.sum)
        assert sample.key.dimensions == tuple(sorted(sample.key.dimensions))


def metric_math(data: bytes) -> None:
    """Expressions, and what they make of two short series."""
    window = Window(0, 300, 60)
    one = Series({0: 1.0, 60: -2.0, 180: 0.5}, 60, "one", stored=True)
    two = Series({60: 1e300, 120: 3.0}, 60, "two", stored=True)
    with contextlib.suppress(BadExpression, NotServed):
        expression = expressions.compile(data.decode("utf-8", "replace"))
        found = {search: [one, two] for search in expression.searches}
        value = expression.evaluate({"m1": one, "m2": two, "a": (one, two)}, window, found)
        for series in (value,) if isinstance(value, Series) else value:
            assert all(math.isfinite(number) for number in series.points.values())
            assert list(series.points) == sorted(series.points)


def alarm_rules(data: bytes) -> None:
    """Rules of composite alarms: their names are of the rule, and of any states they are true or false."""
    with contextlib.suppress(Invalid, NotServed):
        rule = parse_rule(data.decode("utf-8", "replace"))
        states = ({}, dict.fromkeys(rule.names, AlarmValue.ALARM), dict.fromkeys(rule.names, AlarmValue.OK))
        assert all(isinstance(rule.holds(state), bool) for state in states)


def objectives(data: bytes) -> None:
    """Objectives in words, as far as the alarm that watches them."""
    with contextlib.suppress(Invalid):
        objective = parse_objective(data.decode("utf-8", "replace"))
        assert math.isfinite(objective.threshold)
        alarm_of(objective, Watched("churn", "AllTraffic", "churn-2"))


def descriptions(data: bytes) -> None:
    """Descriptions for `clary apply`, as TOML and as YAML: read and understood, or refused in words."""
    for name in ("a.toml", "a.yaml"):
        with contextlib.suppress(DescriptionError):
            meant = wanted(read(name, data.decode("utf-8", "replace")))
            assert all(endpoint.variants for endpoint in meant.endpoints)


def scaling_schedules(data: bytes) -> None:
    """Schedules of scheduled actions, with a time zone in the second line: whatever comes, comes later."""
    schedule, _, zone = data.decode("utf-8", "replace").partition("\n")
    for after_us in (0, 1_924_000_000_000_000):
        with contextlib.suppress(Invalid):
            times = schedules.Times(schedule, zone)
            schedules.check(times)
            due_us = schedules.next_due(times, 0, after_us)
            assert due_us is None or due_us > after_us


def cbor_values(data: bytes) -> None:
    """CBOR: what was read is written so that it is read as the same."""
    with contextlib.suppress(cbor_items.CborError):
        written = cbor_items.encode(cbor_items.decode(data))
        assert cbor_items.encode(cbor_items.decode(written)) == written


def dashboard_bodies(data: bytes) -> None:
    """Dashboards; what is found wrong with them can be sent."""
    for fault in dashboards.faults(data.decode("utf-8", "replace")):
        orjson.dumps([fault.path, fault.message])


def metric_widgets(data: bytes) -> None:
    """Widgets to be drawn."""
    with contextlib.suppress(orjson.JSONDecodeError, Invalid, NotServed):
        given = orjson.loads(data)
        if isinstance(given, dict):
            read_widget(given, datetime(2031, 1, 5, 8, tzinfo=UTC), "us-east-1")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        http_connection,
        replica_frames,
        http_answer,
        s3_chunks,
        s3_form,
        signatures,
        control_bodies,
        archives,
        model_files,
        log_patterns,
        embedded_metrics,
        metric_math,
        alarm_rules,
        objectives,
        descriptions,
        scaling_schedules,
        cbor_values,
        dashboard_bodies,
        metric_widgets,
    )
}
