"""A model that answers whole requests: one part or many, slow peers, clients that left, deadlines, errors anywhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.replica import frames
from clary.replica.frames import Frame, Kind, Tag
from clary.runtimes.base import Input, ModelError
from clary.runtimes.handler import REPLY_BYTES_MAX, Handler, Invocation, Reply, whole
from clary.worker.handling import HandlerExecutor
from clary.worker.options import WorkerOptions
from clary.worker.report import Report, WorkerLog
from clary.worker.server import Server, listen
from tests.support.processes import Peer
from tests.support.server import wait_until


class Actor(Handler):
    """Does as the body says."""

    def __init__(self) -> None:
        self.libraries = {"actor": "1.0"}
        self.seen: list[Invocation] = []
        self.given = 0
        self.closed = threading.Event()
        self.gate = threading.Semaphore(0)

    def handle(self, invocation: Invocation) -> Reply:
        self.seen.append(invocation)
        word, _, rest = invocation.body.decode().partition(" ")
        if word == "echo":
            return Reply(rest.encode(), "text/plain", custom_attributes="from the model")
        if word == "status":
            return Reply(b"teapot", "text/plain", status=418)
        if word == "refuse":
            raise ModelError(415, "no")
        if word == "raise":
            raise KeyError("key")
        if word == "huge":
            return Reply(b"x" * (REPLY_BYTES_MAX + 1), "text/plain")
        return Reply(self.parts(word, rest), "text/plain")

    def parts(self, word: str, rest: str) -> Iterator[bytes]:
        try:
            if word == "break-first":
                raise ModelError(400, "before anything")
            for index in range(int(rest)):
                self.given += 1
                if word == "gated":
                    assert self.gate.acquire(timeout=20)
                yield b"x" * 100_000 if word == "fat" else b"%d," % index
            if word == "break-last":
                raise ModelError(500, "in the middle")
            if word == "raise-last":
                raise ValueError("in the middle")
        finally:
            self.closed.set()


class Stage:
    """A server around an Actor, on a thread."""

    def __init__(self, folder: Path) -> None:
        self.actor = Actor()
        self.path = str(folder / "w.sock")
        told = WorkerOptions(uid="u", socket=self.path, runtime="actor", model_dir="/", drain_quiet_s=0.05)
        executor = HandlerExecutor(self.actor, WorkerLog("e", "v", "u"), predict_overrun_ns=10**12)
        report = Report(state="ready", runtime="actor", pid=1).to_json()
        self.server = Server(listen(self.path), told, "nonce", report, executor, credits=1)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def close(self) -> None:
        for _ in range(100):
            self.actor.gate.release()
        self.server.request_stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    it = Stage(tmp_path)
    yield it
    it.close()


def stream(peer: Peer, body: bytes, **head: bytes) -> list[Frame]:
    """Every frame of one streamed answer."""
    (frame_id,) = peer.send(body, stream=b"", **head)
    found = []
    while not found or found[-1].kind is not Kind.END:
        found.append(peer.frame())
        assert found[-1].id == frame_id
    return found


def test_a_whole_answer_with_what_the_request_said(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        peer.send(
            b"echo hello", accept=b"a/b", custom_attributes=b"c=1", inference_id=b"i", request_id=b"r" * 36,
            traceparent=b"00-1-2-01", amzn_trace_id=b"Root=1",
        )  # fmt: skip
        frame = peer.frame()
        assert (frame.kind, bytes(frame.body)) == (Kind.RESPONSE, b"hello")
        assert frames.number(frame.head, Tag.STATUS) == 200
        assert frames.text(frame.head, Tag.CONTENT_TYPE) == "text/plain"
        assert frames.text(frame.head, Tag.CUSTOM_ATTRIBUTES) == "from the model"
        trace = (("traceparent", "00-1-2-01"), ("X-Amzn-Trace-Id", "Root=1"))
        assert stage.actor.seen == [Invocation(b"echo hello", "text/plain", "a/b", "c=1", "r" * 36, "i", trace)]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"status", 418, b"teapot"),
        (b"refuse", 415, b"no"),
        (b"raise", 500, b"KeyError: 'key'"),
        (b"break-first 1", 400, b"before anything"),
        (b"break-last 1", 500, b"in the middle"),
        (b"huge", 500, b"The answer has more than 50331648 bytes, the most that is sent."),
    ],
)
def test_errors_are_answers(stage: Stage, body: bytes, status: int, text: bytes) -> None:
    with Peer(stage.path) as peer:
        assert peer.ask(body) == (status, text)
        assert peer.ask(b"echo on") == (200, b"on")


def test_parts_are_one_answer_where_no_stream_is_wanted(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        assert peer.ask(b"count 3") == (200, b"0,1,2,")


def test_a_whole_answer_is_a_stream_of_one_part(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        chunk, end = stream(peer, b"echo hello")
        assert (chunk.kind, bytes(chunk.body)) == (Kind.CHUNK, b"hello")
        assert (end.kind, Tag.ERROR in end.head) == (Kind.END, False)


def test_parts_are_chunks(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        first, *chunks, end = stream(peer, b"count 3")
        assert frames.number(first.head, Tag.STATUS) == 200
        assert [bytes(chunk.body) for chunk in chunks] == [b"0,", b"1,", b"2,"]
        assert Tag.PREDICT_US in end.head
        assert Tag.ERROR not in end.head
        assert peer.ask(b"echo on") == (200, b"on")


def test_a_stream_of_no_part(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        first, end = [frame for frame in stream(peer, b"count 0") if frame.body or frame.head]
        assert (first.kind, end.kind) == (Kind.CHUNK, Kind.END)


def test_each_part_leaves_before_the_next_is_made(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        peer.send(b"gated 3", stream=b"")
        stage.actor.gate.release()
        assert [bytes(peer.frame().body) for _ in range(2)] == [b"", b"0,"]
        stage.actor.gate.release()
        assert bytes(peer.frame().body) == b"1,"


def test_an_error_before_the_first_part_has_its_status(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        chunk, end = stream(peer, b"break-first 1")
        assert (frames.number(chunk.head, Tag.STATUS), bytes(chunk.body)) == (400, b"before anything")
        assert Tag.ERROR not in end.head


@pytest.mark.parametrize(("word", "text"), [(b"break", b"in the middle"), (b"raise", b"ValueError: in the middle")])
def test_an_error_within_a_stream_is_told_by_its_end(stage: Stage, word: bytes, text: bytes) -> None:
    with Peer(stage.path) as peer:
        end = stream(peer, word + b"-last 2")[-1]
        assert (end.head[Tag.ERROR], bytes(end.body)) == (b"runtime", text)


def test_a_cancelled_stream_stops_the_model(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        (frame_id,) = peer.send(b"gated 1000", stream=b"")
        stage.actor.gate.release()
        assert [bytes(peer.frame().body) for _ in range(2)] == [b"", b"0,"]
        peer.socket.sendall(frames.encode(Kind.CANCEL, frame_id, {}))
        stage.actor.gate.release()
        end = peer.frame()
        while end.kind is not Kind.END:
            end = peer.frame()
        assert end.head[Tag.ERROR] == b"cancelled"
        assert stage.actor.closed.is_set()
        assert stage.actor.given < 1000
        assert peer.ask(b"echo on") == (200, b"on")


def test_a_peer_that_is_gone_stops_the_model(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        peer.send(b"fat 100000", stream=b"")
        peer.frame()
    assert stage.actor.closed.wait(20)
    assert stage.actor.given < 100_000


def test_a_peer_that_does_not_read_makes_the_model_wait(stage: Stage) -> None:
    with Peer(stage.path) as peer, Peer(stage.path) as other:
        peer.send(b"fat 500", stream=b"")
        peer.frame()
        # Pings are answered by the loop that waits for room: after some of them the model has had its chances.
        for number in range(20):
            other.socket.sendall(frames.encode(Kind.PING, number, {}))
            assert other.frame().kind is Kind.PING
        assert stage.actor.given < 50
        total = 0
        while (frame := peer.frame()).kind is not Kind.END:
            total += len(frame.body)
        assert total == 500 * 100_000
        assert Tag.ERROR not in frame.head


def test_a_stream_ends_at_its_deadline(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        end = stream(peer, b"fat 1000000", deadline_ms=frames.u32(200))[-1]
        assert end.head[Tag.ERROR] == b"timeout"
        assert stage.actor.closed.is_set()


def test_what_is_late_already_is_not_begun(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        peer.send(b"echo x", deadline_ms=frames.u32(0))
        assert peer.frame().head[Tag.ERROR] == b"timeout"
        assert stage.actor.seen == []


def test_a_drain_lets_a_stream_end(stage: Stage) -> None:
    with Peer(stage.path) as peer:
        peer.send(b"gated 2", stream=b"")
        wait_until(lambda: stage.actor.given == 1, "the model runs")
        peer.socket.sendall(frames.encode(Kind.DRAIN, 0, {}))
        stage.actor.gate.release(2)
        kinds = [peer.frame().kind for _ in range(4)]
        assert kinds == [Kind.CHUNK, Kind.CHUNK, Kind.CHUNK, Kind.END]
        with pytest.raises(EOFError):
            peer.frame()


def test_callers_that_know_no_handlers_can_ask_too() -> None:
    actor = Actor()
    data = actor.decode(memoryview(b"count 2"), "text/plain")
    assert data == Input(Invocation(b"count 2", "text/plain"), 1, None)
    (result,) = actor.predict([data])
    assert actor.encode(result, actor.check_accept("")) == (b"0,1,", "text/plain")
    assert actor.probe() is None
    with pytest.raises(ModelError, match="teapot"):
        actor.predict([actor.decode(memoryview(b"status"), "")])


def test_parts_without_end_are_refused() -> None:
    with pytest.raises(ModelError):
        whole(iter([b"x" * REPLY_BYTES_MAX, b"x"]))
