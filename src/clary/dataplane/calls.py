"""One invocation on its way to a replica, and who is told what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clary.dataplane.exchange import Exchange
from clary.replica.frames import Frame

if TYPE_CHECKING:
    from clary.dataplane.batch import Replica
    from clary.dataplane.live import LiveVariant
    from clary.dataplane.plan import Plan
    from clary.dataplane.tracing import Trace


class Call(Exchange):
    """One invocation."""

    __slots__ = (
        "alone", "arrived_s", "body", "deadline_s", "delivered", "done", "frame_id", "logs_url", "paused", "plan",
        "replica", "request_id", "sent_s", "span_id", "stream", "tlvs", "trace", "variant",
    )  # fmt: skip

    alone: bool
    arrived_s: float
    """Monotonic; so are `sent_s` (0 until delivered) and `deadline_s`, which moves when a stream is delivered."""
    body: bytes
    deadline_s: float
    delivered: int
    """Replicas that it was delivered to."""
    done: bool
    """Answered, or its client is gone."""
    frame_id: int
    logs_url: str
    paused: bool
    """Its client does not keep up with the parts of its answer, and its replica's link is not read meanwhile."""
    plan: Plan
    """What its head asks for, in case it has to move to another variant."""
    replica: Replica
    """Where it was delivered to last, under `frame_id`; unset until then."""
    request_id: bytes
    """36 bytes."""
    sent_s: float
    span_id: bytes
    """8 bytes; unset where `trace` is None."""
    stream: bool
    """Its answer is wanted in parts."""
    tlvs: bytes
    """The frame's header but for request id and deadline."""
    trace: Trace | None
    """What it is to be a span of."""
    variant: LiveVariant


class Outcomes(Protocol):
    """What becomes of a call; each answers it."""

    def answered(self, call: Call, head: bytes, body: bytes) -> None:
        """The replica answered; `head` are the frame's TLVs."""
        ...

    def part(self, call: Call, frame: Frame) -> None:
        """A CHUNK: some of a streamed answer; the first of them tells the status."""
        ...

    def ended(self, call: Call, frame: Frame) -> None:
        """The END of a streamed answer, with ERROR where it broke."""
        ...

    def crashed(self, call: Call) -> None:
        """Its worker died and it is not tried again, or its body is known to kill workers."""
        ...

    def spilled(self, call: Call) -> bool:
        """Its fleet is on trial and cannot serve it: whether another one took it."""
        ...

    def timed_out(self, call: Call) -> None:
        """No answer in time, though there was a replica."""
        ...

    def starved(self, call: Call) -> None:
        """It waits, and its variant has no replica that could take it; said again while that is so."""
        ...

    def unavailable(self, call: Call) -> None:
        """No replica was there in time."""
        ...


class Wire(Protocol):
    """The part of a ReplicaLink that a replica writes to."""

    def send(self, data: bytes) -> None:
        """Write whole frames."""
        ...

    def pause(self, paused: bool) -> None:
        """Read no more for a while, or read again."""
        ...

    def abort(self) -> None:
        """Close the connection; the link connects again."""
        ...

    def close(self) -> None:
        """Close the connection for good."""
        ...
