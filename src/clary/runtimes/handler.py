"""Models that answer whole requests themselves: a user's script, a server of its own.

Unknown code: one request at a time in a replica, and never a request twice. An answer may come in parts.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence, Union  # noqa: UP035 - Python 3.9

from clary.runtimes.base import Input, Joins, ModelError, Signature

Body = Union[bytes, Iterator[bytes]]

REPLY_BYTES_MAX = 48 * 1024 * 1024
"""Bytes of one whole answer: a link holds 64 MiB. The hosted service answers 25 MB at most."""


@dataclass(frozen=True)
class Invocation:
    """One request, as a container would get it."""

    body: bytes
    content_type: str = ""
    """As sent, parameters and all; empty where none was."""
    accept: str = ""
    custom_attributes: str = ""
    """X-Amzn-SageMaker-Custom-Attributes; empty where not sent."""
    request_id: str = ""
    inference_id: str = ""
    trace: tuple[tuple[str, str], ...] = ()
    """`traceparent`, `tracestate` and `X-Amzn-Trace-Id`, as (name, value), where they were sent."""


@dataclass(frozen=True)
class Reply:
    """Its answer."""

    body: Body
    """An iterator gives the parts of a stream. It raises ModelError and nothing else, and is closed when nobody listens
    any more (`close`, where it has one)."""
    content_type: str
    status: int = 200
    custom_attributes: str = ""
    """X-Amzn-SageMaker-Custom-Attributes of the answer; empty says nothing."""


class Handler(abc.ABC):
    """A Model (runtimes.base) that is called by `handle`. The other steps do for callers that know no handlers."""

    signature: Signature = Signature()
    libraries: Mapping[str, str]
    joins: Joins = Joins.NEVER
    notes: Sequence[str] = ()

    @abc.abstractmethod
    def handle(self, invocation: Invocation) -> Reply:
        """Answer one request. Raises ModelError and nothing else; says more in the log."""

    def decode(self, body: memoryview, content_type: str) -> Input:
        """The request, for `predict`."""
        return Input(Invocation(bytes(body), content_type), 1, None)

    def check_accept(self, accept: str) -> str:
        """Whatever is asked for: only the code itself knows what it answers."""
        return accept

    def predict(self, inputs: Sequence[Input]) -> Sequence[Any]:
        """The answer to each. Raises ModelError, also for a reply with an error's status."""
        return [self._whole(one.data) for one in inputs]

    def encode(self, result: Any, accept: str) -> tuple[bytes, str]:
        """(body, content type) of a reply."""
        del accept
        body, content_type = result
        return body, content_type

    def probe(self) -> tuple[bytes, str] | None:
        """None: what a script takes, nobody knows."""
        return None

    def _whole(self, invocation: Invocation) -> tuple[bytes, str]:
        reply = self.handle(invocation)
        body = whole(reply.body)
        if not 200 <= reply.status < 300:
            raise ModelError(reply.status, body.decode("utf-8", "replace"))
        return body, reply.content_type


def whole(body: Body) -> bytes:
    """All parts of a body in one. ModelError 500 where they are too many."""
    if isinstance(body, bytes):
        return body
    parts, size = [], 0
    for part in body:
        parts.append(part)
        size += len(part)
        check_size(size)
    return b"".join(parts)


def check_size(size: int) -> None:
    """ModelError 500 for an answer that cannot travel."""
    if size > REPLY_BYTES_MAX:
        raise ModelError(500, f"The answer has more than {REPLY_BYTES_MAX} bytes, the most that is sent.")
