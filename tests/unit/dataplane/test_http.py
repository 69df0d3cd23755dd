"""Connections: the same answers however the bytes come, in the order of the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.dataplane.head import Head, Refused
from clary.dataplane.http import Connection, Exchange
from clary.dataplane.limits import Limits
from tests.support.hot_path import MemoryTransport, parse_answers

LIMITS = Limits(body_bytes_max=100, pipelined_max=3, pipelined_bytes_max=50)


def response(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


class EchoApp:
    """Answers with name and body: at once, or when the test says so."""

    def __init__(self, *, later: bool = False) -> None:
        self.limits = LIMITS
        self.now_s = 0.0
        self.stopping = False
        self.heads: dict[bytes, Head] = {}
        self.connections: set[Connection] = set()
        self.later = later
        self.open: list[tuple[Exchange, bytes]] = []
        self.left: list[Exchange] = []
        self.moved: list[bytes] = []
        self.control_up = True

    def request(self, connection: Connection, head: Head, body: bytes) -> Exchange | bytes:
        text = (head.name or "-").encode() + b":" + body
        if not self.later:
            return response(text)
        exchange = Exchange(connection)
        self.open.append((exchange, text))
        return exchange

    def refusal(self, refused: Refused) -> bytes:
        return b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % refused.status

    def unexpected(self, error: Exception) -> Refused:
        raise error

    def abandoned(self, exchange: Exchange) -> None:
        self.left.append(exchange)

    def hand_over(self, transport: asyncio.Transport, read: bytes) -> bytes | None:
        if not self.control_up:
            return self.refusal(Refused(503, "", ""))
        self.moved.append(read)
        return None


def connect(app: EchoApp, *, private: bool = False) -> tuple[Connection, MemoryTransport]:
    connection, transport = Connection(app, private=private), MemoryTransport()
    connection.connection_made(transport)
    return connection, transport


def fixed(name: str, body: bytes, *lines: str) -> bytes:
    text = "".join(f"{line}\r\n" for line in ("Host: a", f"Content-Length: {len(body)}", *lines))
    return f"POST /endpoints/{name}/invocations HTTP/1.1\r\n{text}\r\n".encode() + body


def chunked(name: str, body: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7))
    return (
        f"POST /endpoints/{name}/invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + chunks
        + b"0\r\n\r\n"
    )


REQUEST = st.tuples(
    st.sampled_from([fixed, chunked, lambda name, body: b"\r\n" + fixed(name, body)]),
    st.sampled_from(["a", "bb"]),
    st.binary(max_size=40),
)


@given(st.lists(REQUEST, min_size=1, max_size=6), st.lists(st.integers(1, 60), max_size=60), st.booleans())
def test_answers_do_not_depend_on_how_the_bytes_are_split(
    requests: list[tuple[Callable[[str, bytes], bytes], str, bytes]], sizes: list[int], later: bool
) -> None:
    app = EchoApp(later=later)
    connection, transport = connect(app)
    raw = b"".join(make(name, body) for make, name, body in requests)
    for size in [*sizes, len(raw)]:
        connection.data_received(raw[:size])
        raw = raw[size:]
    while app.open:
        exchange, text = app.open.pop(len(app.open) // 2)  # neither first in, first out nor the reverse
        exchange.answer(response(text))
    assert [a.body for a in parse_answers(transport.written)] == [
        name.encode() + b":" + body for _, name, body in requests
    ]
    assert not transport.eof
    assert not transport.paused


def test_every_single_split_point() -> None:
    raw = fixed("a", b"12345") + chunked("b", b"0123456789") + fixed("c", b"", "Connection: close")
    for at in range(len(raw) + 1):
        connection, transport = connect(EchoApp())
        connection.data_received(raw[:at])
        connection.data_received(raw[at:])
        answers = parse_answers(transport.written)
        assert [a.body for a in answers] == [b"a:12345", b"b:0123456789", b"c:"]
        assert answers[-1].headers["connection"] == "close"
        assert transport.eof


def test_pipelining_is_bounded_and_goes_on() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    connection.data_received(b"".join(fixed("a", b"%d" % n) for n in range(5)))
    assert (len(app.open), transport.paused) == (3, True)
    for exchange, text in app.open[1:3]:
        exchange.answer(response(text))
    assert transport.written == b""  # the first is still to come
    app.open[0][0].answer(response(app.open[0][1]))
    assert (len(app.open), transport.paused) == (5, False)
    for exchange, text in app.open[3:]:
        exchange.answer(response(text))
    assert [a.body for a in parse_answers(transport.written)] == [b"a:%d" % n for n in range(5)]


def test_a_client_that_pipelines_holds_two_large_bodies_at_most() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    connection.data_received(b"".join(fixed("a", bytes([65 + n]) * 60) for n in range(4)))
    for answered in range(3):
        assert (len(app.open) - answered, transport.paused) == (2, True)
        app.open[answered][0].answer(response(app.open[answered][1]))
    assert (len(app.open), transport.paused) == (4, False)


@pytest.mark.parametrize("private", [False, True])
def test_what_is_not_hot_goes_to_control_with_every_byte(private: bool) -> None:
    app = EchoApp()
    connection, transport = connect(app, private=private)
    raw = b"GET /clary/health HTTP/1.1\r\nHost: a\r\n\r\nGET /next"
    connection.data_received(fixed("a", b"1") + raw)
    if private:  # nothing is handed over from there
        assert [a.body for a in parse_answers(transport.written)] == [b"a:1", b"-:"]
        assert app.moved == []
    else:
        assert app.moved == [raw]
        assert transport.closed


def test_a_handover_waits_for_the_answers_before_it() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.data_received(fixed("a", b"1") + raw)
    assert (app.moved, transport.paused) == ([], True)
    app.open[0][0].answer(response(b"x"))
    assert (app.moved, parse_answers(transport.written)[0].body) == ([raw], b"x")


def test_control_down_is_said_and_the_connection_ends() -> None:
    app = EchoApp()
    app.control_up = False
    connection, transport = connect(app)
    connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    (answer,) = parse_answers(transport.written)
    assert (answer.status, answer.headers["connection"], transport.eof) == (503, "close", True)


def test_expect_continue() -> None:
    connection, transport = connect(EchoApp())
    raw = fixed("a", b"12345", "Expect: 100-continue")
    connection.data_received(raw[:-5])
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(raw[-5:])
    assert transport.written.endswith(b"a:12345")
    # Not asked for where the body came along.
    connection, transport = connect(EchoApp())
    connection.data_received(raw)
    assert b"100 Continue" not in transport.written


def test_expect_continue_waits_for_its_turn() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    connection.data_received(fixed("a", b"1") + fixed("b", b"2", "Expect: 100-continue")[:-1])
    assert transport.written == b""
    app.open[0][0].answer(response(b"first"))
    assert transport.written.endswith(b"firstHTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (fixed("a", b"x" * 101), 413),
        (fixed("a", b"x" * 101, "Expect: 100-continue")[:-101], 413),
        (chunked("a", b"x" * 101), 413),
        (b"POST /endpoints/a/invocations HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 65536, 431),
        (b"POST /endpoints/a/invocations HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 65536 + b"\r\n\r\n", 431),
        (b"GET /\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST /endpoints/a/invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_refusals_end_the_connection_in_turn(raw: bytes, status: int) -> None:
    connection, transport = connect(EchoApp())
    connection.data_received(fixed("a", b"1"))
    connection.data_received(raw)
    connection.data_received(b"more that nobody reads")
    answers = parse_answers(transport.written)
    assert [a.status for a in answers] == [200, status]
    assert answers[1].headers["connection"] == "close"
    assert transport.eof


def sweep(app: EchoApp, connection: Connection, now_s: float) -> None:
    app.now_s = now_s
    connection.sweep(now_s)


@pytest.mark.parametrize(("sent", "limit_s"), [(40, LIMITS.head_s), (-1, LIMITS.body_s)])
def test_a_slow_client_is_timed_out(sent: int, limit_s: float) -> None:
    app = EchoApp()
    connection, transport = connect(app)
    raw = fixed("a", b"12345")
    connection.data_received(raw[:sent])
    sweep(app, connection, limit_s - 1)
    connection.data_received(raw[sent : sent + 1] if sent > 0 else b"")  # a drop does not buy more time
    assert transport.written == b""
    sweep(app, connection, limit_s + 1)
    assert parse_answers(transport.written)[0].status == 408
    assert transport.eof
    assert not transport.closed
    sweep(app, connection, limit_s + 2 + LIMITS.linger_s)
    assert transport.closed


def test_an_idle_connection_is_closed_and_one_that_waits_is_not() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    connection.data_received(fixed("a", b"1"))
    sweep(app, connection, LIMITS.idle_s + 1)
    assert not transport.closed
    app.open[0][0].answer(response(b""))
    connection.data_received(fixed("a", b"1"))
    app.open[1][0].answer(response(b""))
    sweep(app, connection, 2 * LIMITS.idle_s + 3)
    assert transport.closed


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    app = EchoApp()
    connection, transport = connect(app)
    connection.pause_writing()
    connection.data_received(fixed("a", b"1"))
    assert transport.paused
    sweep(app, connection, LIMITS.body_s + 1)
    assert transport.closed


def test_writing_may_go_on_before_that() -> None:
    connection, transport = connect(EchoApp())
    connection.pause_writing()
    connection.data_received(fixed("a", b"1") + fixed("a", b"2"))
    assert [a.body for a in parse_answers(transport.written)] == [b"a:1"]
    connection.resume_writing()
    assert [a.body for a in parse_answers(transport.written)] == [b"a:1", b"a:2"]
    assert not transport.paused


def test_a_client_that_leaves_gives_up_its_requests() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    connection.data_received(fixed("a", b"1") + fixed("a", b"2"))
    app.open[1][0].answer(response(b""))
    connection.connection_lost(None)
    assert app.left == [app.open[0][0]]
    app.open[0][0].answer(response(b""))
    assert transport.written == b""
    assert app.connections == set()


def test_half_closed_clients_get_their_answers() -> None:
    app = EchoApp(later=True)
    connection, transport = connect(app)
    connection.data_received(b"".join(fixed("a", b"%d" % n) for n in range(4)))
    assert connection.eof_received()
    for exchange, text in app.open[:3]:
        exchange.answer(response(text))
    assert not transport.eof
    app.open[3][0].answer(response(app.open[3][1]))
    assert (len(parse_answers(transport.written)), transport.eof) == (4, True)
    idle, _ = connect(app)
    assert not idle.eof_received()


def test_stopping_closes_idle_connections_now_and_others_after_their_answers() -> None:
    app = EchoApp(later=True)
    (idle, idle_transport), (busy, busy_transport) = connect(app), connect(app)
    busy.data_received(fixed("a", b"1"))
    app.stopping = True
    idle.stop()
    busy.stop()
    assert idle_transport.closed
    assert not busy_transport.eof
    app.open[0][0].answer(response(b"x"))
    assert parse_answers(busy_transport.written)[0].body == b"x"
    assert busy_transport.eof


def test_too_many_connections() -> None:
    app = EchoApp()
    app.limits = Limits(connections_max=1)
    connect(app)
    _, transport = connect(app)
    assert parse_answers(transport.written)[0].status == 503


def test_heads_are_remembered_within_bounds_and_never_signed_ones() -> None:
    app = EchoApp()
    app.limits = Limits(heads_cached_max=2)
    connection, _ = connect(app)
    for n in range(5):
        connection.data_received(fixed("a", b"x" * n))
        assert len(app.heads) <= 2
    app.heads.clear()
    connection.data_received(fixed("a", b"1", "Authorization: x") + fixed("a", b"1", "X: " + "y" * 4000))
    assert app.heads == {}
