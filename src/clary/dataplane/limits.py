"""What the hot path bounds, and what it refuses beyond: each limit with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Limits of one router. All are per process unless they say otherwise."""

    head_bytes_max: int = 64 * 1024
    """Request line and headers; beyond: 431. httptools itself has no limit."""
    body_bytes_max: int = 25 * MIB
    """Payload of a real-time invocation (SageMaker hosting FAQ); beyond: 413."""
    head_s: float = 10.0
    """From the first byte of a head to its end; beyond: 408."""
    body_s: float = 60.0
    """From the end of the head to the end of the body; beyond: 408."""
    idle_s: float = 75.0
    """A kept-alive connection without a request is closed after this: above the 60 s that botocore keeps one."""
    handler_s: float = 60.0
    """From a whole request to its answer, waiting included (hosting FAQ: containers answer within 60 s)."""
    stream_s: float = 480.0
    """From a whole request to the end of its response stream, once a replica has it (hosting FAQ: 8 minutes)."""
    linger_s: float = 2.0
    """How long bytes of a refused request are still read and dropped, so that the refusal is not lost to a reset."""
    connections_max: int = 16_384
    """Open client connections; beyond: 503 and close."""
    pipelined_max: int = 8
    """Requests of one connection that may wait for their answers; beyond, the connection is not read. Clients that wait
    for each answer never meet it; one that does not gets no more of a busy variant than eight of them would."""
    pipelined_bytes_max: int = MIB
    """The body of such a request; after a larger one the connection is not read, so that it holds two at most."""
    waiting_calls_max: int = 8_192
    """Calls of one variant that wait for a replica; beyond: 503 with Retry-After."""
    waiting_bytes_max: int = 256 * MIB
    """Bodies of those calls; beyond: 503 with Retry-After."""
    batch_calls_max: int = 256
    """Calls in one batch. Enough to fill a vectorised predict; more would only delay the first answers."""
    batch_bytes_max: int = 4 * MIB
    """Bodies in one batch; one larger body goes by itself."""
    poison_s: float = 60.0
    """How long a body that killed two workers is refused."""
    poison_max: int = 1_024
    """Remembered digests per variant; the oldest is forgotten first."""
    heads_cached_max: int = 1_024
    """Parsed heads kept for clients that repeat themselves."""
    head_cached_bytes_max: int = 2_048
    """Longer heads are parsed each time."""
    handoffs_max: int = 1_024
    """Connections on their way to control and not yet taken; beyond: 503."""
    stop_s: float = 25.0
    """After SIGTERM, what is in flight may finish for this long: below the agent's 30 s before SIGKILL."""
    farewell_s: float = 0.5
    """After SIGTERM, clients between two requests may send the next for this long: its answer says that the connection
    ends. One that is closed under a request on its way is a lost request, unless the client tries again."""
