"""A worker answers every request: joined where that is allowed, alone where it must be, late ones unpredicted."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import pytest

from clary.domain.signature import Column
from clary.replica import frames
from clary.replica.frames import Kind, Tag
from clary.runtimes.base import Joins
from tests.support.processes import Peer
from tests.support.worker import NONCE, Bench, answers


def test_it_says_hello_with_its_report(bench: Bench) -> None:
    bench.serve(credits=7)
    with Peer(bench.path) as peer:
        assert frames.check_hello(peer.hello) == frames.VERSION_MAX
        assert frames.text(peer.hello.head, Tag.REPLICA_UID) == "u"
        assert frames.text(peer.hello.head, Tag.NONCE) == NONCE
        assert frames.number(peer.hello.head, Tag.CREDITS) == 7
        assert (peer.report["state"], peer.report["runtime"]) == ("ready", "doubler")
    assert Path(bench.path).stat().st_mode & 0o777 == 0o600


def test_what_arrived_together_is_one_predict(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        sent = peer.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        sent += peer.send(b"1", b"2,3", b"4")
        sent += peer.send(b"5", content_type=b"other/type")
        bench.model.gate.release()
        first = peer.frame()
        found = answers(peer, 4)
        assert found == {sent[1]: (200, b"11"), sent[2]: (200, b"2,32,3"), sent[3]: (200, b"44"), sent[4]: (200, b"55")}
        assert bench.model.batches == [["gate"], ["1", "2,3", "4"], ["5"]]
        assert frames.text(first.head, Tag.CONTENT_TYPE) == "text/csv"
        assert frames.number(first.head, Tag.BATCH_ROWS) == 1
        assert Tag.PREDICT_US in first.head
        assert Tag.QUEUE_US in first.head


def test_rows_predicted_together_are_told_and_bounded(bench: Bench) -> None:
    bench.serve(rows_max=3)
    with Peer(bench.path) as peer:
        peer.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        peer.send(b"1", b"2,3", b"4", b"5,6,7,8")
        bench.model.gate.release()
        rows = [frames.number(peer.frame().head, Tag.BATCH_ROWS) for _ in range(5)]
        assert rows == [1, 3, 3, 1, 4]
        assert bench.model.batches[1:] == [["1", "2,3"], ["4"], ["5,6,7,8"]]


@pytest.mark.parametrize("joins", [Joins.ROUNDING, Joins.NEVER])
def test_a_model_that_may_not_be_joined_is_not(bench: Bench, joins: Joins) -> None:
    bench.serve(joins)
    with Peer(bench.path) as peer:
        peer.send(b"1", b"2", b"3")
        answers(peer, 3)
        assert bench.model.batches == [["1"], ["2"], ["3"]]


def test_alone_means_alone(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        peer.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        peer.send(b"1", b"2")
        peer.send(b"3", alone=b"")
        bench.model.gate.release()
        answers(peer, 4)
        assert bench.model.batches[1:] == [["1", "2"], ["3"]]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"poison", 500, b"RuntimeError: poisoned"),
        (b"bad data", 400, b"bad data"),
        (b"no memory", 500, b"MemoryError: too big"),
        (b"short", 500, b"the runtime gave 0 results for 1 inputs"),
        (b"undecodable", 400, b"cannot decode"),
        (b"decode raises", 500, b"KeyError: 'decode'"),
        (b"unencodable", 406, b"cannot encode"),
        (b"encode raises", 500, b"ValueError: encode"),
        (b"", 204, b""),
    ],
)
def test_a_request_that_fails_fails_alone(bench: Bench, body: bytes, status: int, text: bytes) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        gate = peer.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        good, bad, other = peer.send(b"1", body, b"2")
        bench.model.gate.release()
        found = answers(peer, 4)
        assert found[gate[0]][0] == 200
        assert (found[good], found[other]) == ((200, b"11"), (200, b"22"))
        assert found[bad] == (status, text)
        assert peer.ask(b"3") == (200, b"33")


def test_a_refusal_names_the_column_at_fault(bench: Bench) -> None:
    bench.columns = (Column("zone"), Column("miles"))
    bench.serve()
    lacks = b"Row 1 has 1 value where 2 columns are wanted: zone, miles; by place, it lacks 'miles'."
    with Peer(bench.path) as peer:
        assert peer.ask(b"bad data", content_type=b"text/csv") == (400, b"bad data. " + lacks)
        assert peer.ask(b"poison", content_type=b"text/csv") == (500, b"RuntimeError: poisoned. " + lacks)
        assert peer.ask(b"1,2", content_type=b"text/csv")[0] == 200
        assert peer.ask(b"bad data", content_type=b"other/type") == (400, b"bad data")


def test_a_type_nobody_can_answer_costs_no_predict(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        assert peer.ask(b"1", accept=b"no/thing") == (406, b"no such accept")
        assert peer.ask(b"1", target_model=b"m.tar.gz")[0] == 400
        assert bench.model.batches == []


def test_a_request_past_its_deadline_is_not_predicted(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        peer.send(b"1", deadline_ms=frames.u32(0))
        late = peer.frame()
        assert (frames.number(late.head, Tag.STATUS), late.head[Tag.ERROR]) == (0, b"timeout")
        assert peer.ask(b"2", deadline_ms=frames.u32(60_000)) == (200, b"22")
        assert bench.model.batches == [["2"]]


def test_a_cancelled_request_is_answered_without_a_predict(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        peer.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        cancelled, kept = peer.send(b"1", b"2")
        peer.socket.sendall(frames.encode(Kind.CANCEL, cancelled, {}) + frames.encode(Kind.CANCEL, 99, {}))
        bench.model.gate.release()
        found = answers(peer, 3)
        assert found[cancelled][0] == 0
        assert found[kept] == (200, b"22")
        assert ["2"] in bench.model.batches


def test_a_stream_is_a_chunk_and_its_end(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        (sent,) = peer.send(b"1", stream=b"")
        chunk, end = peer.frame(), peer.frame()
        assert (chunk.kind, chunk.id, bytes(chunk.body)) == (Kind.CHUNK, sent, b"11")
        assert frames.number(chunk.head, Tag.STATUS) == 200
        assert (end.kind, end.id) == (Kind.END, sent)


def test_a_ping_is_answered(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        peer.socket.sendall(frames.encode(Kind.PING, 77, {}))
        answer = peer.frame()
        assert (answer.kind, answer.id) == (Kind.PING, 77)


def test_links_take_turns(bench: Bench) -> None:
    bench.serve(credits=2)
    with Peer(bench.path) as first, Peer(bench.path) as second:
        first.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        first.send(*[b"a%d" % n for n in range(4)])
        second.send(b"b0", b"b1")
        bench.model.gate.release()
        answers(first, 5)
        answers(second, 2)
        joined = [batch for batch in bench.model.batches if "b0" in batch]
        assert len(joined[0]) == 2
        assert any(text.startswith("a") for text in joined[0])
        assert bench.model.batches.index(joined[0]) <= 2


def test_large_bodies_both_ways(bench: Bench) -> None:
    bench.serve()
    body = b"1" * 3_000_000
    with Peer(bench.path) as peer:
        peer.send(body, b"2")
        found = answers(peer, 2)
        assert sorted(found.values()) == sorted([(200, body * 2), (200, b"22")])


def test_a_peer_that_talks_nonsense_is_dropped_and_the_others_go_on(bench: Bench) -> None:
    bench.serve()
    for raw in (b"GET / HTTP/1.1\r\n\r\n", frames.encode(Kind.REQUEST, 1, {}), b"\xff" * 40):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(bench.path)
            peer.sendall(raw)
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(100) == b""
    with Peer(bench.path) as peer:
        assert peer.ask(b"1") == (200, b"11")
        peer.socket.sendall(frames.hello("again", "n", 0))
        with pytest.raises(EOFError):
            peer.frame()


def test_a_client_that_leaves_harms_nobody(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as other:
        with Peer(bench.path) as peer:
            peer.send(b"gate", b"1")
            assert bench.model.entered.acquire(timeout=10)
        bench.model.gate.release()
        assert other.ask(b"2") == (200, b"22")


def test_a_stop_answers_what_has_arrived(bench: Bench) -> None:
    server = bench.serve()
    with Peer(bench.path) as peer:
        peer.send(b"gate")
        assert bench.model.entered.acquire(timeout=10)
        peer.send(b"1", b"2")
        server.request_stop()
        bench.model.gate.release()
        kinds = [peer.frame().kind for _ in range(4)]
        assert sorted(kinds) == sorted([Kind.DRAIN, Kind.RESPONSE, Kind.RESPONSE, Kind.RESPONSE])
        with pytest.raises(EOFError):
            peer.frame()
    assert bench.joined()


def test_a_router_that_drains_its_link_is_let_go(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        peer.send(b"1")
        peer.socket.sendall(frames.encode(Kind.DRAIN, 0, {}))
        assert answers(peer, 1) == {1: (200, b"11")}
        with pytest.raises(EOFError):
            peer.frame()
    with Peer(bench.path) as peer:
        assert peer.ask(b"2") == (200, b"22")


def test_placement_drains_the_whole_replica(bench: Bench) -> None:
    bench.serve()
    with Peer(bench.path) as router, Peer(bench.path) as placement:
        placement.socket.sendall(frames.encode(Kind.DRAIN, 0, {Tag.NONCE: NONCE.encode()}))
        assert router.frame().kind is Kind.DRAIN
        assert router.ask(b"1") == (200, b"11")  # it was on its way
        with Peer(bench.path) as late:
            assert late.frame().kind is Kind.DRAIN


def test_one_that_failed_to_load_says_so_and_stays(bench: Bench) -> None:
    bench.serve(failed=True)
    for _ in range(2):
        with Peer(bench.path) as peer:
            assert (peer.report["state"], peer.report["cause"]) == ("failed", "why")
            assert peer.ask(b"1")[0] == 503


def test_a_traceback_goes_to_the_log_with_its_request(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.serve()
    with Peer(bench.path) as peer:
        peer.ask(b"poison", request_id=b"r-1")
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["event"], line["request_id"], line["replica"]) == ("The model raised.", "r-1", "u")
    assert "RuntimeError: poisoned" in line["traceback"]
