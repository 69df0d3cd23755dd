"""Traces of the caller's: which part of a request's head says that it belongs to one, and what is told onward.

W3C Trace Context: `traceparent` and `tracestate`. `X-Amzn-Trace-Id` is passed on as it is, as are the others where
Clary itself makes no span: where traces are exported nowhere, or the caller's is not sampled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from clary.replica import frames
from clary.replica.frames import Tag
from clary.telemetry.delta import Span

if TYPE_CHECKING:
    from clary.dataplane.calls import Call

STATE_CHARS_MAX = 512
"""Of `tracestate`: what the recommendation asks to be passed on at least; a longer one is left out."""
AMZN_CHARS_MAX = 1_024
"""Of X-Amzn-Trace-Id; a longer one is left out."""
_parent = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z").match
_printable = re.compile(r"[\x20-\x7e]+\Z").match


class Trace:
    """A sampled trace that a request is part of."""

    __slots__ = ("parent_id", "state", "trace_id")

    def __init__(self, trace_id: str, parent_id: str, state: str) -> None:
        self.trace_id = trace_id
        """32 hex digits."""
        self.parent_id = parent_id
        """The caller's span: 16 hex digits."""
        self.state = state

    def onward(self, span_id: bytes) -> bytes:
        """What the model is told: its caller is our span."""
        return frames.encode_head({Tag.TRACEPARENT: f"00-{self.trace_id}-{span_id.hex()}-01".encode()})


def trace_of(headers: Mapping[str, str], *, exported: bool) -> tuple[Trace | None, dict[int, bytes]]:
    """The trace to make a span for, and the TLVs that are the same for each request of this head.

    A `traceparent` that breaks the rules is as if there were none, and `tracestate` goes with it. `exported`: somebody
    takes our spans; else the caller's own is told onward.
    """
    tlvs: dict[int, bytes] = {}
    amzn = headers.get("x-amzn-trace-id", "")
    if len(amzn) <= AMZN_CHARS_MAX and _printable(amzn):
        tlvs[Tag.AMZN_TRACE_ID] = amzn.encode()
    parent = headers.get("traceparent", "")
    matched = _parent(parent)
    if matched is None or not _is_valid(matched):
        return None, tlvs
    state = headers.get("tracestate", "")
    if len(state) <= STATE_CHARS_MAX and _printable(state):
        tlvs[Tag.TRACESTATE] = state.encode()
    else:
        state = ""
    if exported and int(matched[4], 16) & 1:
        return Trace(matched[2], matched[3], state), tlvs
    tlvs[Tag.TRACEPARENT] = parent[:55].encode()
    return None, tlvs


def _is_valid(matched: re.Match[str]) -> bool:
    version, trace_id, parent_id, more = matched[1], matched[2], matched[3], matched[5]
    if version == "ff" or (version == "00" and more):
        return False
    return trace_id.strip("0") != "" and parent_id.strip("0") != ""


def span_of(call: Call, trace: Trace, end_us: int, statuses: tuple[int, int], took_us: tuple[int, int]) -> Span:
    """The span of a call that ends now (UTC microseconds). `statuses`: the model's own (0: none), and what the client
    was told (0: it had left). `took_us`: at the model (negative: never there), and in all."""
    route = call.variant.endpoint.route
    return Span(
        trace_id=bytes.fromhex(trace.trace_id),
        span_id=call.span_id,
        parent_id=bytes.fromhex(trace.parent_id),
        state=trace.state,
        start_us=end_us - took_us[1],
        end_us=end_us,
        account=route.account,
        region=route.region,
        endpoint=route.name,
        variant=call.variant.route.name,
        replica=call.replica.uid if call.delivered else "",
        request_id=call.request_id.decode(),
        status=statuses[1],
        model_status=statuses[0],
        model_us=took_us[0],
        stream=call.stream,
    )
