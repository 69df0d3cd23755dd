"""`aws-chunked` bodies: chunks with or without signatures, and a trailer of checksums.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html

    <hex size>[;chunk-signature=<hex>] CRLF <bytes> CRLF ... 0[;chunk-signature=<hex>] CRLF
    [<trailer name>:<value> CRLF]... [x-amz-trailer-signature:<hex> CRLF] CRLF
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Collection, Iterator
from typing import Protocol

from clary.edge.aws.s3.errors import S3Error

_LINE_BYTES_MAX = 4096
_TRAILER_LINES_MAX = 16
CHUNK_BYTES_MIN = 8192
"""Of every chunk but the last two (the last with bytes, and the empty one)."""
_CHUNK_BYTES_MAX = 5 * 1024**3


class ChunkSigner(Protocol):
    """What verifies chunks: `clary.kit.sigv4.Proof`."""

    def chunk_signature(self, previous: str, chunk_sha256: str) -> str: ...

    def trailer_signature(self, previous: str, trailer_sha256: str) -> str: ...


class _State(enum.Enum):
    HEAD = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class ChunkedDecoder:
    """Takes the body as it comes, gives the bytes inside. Blocking work (hashing): feed it on a thread."""

    def __init__(self, trailers: Collection[str], signer: ChunkSigner | None, seed: str, *, sign_trailer: bool) -> None:
        """`trailers`: names announced by x-amz-trailer, lower case. `signer` None: signatures are not checked."""
        self._expected = frozenset(trailers)
        self._signer = signer
        self._signature = seed
        self._sign_trailer = sign_trailer
        self._state = _State.HEAD
        self._line = bytearray()
        self._left = 0
        self._short = False
        self._claimed = ""
        self._sha256 = hashlib.sha256()
        self._lines: list[str] = []
        self.trailers: dict[str, str] = {}
        """Values by lower-case name, once the body has ended."""

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The payload bytes in `data`. S3Error where it is not well-formed or a signature is wrong."""
        view = memoryview(data)
        while view:
            if self._state is _State.DATA:
                piece, view = view[: self._left], view[self._left :]
                if self._signer is not None:
                    self._sha256.update(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._end_chunk()
                yield piece
            elif self._state is _State.DONE:
                raise S3Error("IncompleteBody", "The request body has bytes after its last chunk.")
            else:
                view = self._take_line(view)

    def finish(self) -> None:
        """The body has ended: S3Error where it ended too early or its trailer is not the announced one."""
        # Some clients leave out the last empty line.
        if self._state is _State.TRAILER and not self._line:
            self._end_trailer()
        if self._state is not _State.DONE:
            raise S3Error("IncompleteBody", "The request body terminated unexpectedly")

    def _take_line(self, view: memoryview) -> memoryview:
        data = bytes(view[:_LINE_BYTES_MAX])
        end = data.find(b"\n")
        taken = end + 1 if end >= 0 else len(data)
        self._line += data[:taken]
        if len(self._line) > _LINE_BYTES_MAX:
            raise S3Error("IncompleteBody", "A chunk's head is too long.")
        if end >= 0:
            line, self._line = bytes(self._line).rstrip(b"\r\n"), bytearray()
            self._on_line(line.decode("latin-1"))
        return view[taken:]

    def _on_line(self, line: str) -> None:
        if self._state is _State.DATA_END:
            if line:
                raise S3Error("IncompleteBody", "A chunk is longer than its head says.")
            self._state = _State.HEAD
        elif self._state is _State.HEAD:
            self._begin_chunk(line)
        elif line:
            if len(self._lines) == _TRAILER_LINES_MAX:
                raise S3Error("MalformedTrailerError")
            self._lines.append(line)
        elif self._signed_trailer_awaited():
            # Some clients write an empty line between the checksums and their signature.
            return
        else:
            self._end_trailer()

    def _begin_chunk(self, line: str) -> None:
        size, _, extension = line.partition(";")
        try:
            self._left = int(size, 16) if size.isalnum() else -1
        except ValueError:
            self._left = -1
        if not 0 <= self._left <= _CHUNK_BYTES_MAX:
            raise S3Error("IncompleteBody", "A chunk's head is not well-formed.")
        if self._short and self._left > 0:
            raise S3Error("InvalidChunkSizeError")
        self._short = self._left < CHUNK_BYTES_MIN
        name, _, self._claimed = extension.partition("=")
        if self._signer is not None and name != "chunk-signature":
            raise S3Error("SignatureDoesNotMatch", "A chunk has no signature.")
        self._sha256 = hashlib.sha256()
        self._state = _State.DATA
        if self._left == 0:
            self._check_chunk()
            self._state = _State.TRAILER

    def _end_chunk(self) -> None:
        self._check_chunk()
        self._state = _State.DATA_END

    def _check_chunk(self) -> None:
        if self._signer is None:
            return
        self._signature = self._signer.chunk_signature(self._signature, self._sha256.hexdigest())
        if not _same(self._signature, self._claimed):
            raise S3Error("SignatureDoesNotMatch")

    def _signed_trailer_awaited(self) -> bool:
        signed = any(line.lower().startswith("x-amz-trailer-signature:") for line in self._lines)
        return self._sign_trailer and bool(self._lines) and not signed

    def _end_trailer(self) -> None:
        claimed = ""
        signed = ""
        for line in self._lines:
            name, colon, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if name == "x-amz-trailer-signature":
                claimed = value
                continue
            if not colon or name not in self._expected or name in self.trailers:
                raise S3Error("MalformedTrailerError")
            self.trailers[name] = value
            signed += f"{name}:{value}\n"
        if self._expected - self.trailers.keys():
            raise S3Error("MalformedTrailerError")
        if self._sign_trailer and self._signer is not None:
            ours = self._signer.trailer_signature(self._signature, hashlib.sha256(signed.encode()).hexdigest())
            if not _same(ours, claimed):
                raise S3Error("SignatureDoesNotMatch")
        self._state = _State.DONE


def _same(ours: str, claimed: str) -> bool:
    return hmac.compare_digest(ours.encode(), claimed.encode())
