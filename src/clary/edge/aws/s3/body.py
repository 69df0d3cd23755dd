"""The body of a request: from the wire, through decoding and checking, into a writer, in bounded memory.

The event loop only gathers blocks; decoding, hashing and writing run on a thread, one block while the next arrives.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clary.edge.aws.s3.chunked import ChunkedDecoder
from clary.edge.aws.s3.errors import S3Error
from clary.kit.sigv4 import STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, Proof
from clary.kit.threads import Threads
from clary.objects.checksums import ALGORITHMS, DEFAULT, full
from clary.objects.errors import DigestMismatch
from clary.objects.records import Checksum

BLOCK_BYTES = 1024 * 1024
"""What is handed to a thread at once: long enough that the hand-over costs nothing, short enough to keep few."""
DRAIN_BYTES_MAX = 64 * 1024 * 1024
"""Of a body whose request was refused: read and dropped, so that the client sees the answer, not a reset."""
IDLE_S = 60.0
"""A client that sends nothing for so long is answered RequestTimeout and left; slow ones take their time."""
_CHECKSUM = "x-amz-checksum-"
_SETTINGS = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"})

Receive = Callable[[], Awaitable[Any]]


class ClientGoneError(Exception):
    """The client closed its connection: there is nobody to answer."""


class Sink(Protocol):
    """Where bytes go: `clary.objects.writer.Writer`, or memory for a small document."""

    def write(self, data: bytes | memoryview) -> None: ...

    @property
    def md5(self) -> bytes: ...

    def checksum(self, algorithm: str | None = None) -> Checksum: ...


@dataclass(frozen=True)
class Claims:
    """What the headers promise of the body."""

    length: int
    """Bytes of payload, after decoding."""
    algorithm: str | None
    """Of the additional checksum; None: the client gave none."""
    checksum: str | None
    """Its value; None where it comes as a trailer."""
    md5: bytes | None
    sha256: str | None
    """Lower-case hex, where the client signed it."""
    chunked: bool


def read_claims(headers: Mapping[str, str]) -> Claims:
    """What a request's headers say of its body; S3Error where they are missing or contradict each other."""
    literal = headers.get("x-amz-content-sha256", "")
    encodings = [part.strip() for part in headers.get("content-encoding", "").split(",")]
    chunked = literal.startswith("STREAMING-") or "aws-chunked" in encodings
    served = ("", STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER)
    if literal.startswith("STREAMING-") and literal not in served:
        raise S3Error("NotImplemented", f"The payload signature {literal} is not served by Clary.")
    length = headers.get("x-amz-decoded-content-length" if chunked else "content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise S3Error("MissingContentLength")
    algorithm, checksum = checksum_claim(headers)
    return Claims(
        length=int(length),
        algorithm=algorithm,
        checksum=checksum,
        md5=_md5(headers.get("content-md5")),
        sha256=literal.lower() if len(literal) == 64 else None,
        chunked=chunked,
    )


class Body:
    """One request's body, read once."""

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        proof: Proof | None,
        threads: Threads,
        idle_s: float = IDLE_S,
    ) -> None:
        """`headers` by lower-case name; `proof` verifies signed chunks."""
        self._receive = receive
        self._idle_s = idle_s
        self._stalled = False
        self._headers = headers
        self._proof = proof
        self._threads = threads
        self._ended = headers.get("content-length", "") in ("", "0") and "transfer-encoding" not in headers
        self._begun = False

    @property
    def unread(self) -> bool:
        """Whether bytes of it may still come."""
        return not self._ended

    def claims(self, bytes_max: int) -> Claims:
        """What the headers promise; S3Error where that is malformed or longer than `bytes_max`."""
        claims = read_claims(self._headers)
        if claims.length > bytes_max:
            raise S3Error("EntityTooLarge", ProposedSize=str(claims.length), MaxSizeAllowed=str(bytes_max))
        return claims

    async def stream_into(self, sink: Sink, claims: Claims) -> None:
        """Write the payload to `sink` and check every promise; S3Error, ClientGoneError. The sink may hold anything
        after an error."""
        intake = _Intake(sink, claims, self._decoder(claims))
        running: asyncio.Task[None] | None = None
        try:
            async for block in self.blocks():
                if running is not None:
                    await running
                running = asyncio.create_task(self._threads.run(functools.partial(intake.feed, block)))
            if running is not None:
                await running
            await self._threads.run(intake.finish)
        finally:
            if running is not None and not running.done():
                with contextlib.suppress(S3Error, OSError):
                    await running

    async def read(self, bytes_max: int, *, digest_is_of_body: bool = True) -> bytes:
        """The whole payload, checked: for documents, of at most `bytes_max`.

        `digest_is_of_body` False: checksum headers speak of something else (the object that a completion makes).
        """
        if self._ended and "content-length" not in self._headers:
            return b""
        if not digest_is_of_body:
            self._headers = {name: text for name, text in self._headers.items() if not name.startswith(_CHECKSUM)}
        claims = self.claims(bytes_max)
        memory = _Memory()
        await self.stream_into(memory, claims)
        return bytes(memory.data)

    async def drain(self) -> bool:
        """Read and drop what still comes, up to a limit; whether it all came.

        Nothing is read of a client that waits for `100 Continue`: asking it for the body would be a lie.
        """
        if self._ended:
            return True
        if not self._begun and self._headers.get("expect", "").lower() == "100-continue":
            return False
        dropped = 0
        while dropped < DRAIN_BYTES_MAX and not self._stalled:
            message = await self._next()
            if message is None:
                break
            if message["type"] == "http.disconnect":
                return False
            dropped += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended = True
                return True
        return False

    async def blocks(self) -> AsyncIterator[list[bytes]]:
        """The body as it stands on the wire, gathered; ClientGoneError."""
        gathered: list[bytes] = []
        size = 0
        while not self._ended:
            self._begun = True
            message = await self._next()
            if message is None:
                raise S3Error("RequestTimeout")
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            data = message.get("body", b"")
            if data:
                gathered.append(data)
                size += len(data)
            self._ended = not message.get("more_body", False)
            if size >= BLOCK_BYTES or (self._ended and gathered):
                yield gathered
                gathered, size = [], 0

    async def _next(self) -> Any:
        """What the client sent next; None where it sent nothing for too long."""
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._receive()
        except TimeoutError:
            self._stalled = True
            return None

    def _decoder(self, claims: Claims) -> ChunkedDecoder | None:
        if not claims.chunked:
            return None
        literal = self._headers.get("x-amz-content-sha256", "")
        signed = literal in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER)
        proof = self._proof if signed and self._proof is not None and self._proof.verified else None
        announced = [name.strip().lower() for name in self._headers.get("x-amz-trailer", "").split(",")]
        return ChunkedDecoder(
            [name for name in announced if name],
            proof,
            proof.claim.signature if proof is not None else "",
            sign_trailer=literal == STREAMING_SIGNED_TRAILER,
        )


class _Intake:
    """The thread's side: decodes, hashes, writes, checks."""

    def __init__(self, sink: Sink, claims: Claims, decoder: ChunkedDecoder | None) -> None:
        self._sink = sink
        self._claims = claims
        self._decoder = decoder
        self._sha256 = hashlib.sha256() if claims.sha256 is not None else None
        self._size = 0

    def feed(self, block: list[bytes]) -> None:
        for data in block:
            for piece in self._decoder.feed(data) if self._decoder is not None else (data,):
                self._size += len(piece)
                if self._size > self._claims.length:
                    raise S3Error("IncompleteBody")
                if self._sha256 is not None:
                    self._sha256.update(piece)
                self._sink.write(piece)

    def finish(self) -> None:
        """Check every promise against what came."""
        claims = self._claims
        if self._decoder is not None:
            self._decoder.finish()
        if self._size != claims.length:
            raise S3Error("IncompleteBody")
        for mismatch in self._mismatches():
            raise mismatch

    def _mismatches(self) -> Iterator[DigestMismatch]:
        claims = self._claims
        if self._sha256 is not None and claims.sha256 is not None:
            actual = self._sha256.hexdigest()
            if not hmac.compare_digest(actual, claims.sha256):
                yield DigestMismatch("x-amz-content-sha256", claims.sha256, actual)
        if claims.md5 is not None and self._sink.md5 != claims.md5:
            yield DigestMismatch("content-md5", _base64(claims.md5), _base64(self._sink.md5))
        if claims.algorithm is not None:
            name = f"{_CHECKSUM}{claims.algorithm.lower()}"
            expected = claims.checksum
            if expected is None and self._decoder is not None:
                expected = check_value(claims.algorithm, self._decoder.trailers[name])
            actual = self._sink.checksum(claims.algorithm).value
            if expected is not None and expected != actual:
                yield DigestMismatch(name, expected, actual)


class _Memory:
    """A Sink for documents."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data

    @property
    def md5(self) -> bytes:
        return hashlib.md5(self.data, usedforsecurity=False).digest()

    def checksum(self, algorithm: str | None = None) -> Checksum:
        name = algorithm or DEFAULT
        hasher = ALGORITHMS[name].new()
        hasher.update(bytes(self.data))
        return full(name, hasher.digest())


def check_value(algorithm: str, value: str) -> str:
    """A checksum's value, if it is base64 of the right length; S3Error."""
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != ALGORITHMS[algorithm].width:
        raise S3Error("InvalidRequest", f"Value for {_CHECKSUM}{algorithm.lower()} header is invalid.")
    return value


def checksum_claim(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Algorithm and value of the additional checksum; the value is None where it is announced as a trailer."""
    given = [name for name in headers if name.startswith(_CHECKSUM) and name not in _SETTINGS]
    announced = [
        name.strip().lower()
        for name in headers.get("x-amz-trailer", "").split(",")
        if name.strip().lower().startswith(_CHECKSUM)
    ]
    if len(given) + len(announced) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    asked = headers.get("x-amz-sdk-checksum-algorithm", "").upper()
    if not given and not announced:
        if asked:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
                "headers were found.",
            )
        return None, None
    name = (given or announced)[0]
    algorithm = name.removeprefix(_CHECKSUM).upper()
    if algorithm not in ALGORITHMS:
        raise S3Error("InvalidRequest", f"The algorithm type you specified in {name} header is invalid.")
    if asked and asked != algorithm:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    return algorithm, check_value(algorithm, headers[name]) if given else None


def _md5(value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest", **{"Content-MD5": value})
    return digest


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
