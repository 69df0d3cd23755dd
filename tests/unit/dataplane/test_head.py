"""Heads: what they say, and what is refused."""

import pytest

from clary.dataplane.head import Refused, check_first_line, parse_head


def head(*lines: str, first: str = "POST /endpoints/m/invocations HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def test_a_hot_head() -> None:
    got = parse_head(head("Host: localhost:1", "X-A: 1", "x-a:  2 ", "Content-Length: 12", "Expect: 100-Continue"))
    assert (got.name, got.host, got.body_bytes, got.chunked) == ("m", "localhost:1", 12, False)
    assert (got.keep_alive, got.expect_continue) == (True, True)
    assert (got.headers["x-a"], got.repeated) == ("1,2", {"x-a"})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("POST /endpoints/my%2Dmodel/invocations HTTP/1.1", "my-model"),
        ("POST /endpoints/m/invocations?x=1 HTTP/1.1", "m"),
        ("GET /endpoints/m/invocations HTTP/1.1", None),
        ("POST /endpoints/m/invocations/ HTTP/1.1", None),
        ("POST /endpoints/m/n/invocations HTTP/1.1", None),
        ("POST /endpoints//invocations HTTP/1.1", None),
        ("POST /endpoints/m/invocations-response-stream HTTP/1.1", "m"),
        ("POST /endpoints/m/invocations-response-streams HTTP/1.1", None),
        ("POST /endpoints/m/async-invocations HTTP/1.1", None),
        ("POST http://h/endpoints/m/invocations HTTP/1.1", None),
        ("POST / HTTP/1.1", None),
    ],
)
def test_only_invocations_are_hot(line: str, name: str | None) -> None:
    assert parse_head(head("Host: h", first=line)).name == name


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        ([], 400, "exactly one Host"),
        (["Host: a", "Host: b"], 400, "exactly one Host"),
        (["Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"], 400, ""),
        (["Host: a", "Content-Length: 1", "Content-Length: 2"], 400, ""),
        (["Host: a", "Content-Length: 1", "Content-Length: 1"], 400, ""),
        (["Host: a", "Content-Length: +1"], 400, ""),
        (["Host: a", "Content-Length: 1,1"], 400, ""),
        (["Host: a", "Content-Length: 99999999999999999999"], 400, ""),
        (["Host: a", "Transfer-Encoding: gzip, chunked"], 501, "chunked is the only"),
        (["Host: a", "Transfer-Encoding: gzip"], 400, ""),
        (["Host: a", "Expect: a-miracle"], 417, "100-continue"),
        (["Host: a", "X Y: z"], 400, "not valid HTTP"),
        (["Host: a", " folded: z"], 400, ""),
        (["Host: a", "X: a\nY: b"], 400, "bare CR or LF"),
        (["Host: a", "X: a\rY: b"], 400, "bare CR or LF"),
        (["Host: a", "X: a\x00b"], 400, "not valid HTTP"),
    ],
)
def test_what_http_forbids_is_refused(lines: list[str], status: int, words: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_head(head(*lines))
    assert refused.value.status == status
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /", 400),
        ("GET / HTTP/0.9", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET / HTTP/3", 505),
        ("\x16\x03\x01", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 x", 400),
    ],
)
def test_what_is_not_http_1_is_refused_at_its_first_line(line: str, status: int) -> None:
    for check in (check_first_line, parse_head):
        with pytest.raises(Refused) as refused:
            check(head("Host: a", first=line))
        assert refused.value.status == status
    check_first_line(line.encode("latin-1"))  # not yet whole


@pytest.mark.parametrize(
    ("first", "lines", "keep_alive"),
    [
        ("GET / HTTP/1.1", [], True),
        ("GET / HTTP/1.1", ["Connection: Keep-Alive, Close"], False),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: keep-alive"], False),
        ("GET / HTTP/1.1", ["Connection: Upgrade", "Upgrade: websocket"], True),
    ],
)
def test_keep_alive(first: str, lines: list[str], keep_alive: bool) -> None:
    assert parse_head(head("Host: a", *lines, first=first)).keep_alive is keep_alive
