"""One request head: from bytes to facts, or to a refusal.

httptools parses; what it lets through and HTTP forbids (RFC 9112) is refused here: HTTP/0.9, a missing or repeated
Host, bare line ends, a transfer coding other than chunked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import httptools

if TYPE_CHECKING:
    from clary.dataplane.plan import Plan

_HOT = re.compile(rb"/endpoints/([^/?#]+)(?:/versions/([^/?#]*))?/invocations(-response-stream)?(?:\?([^#]*))?\Z").match
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ \r\n]+ HTTP/1\.[01]\Z").match

NO_VERSION = -1
"""What a path says that asks for a version by anything but its number."""


def _version(text: bytes) -> int:
    return (int(text) or NO_VERSION) if text.isdigit() and len(text) <= 9 else NO_VERSION


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """Answer this and close the connection. `code` is empty where the service itself sends none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Head:
    """What a head says. Shared by every request that sends the same bytes: never changed but for `plan`."""

    __slots__ = (
        "body_bytes",
        "chunked",
        "expect_continue",
        "headers",
        "host",
        "http10",
        "keep_alive",
        "method",
        "name",
        "path",
        "plan",
        "query",
        "repeated",
        "stream",
        "version",
    )

    def __init__(self, method: str, target: bytes) -> None:
        self.method = method
        hot = _HOT(target)
        self.name: str | None = None
        """Endpoint name of a hot request, percent-decoded; None: not the router's to answer."""
        self.version = 0
        """The version of the endpoint that the path names; 0: none, whatever is live; NO_VERSION: no number of one."""
        self.stream = False
        """The answer is wanted as an event stream (InvokeEndpointWithResponseStream)."""
        if hot and method == "POST":
            self.name = unquote_to_bytes(hot[1]).decode("utf-8", "replace")
            self.version = 0 if hot[2] is None else _version(hot[2])
            self.stream = hot[3] is not None
        path, _, query = target.partition(b"?")
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.headers: Mapping[str, str] = {}
        """Latin-1, by lower-case name; values of a repeated one joined by commas."""
        self.repeated: frozenset[str] = frozenset()
        """Names that stood more than once."""
        self.host = ""
        """As sent, port included."""
        self.body_bytes = 0
        """Content-Length; 0 for a chunked body, whose length nobody knows yet."""
        self.chunked = False
        self.http10 = False
        self.keep_alive = True
        self.expect_continue = False
        self.plan: Plan | None = None
        """What the invoker made of it for one snapshot; its own to read and write."""


class _Sink:
    """httptools' callbacks."""

    def __init__(self) -> None:
        self.url = b""
        self.pairs: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))


def check_first_line(partial: bytes) -> None:
    """Refuse what will never become an HTTP/1 head, as soon as its first line is whole; Refused."""
    line, ended, _ = partial.partition(b"\n")
    if ended and not _REQUEST_LINE(line.removesuffix(b"\r")):
        raise _not_http(line)


def _not_http(line: bytes) -> Refused:
    if re.fullmatch(rb"\S+ \S+ HTTP/\d+(\.\d+)?\r?", line):
        return Refused(505, "HttpVersionNotSupported", "Clary speaks HTTP/1.1 and HTTP/1.0 on this port.")
    return Refused(400, "BadRequest", "The request line is not that of an HTTP/1.1 request.")


def parse_head(raw: bytes) -> Head:
    """The facts of a whole head, its empty line included; Refused.

    Its end was found as the first CRLF CRLF. A parser that takes a bare line feed for a line end would see another
    one, and requests could be smuggled: bare CR and LF are refused.
    """
    lines = raw.count(b"\r\n")
    if raw.count(b"\n") != lines or raw.count(b"\r") != lines:
        raise Refused(400, "BadRequest", "The head has a bare CR or LF; lines end with CRLF.")
    line = raw[: raw.index(b"\r\n")]
    if not _REQUEST_LINE(line):
        raise _not_http(line)
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer, which this server does not take up
    except httptools.HttpParserError as error:
        raise Refused(400, "BadRequest", f"The head is not valid HTTP: {error}.") from None
    head = Head(parser.get_method().decode("latin-1"), sink.url)
    _fill(head, sink.pairs, http10=parser.get_http_version() == "1.0")
    return head


def _fill(head: Head, pairs: list[tuple[str, str]], *, http10: bool) -> None:
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name in headers:
            repeated.add(name)
            headers[name] += f",{value}"
        else:
            headers[name] = value
    if "host" not in headers or "host" in repeated:
        raise Refused(400, "BadRequest", "A request has exactly one Host header.")
    coding = headers.get("transfer-encoding")
    if coding is not None and "content-length" in headers:
        raise Refused(400, "BadRequest", "Content-Length and Transfer-Encoding exclude each other.")
    if coding is not None and (coding.lower() != "chunked" or http10):
        raise Refused(501, "NotImplemented", "chunked is the only transfer coding served, and only in HTTP/1.1.")
    length = headers.get("content-length", "0")
    if "content-length" in repeated or not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise Refused(400, "BadRequest", "Content-Length is not one number.")
    expect = headers.get("expect", "").lower()
    if expect not in ("", "100-continue"):
        raise Refused(417, "ExpectationFailed", "100-continue is the only expectation served.")
    connection = {token.strip() for token in headers.get("connection", "").lower().split(",")}
    head.headers, head.repeated = headers, frozenset(repeated)
    head.host = headers["host"]
    head.body_bytes, head.chunked = int(length), coding is not None
    head.http10 = http10
    # HTTP/1.0 clients get one answer a connection: none that matters keeps it alive.
    head.keep_alive = not http10 and "close" not in connection
    head.expect_continue = bool(expect) and not http10
