"""A link reads requests as frames.py does, however they are split, and remembers headers without mixing them up."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clary.replica import frames
from clary.replica.frames import Kind, Tag
from clary.worker.link import Link

TEXTS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20).map(str.encode)
HEADS: st.SearchStrategy[dict[int, bytes]] = st.fixed_dictionaries(
    {},
    optional={
        Tag.CONTENT_TYPE: TEXTS,
        Tag.ACCEPT: TEXTS,
        Tag.CUSTOM_ATTRIBUTES: st.binary(max_size=60),
        Tag.ALONE: st.just(b""),
        Tag.TARGET_MODEL: TEXTS,
        Tag.INFERENCE_ID: TEXTS,
        Tag.TRACEPARENT: TEXTS,
        Tag.TRACESTATE: TEXTS,
        Tag.AMZN_TRACE_ID: TEXTS,
        Tag.REQUEST_ID: st.binary(min_size=36, max_size=36),
        Tag.DEADLINE_MS: st.integers(0, 100_000).map(frames.u32),
    },
)


def read(raw: bytes, piece_bytes: int) -> list[Any]:
    """What a link makes of bytes that arrive in pieces."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        link = Link(ours, lambda: 1_000, 60_000_000_000)
        for at in range(0, len(raw), piece_bytes):
            theirs.sendall(raw[at : at + piece_bytes])
            link.receive()
        assert not link.closed
        return [(r.id, *r.head, r.request_id, r.deadline_ns - r.arrived_ns, bytes(r.body)) for r in link.waiting]


def expected(frame_id: int, head: dict[int, bytes], body: bytes) -> Any:
    left_ms = frames.number(head, Tag.DEADLINE_MS, 60_000)
    return (
        frame_id,
        frames.text(head, Tag.CONTENT_TYPE),
        frames.text(head, Tag.ACCEPT),
        Tag.ALONE in head,
        Tag.STREAM in head,
        frames.text(head, Tag.TARGET_MODEL),
        frames.text(head, Tag.CUSTOM_ATTRIBUTES),
        frames.text(head, Tag.INFERENCE_ID),
        tuple((name, head[tag].decode()) for tag, name in frames.TRACE_HEADERS if tag in head),
        head.get(Tag.REQUEST_ID, b""),
        left_ms * 1_000_000,
        body,
    )


@given(st.lists(st.tuples(HEADS, st.binary(max_size=80), st.booleans()), max_size=6), st.integers(1, 200))
def test_requests_survive_any_split_and_any_headers(
    sent: list[tuple[dict[int, bytes], bytes, bool]], piece_bytes: int
) -> None:
    raw, wanted = frames.hello("r", "n", 0), []
    for number, (head, body, as_a_router) in enumerate(sent):
        if as_a_router:  # the two that differ from request to request stand last
            for tag in (Tag.REQUEST_ID, Tag.DEADLINE_MS):
                if tag in head:
                    head[tag] = head.pop(tag)
        raw += frames.encode(Kind.REQUEST, number, head, len(body)) + body
        wanted.append(expected(number, head, body))
    assert read(raw, piece_bytes) == wanted


def test_a_value_that_looks_like_the_tail_is_not_taken_for_it() -> None:
    tail = frames.encode_head({Tag.REQUEST_ID: b"x" * 36, Tag.DEADLINE_MS: frames.u32(1)})
    heads = [{Tag.ACCEPT: b"a"}, {Tag.ACCEPT: b"a" + tail}, {Tag.ACCEPT: b"a" + tail}]
    raw = frames.hello("r", "n", 0)
    for number, head in enumerate(heads):
        raw += frames.encode(Kind.REQUEST, number, head)
    assert [(row[2], row[9]) for row in read(raw, 1000)] == [(frames.text(head, Tag.ACCEPT), b"") for head in heads]


def test_a_request_before_hello_ends_the_link() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        link = Link(ours, lambda: 0, 0)
        theirs.sendall(frames.encode(Kind.REQUEST, 1, {}))
        link.receive()
        assert link.closed
        assert not link.waiting


def test_answers_that_are_not_read_wait_and_then_end_the_link() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        link = Link(ours, lambda: 0, 10**9)
        theirs.sendall(frames.hello("r", "n", 0) + frames.encode(Kind.REQUEST, 1, {}))
        link.receive()
        request = link.waiting.popleft()
        link.answer(request, 200, b"", b"x" * 8_000_000, (0, 0, 0))
        assert link.pending
        assert not link.closed
        for _ in range(10):
            link.answer(request, 200, b"", b"x" * 8_000_000, (0, 0, 0))
        assert link.closed
