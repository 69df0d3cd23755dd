"""The proxy's listener: who may use it, what it refuses and in which words; what it hands on is byte for byte."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from clary.edge.proxy.authority import Authority
from clary.edge.proxy.hosts import ServedHosts
from clary.edge.proxy.relay import Relay
from clary.edge.proxy.server import HEAD_BYTES_MAX, Proxy
from clary.kit.clock import SystemClock

STS = "sts.us-east-1.amazonaws.com"
TOKEN = "Proxy-Authorization: Basic " + base64.b64encode(b"clary:secret").decode()


@dataclass
class Bench:
    """A proxy at work, and what reached the server behind it."""

    port: int
    authority: Authority
    refused: list[str]
    seen: list[bytes]

    async def say(self, text: str) -> bytes:
        """The answer to `text`, until the proxy closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text.encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    async def through(self, host: str, text: bytes, *, inner: str | None = None) -> bytes:
        """The answer to `text` in a tunnel to `host`; the text must ask for the connection to be closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n{TOKEN}\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connected\r\n\r\n"
        await writer.start_tls(ssl.create_default_context(cadata=self.authority.pem.decode()), server_hostname=host)
        writer.write(text)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest.fixture(params=[True, False], ids=["open", "sigv4"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b": 0")
        seen.append(head + await reader.readexactly(int(length.split(b":")[1])))
        writer.write(b"HTTP/1.1 200 OK\r\nX-Said: yes\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    served, refused = ServedHosts(), list[str]()
    authority = Authority(tmp_path, served.suffixes, SystemClock())
    transport = httpx.AsyncHTTPTransport()
    proxy = Proxy(
        token="secret",
        served=served,
        authority=authority,
        relay=Relay(url, request.param, served, transport),
        on_refused=refused.append,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(proxy.run(listener))
        yield Bench(listener.getsockname()[1], authority, refused, seen)
        task.cancel()
        await asyncio.wait({task})
    await transport.aclose()
    server.close()


def host_seen(bench: Bench, request: pytest.FixtureRequest) -> bytes:
    return f"{STS}.localhost".encode() if "open" in request.node.name else STS.encode()


async def test_a_request_in_a_tunnel_arrives_as_it_was_signed(bench: Bench, request: pytest.FixtureRequest) -> None:
    target = "/a//b/../%2F+'(1)?x=%20&y=a+b&z"
    head = f"POST {target} HTTP/1.1\r\nHost: {STS}\r\nX-Amz-Date: d\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    answer = await bench.through(STS, head.encode() + b"\x00\x01\x02")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nok")
    assert b"x-said: yes" in answer
    [seen] = bench.seen
    assert seen.startswith(f"POST {target} HTTP/1.1\r\n".encode())
    assert seen.endswith(b"\r\n\r\n\x00\x01\x02")
    headers = dict(line.split(b": ", 1) for line in seen.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    assert {name.lower(): value for name, value in headers.items()} == {
        b"host": host_seen(bench, request),
        b"x-amz-date": b"d",
        b"content-length": b"3",
    }


async def test_a_request_in_absolute_form_is_handed_on_without_the_token(bench: Bench) -> None:
    answer = await bench.say(f"GET http://{STS}/x HTTP/1.1\r\nHost: {STS}\r\n{TOKEN}\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nok")
    [seen] = bench.seen
    assert seen.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"authorization" not in seen.lower()
    assert b"proxy" not in seen.lower()


@pytest.mark.parametrize("line", ["", "Proxy-Authorization: Basic Y2xhcnk6b3RoZXI=\r\n"])
async def test_nobody_without_the_token_gets_in(bench: Bench, line: str) -> None:
    answer = await bench.say(f"CONNECT {STS}:443 HTTP/1.1\r\n{line}\r\n")
    assert answer.startswith(b"HTTP/1.1 407 ")
    assert b'Proxy-Authenticate: Basic realm="clary"\r\n' in answer


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("CONNECT example.com:443", "403 clary exec --proxy does not answer example.com: no host of sagemaker, "),
        ("GET http://example.com/", "403 clary exec --proxy does not answer example.com: no host of "),
        (f"CONNECT {STS}:8443", f"403 clary exec --proxy does not answer {STS} at port 8443"),
        ("CONNECT :443", "400 The host that is asked for cannot be read"),
        ("GET /", "400 This is a proxy"),
        ("NONSENSE", "400 This is an HTTP/1 proxy"),
    ],
)
async def test_what_is_refused_says_so_in_the_status_line(bench: Bench, first: str, said: str) -> None:
    answer = await bench.say(f"{first} HTTP/1.1\r\n{TOKEN}\r\n\r\n" if " " in first else f"{first}\r\n{TOKEN}\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {said}".encode())
    assert bench.seen == []


async def test_a_refused_host_is_told_once(bench: Bench) -> None:
    for _ in range(2):
        await bench.say(f"CONNECT example.com:443 HTTP/1.1\r\n{TOKEN}\r\n\r\n")
    assert bench.refused == ["example.com"]


async def test_a_tunnel_is_no_way_to_another_host(bench: Bench) -> None:
    answer = await bench.through(STS, b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert bench.seen == []


async def test_a_head_without_an_end_is_refused(bench: Bench) -> None:
    answer = await bench.say("GET / HTTP/1.1\r\nX: " + "x" * (HEAD_BYTES_MAX + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")
