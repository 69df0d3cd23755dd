"""A hot path without sockets: clients are in-memory transports, replicas are recorded wires that a test answers."""

from __future__ import annotations

import asyncio
import email.parser
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clary.dataplane.batch import Replica, VariantQueue
from clary.dataplane.http import Connection
from clary.dataplane.invoke import HotPath
from clary.dataplane.limits import Limits
from clary.dataplane.live import Fleet
from clary.dataplane.random_queue import RandomQueue
from clary.dataplane.routes import RANDOM, EndpointRoute, KeyRoute, ReplicaRoute, Snapshot, VariantRoute
from clary.kit.clock import VirtualClock
from clary.replica import frames
from clary.replica.frames import Frame, Kind, Tag
from clary.telemetry.invocations import Invocation
from clary.telemetry.recorder import Recorder

ACCOUNT = "123456789012"
REGION = "eu-west-1"
READY = {"state": "ready", "joins": "exact", "pure": True}


class MemoryTransport(asyncio.Transport):
    """What a connection writes, and whether it closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.eof = self.closed = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof, "written after the end"
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def parse_answers(raw: bytes) -> list[Answer]:
    """Every response of a connection."""
    found: list[Answer] = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        headers = email.parser.BytesParser().parsebytes(fields)
        length = int(headers.get("Content-Length", "0"))
        found.append(Answer(int(line.split()[1]), {k.lower(): v for k, v in headers.items()}, raw[:length]))
        raw = raw[length:]
    return found


@dataclass
class Wire:
    """A link as its queue sees it; the test plays the replica."""

    replica: Replica
    address: str
    batches: list[list[Frame]] = field(default_factory=list)
    """Frames of each write."""
    closed: bool = False
    aborted: bool = False
    paused: bool = False

    def send(self, data: bytes) -> None:
        self.batches.append(frames.frames([data]))

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def up(self, credits: int = 256, **report: object) -> None:
        self.replica.link_up({**READY, **report}, credits)

    def down(self) -> None:
        self.replica.link_down("killed by a test")

    @property
    def requests(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch if frame.kind is Kind.REQUEST]

    def answer(
        self, frame: Frame, body: bytes = b"1.5", status: int = 200, head: dict[int, bytes] | None = None
    ) -> None:
        tlvs = {Tag.STATUS: frames.u16(status), **(head or {}), Tag.CONTENT_TYPE: b"text/csv"}
        self.replica.link_answer(frame.id, frames.encode_head(tlvs), body)

    def chunk(self, frame: Frame, body: bytes, head: dict[int, bytes] | None = None) -> None:
        """A part of a streamed answer; `head` on the first."""
        self.replica.link_frame(Frame(Kind.CHUNK, frame.id, head or {}, body))

    def end(self, frame: Frame, error: bytes = b"", message: bytes = b"") -> None:
        self.replica.link_frame(Frame(Kind.END, frame.id, {Tag.ERROR: error} if error else {}, message))
        self.replica.link_read()

    def answer_last(self, body: bytes = b"1.5", status: int = 200, head: dict[int, bytes] | None = None) -> None:
        """Answer the whole last batch, as one read of the link."""
        for frame in self.batches[-1]:
            self.answer(frame, body, status, head)
        self.replica.link_read()


class NoControl:
    """Nobody to hand over to, or somebody who takes everything."""

    def __init__(self) -> None:
        self.up = False
        self.taken: list[bytes] = []

    def send(self, fd: int, read: bytes, refusal: bytes) -> bool:
        if self.up:
            self.taken.append(read)
        return self.up


class Rig:
    """Everything but sockets."""

    def __init__(self, spool_dir: Any, limits: Limits | None = None) -> None:
        self.clock = VirtualClock()
        self.spool_dir = spool_dir
        self.limits = limits or Limits()
        self.wires: dict[str, Wire] = {}
        self.soon: list[Callable[[], None]] = []
        self.draws: list[float] = []
        self.notes: list[str] = []
        self.complaints: list[Exception] = []
        self.invocations: list[Invocation] = []
        self.asked: list[bytes] = []
        self.recorder = Recorder("router-0", "boot", spool_dir, self.clock)
        self.fleet = Fleet(self.recorder, self._queue, self._connect)
        self.control = NoControl()
        ids, spans = itertools.count(1), itertools.count(1)
        self.hot = HotPath(
            self.limits,
            self.clock,
            self.fleet.swap(snapshot())[0],
            request_id=lambda: b"00000000-0000-4000-8000-%012x" % next(ids),
            draw=lambda: self.draws.pop(0) if self.draws else 0.0,
            hand_over=self.control,
            private=lambda head: (404, b"{}"),
            complain=self.complaints.append,
            span_id=lambda: next(spans).to_bytes(8, "big"),
            keep_span=self.recorder.span,
            keep_invocation=self.invocations.append,
            ask=self.asked.append,
        )

    def _queue(self, routing: str) -> VariantQueue:
        def note(event: str, uid: str, cause: str) -> None:
            self.notes.append(event)

        if routing == RANDOM:
            return RandomQueue(self.limits, self.clock, self.hot, self.soon.append, note, self.hot._draw)
        return VariantQueue(self.limits, self.clock, self.hot, self.soon.append, note)

    def _connect(self, address: str, replica: Replica) -> Wire:
        self.wires[replica.uid] = Wire(replica, address)
        return self.wires[replica.uid]

    def use(self, new: Snapshot, *, up: bool = True) -> None:
        table, homeless = self.fleet.swap(new)
        self.hot.use(table)
        self.hot.homeless(homeless)
        if up:
            for wire in self.wires.values():
                if not wire.replica.live and not wire.closed:
                    wire.up()

    def turn(self) -> None:
        """One turn of the event loop."""
        soon, self.soon[:] = list(self.soon), []
        for callback in soon:
            callback()

    def client(self, *, private: bool = False) -> tuple[Connection, MemoryTransport]:
        connection, transport = Connection(self.hot, private=private), MemoryTransport()
        connection.connection_made(transport)
        return connection, transport

    def invoke(self, body: bytes = b"1,2", name: str = "ridge", **headers: str) -> MemoryTransport:
        """Send one invocation on a connection of its own."""
        connection, transport = self.client()
        connection.data_received(invocation(body, name, **headers))
        self.turn()
        return transport

    def sweep(self) -> None:
        now_s = self.clock.monotonic_s()
        self.hot.sweep(now_s)
        for queue in self.fleet.queues():
            queue.sweep(now_s)
        for connection in list(self.hot.connections):
            connection.sweep(now_s)


def invocation(body: bytes = b"1,2", name: str = "ridge", *, stream: bool = False, **headers: str) -> bytes:
    """A request's bytes; `target_variant` is the header X-Amzn-SageMaker-Target-Variant, `own` ones are themselves."""
    own = {"host", "content_type", "accept", "authorization", "origin", "sec_fetch_site", "connection", "expect"}
    own -= {"accept"} if stream else set()
    lines = {"Host": "127.0.0.1:8430", "Content-Type": "text/csv", "Content-Length": str(len(body))}
    for key, value in headers.items():
        title = key.replace("_", "-").title()
        lines[title if key in own else f"X-Amzn-SageMaker-{title}"] = value
    text = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    path = f"/endpoints/{name}/invocations" + ("-response-stream" if stream else "")
    return f"POST {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1") + body


def variant(name: str = "AllTraffic", weight: float = 1.0, replicas: int = 1, uid: str = "") -> VariantRoute:
    uid = uid or f"v-{name}"
    routes = tuple(ReplicaRoute(f"{uid}-{n}", f"unix:/run/{uid}-{n}.sock") for n in range(replicas))
    return VariantRoute(name, uid, weight, routes, max(1, replicas))


def endpoint(name: str = "Ridge", *variants: VariantRoute, region: str = REGION, uid: str = "") -> EndpointRoute:
    return EndpointRoute(ACCOUNT, region, name, uid or f"e-{name}-{region}", 1, variants or (variant(),))


def snapshot(
    *endpoints: EndpointRoute, auth: bool = False, keys: tuple[KeyRoute, ...] = (), revision: int = 1
) -> Snapshot:
    return Snapshot(1, revision, ACCOUNT, REGION, auth, ("models.example",), endpoints, keys)
