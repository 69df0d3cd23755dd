"""InvokeEndpoint on the hot path: from a whole request to its whole answer, or to one in parts. What a microsecond goes
to is measured by bench/router.py; what is the same for equal heads or answers is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from clary.dataplane import answers, streams
from clary.dataplane.auth import key_id_of, region_of
from clary.dataplane.batch import Call
from clary.dataplane.head import Head, Refused
from clary.dataplane.http import Connection, Exchange
from clary.dataplane.limits import Limits
from clary.dataplane.live import LiveVariant, Table
from clary.dataplane.plan import Plan, not_found, note_caller, plan_of, pool_of, weightless
from clary.dataplane.prefixes import learn
from clary.dataplane.tracing import span_of
from clary.kit import loopback
from clary.kit.clock import MICROS, Clock
from clary.replica import frames
from clary.replica.frames import Frame, Tag
from clary.telemetry.delta import Span
from clary.telemetry.invocations import Invocation

# How a worker's answers begin: STATUS, then three timings, which the response is not made of. Then what is fixed.
_STATUS = bytes((Tag.STATUS, 0, 2))
_PREDICT = bytes((Tag.PREDICT_US, 0, 4))
_QUEUE = bytes((Tag.QUEUE_US, 0, 4))
_ROWS = bytes((Tag.BATCH_ROWS, 0, 4))
_TIMINGS_AT, _TIMINGS_END = 5, 26


class HandOver(Protocol):
    """The sending end of handoff.sock."""

    def send(self, fd: int, read: bytes, refusal: bytes) -> bool:
        """Duplicate and pass on a socket; False where control cannot take it."""
        ...


class HotPath:
    """Everything that one router knows while it serves: the `App` of its connections, the `Outcomes` of its calls."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        table: Table,
        *,
        request_id: Callable[[], bytes],
        draw: Callable[[], float],
        hand_over: HandOver,
        private: Callable[[Head], tuple[int, bytes]],
        complain: Callable[[Exception], None],
        span_id: Callable[[], bytes],
        keep_span: Callable[[Span], None],
        keep_invocation: Callable[[Invocation], None],
        ask: Callable[[bytes], object],
    ) -> None:
        """`request_id`: 36 bytes, new each time. `draw`: uniform in [0, 1). `private`: answers what comes on the
        router's own socket and is no invocation, as (status, JSON). `complain` logs an error of ours. `span_id`: 8
        bytes, new each time; `keep_span` takes traced invocations, `keep_invocation` those that a trail wants. `ask`
        tells control which variant is asked for without having a replica."""
        self.limits = limits
        self.now_s = clock.monotonic_s()
        self.stopping = False
        self.heads: dict[bytes, Head] = {}
        self.connections: set[Connection] = set()
        self.table = table
        self.inflight = 0
        """Calls taken and not finished, for a graceful stop."""
        self._clock = clock
        self._monotonic_s = clock.monotonic_s
        self._request_id = request_id
        self._draw = draw
        self._hand_over = hand_over
        self._private = private
        self._complain = complain
        self._span_id = span_id
        self._keep_span = keep_span
        self._keep_invocation = keep_invocation
        self._ask = ask
        self._date = answers.DateLine()
        self._date.at(clock.now_us())

    def use(self, table: Table) -> None:
        """Swap a new snapshot in."""
        self.table = table
        self.heads.clear()

    # -- App: what connections ask -------------------------------------------------------------------------------------

    def request(self, connection: Connection, head: Head, body: bytes) -> Exchange | bytes:
        """Take one whole request; never raises."""
        plan = head.plan
        if plan is None or plan.table is not self.table:
            try:
                if head.name is None:
                    return self._answer_private(head)
                plan = self._plan(head, body)
            except Refused as refused:
                return self.refusal(refused)
        variant = plan.variant or plan.pool.choose(self._draw())
        if variant is None:
            return self.refusal(weightless(plan.endpoint.route.name))
        if variant.proven is not None and not plan.pool.version and not variant.queue.live:
            variant = variant.proven.choose(self._draw()) or variant
        call = Call(connection)
        call.alone = call.done = call.paused = False
        call.delivered = 0
        call.arrived_s = now_s = self._monotonic_s()
        call.body = body
        call.deadline_s = now_s + self.limits.handler_s
        call.logs_url = plan.logs_url
        call.plan = plan
        call.request_id = self._request_id()
        call.stream = plan.stream
        call.tlvs = plan.tlvs
        trace = call.trace = plan.trace
        if trace is not None:
            call.span_id = self._span_id()
            call.tlvs += trace.onward(call.span_id)
        call.variant = variant
        variant.series.concurrent += 1
        self.inflight += 1
        queue = variant.queue
        if queue.poison and queue.poisonous(body):
            self.crashed(call)
        elif not queue.submit(call):
            self._busy(call)
        return call

    def refusal(self, refused: Refused) -> bytes:
        """The response of a refusal that no model had a part in."""
        members: dict[str, str | int] = {"Message": refused.message}
        return answers.error(refused.status, refused.code, members, self._request_id(), self._date.line)

    def unexpected(self, error: Exception) -> Refused:
        """No stack trace over the wire."""
        self._complain(error)
        return Refused(500, "InternalFailure", "Clary failed to handle this request. The router's log tells why.")

    def abandoned(self, exchange: Exchange) -> None:
        """The client is gone; the call counts as taken, not as answered."""
        if isinstance(exchange, Call) and not exchange.done:
            exchange.variant.queue.abandoned(exchange)
            self._count(exchange, 0, 0, model_error=False)

    def resumed(self, exchange: Exchange) -> None:
        """The client takes more: so may the model give more."""
        if isinstance(exchange, Call) and exchange.paused:
            exchange.replica.resume(exchange)

    def hand_over(self, transport: asyncio.Transport, read: bytes) -> bytes | None:
        """Pass the socket to control, or say that control is down."""
        refusal = answers.control_down(read, self._request_id(), self._date.line)
        socket = transport.get_extra_info("socket")
        return None if self._hand_over.send(socket.fileno(), read, refusal) else refusal

    # -- Outcomes: what becomes of calls -------------------------------------------------------------------------------

    def answered(self, call: Call, head: bytes, body: bytes) -> None:
        variant = call.variant
        if head[:3] == _STATUS and head[5:8] == _PREDICT and head[12:15] == _QUEUE and head[19:22] == _ROWS:
            key = head[:_TIMINGS_AT] + head[_TIMINGS_END:]
        else:
            key = head
        known = variant.prefixes.get(key) or learn(variant, key, head)
        if known is None:
            self._model_error(call, frames.decode_head(head), body)
            return
        status, prefix = known
        # As _count, without the call: this is the line that every good answer takes.
        now_s = self._monotonic_s()
        model_us = int((now_s - call.sent_s) * 1e6)
        series = variant.series
        overhead_us = int((now_s - call.arrived_s) * 1e6) - model_us
        series.observe(status, model_us, overhead_us, False)
        series.concurrent -= 1
        own = call.replica.series
        if own is not None:
            own.observe(status, model_us, overhead_us, False)
        if call.trace is not None:
            took_us = model_us, model_us + overhead_us
            self._keep_span(span_of(call, call.trace, self._clock.now_us(), (status, status), took_us))
        if call.plan.caller is not None:
            self._record(call, call.plan.caller, status)
        self.inflight -= 1
        call.done = True
        if status == 204:  # RFC 9110 15.3.5: no content and no length
            call.answer(b"%bx-amzn-RequestId: %b\r\n%b\r\n" % (prefix, call.request_id, self._date.line))
            return
        call.answer(
            b"%bx-amzn-RequestId: %b\r\n%bContent-Length: %d\r\n\r\n%b"
            % (prefix, call.request_id, self._date.line, len(body), body)
        )

    def part(self, call: Call, frame: Frame) -> None:
        data = b""
        if not call.begun:
            if not 200 <= frames.number(frame.head, Tag.STATUS, 500) < 300:
                self._model_error(call, frame.head, bytes(frame.body))
                return
            data = self._stream_head(call, frame.head)
            now_s = self._monotonic_s()
            first_us, model_us = (int((now_s - since_s) * 1e6) for since_s in (call.arrived_s, call.sent_s))
            call.variant.series.observe_first_chunk(first_us, model_us)
        call.paused = not call.part(data + streams.part(bytes(frame.body)))

    def ended(self, call: Call, frame: Frame) -> None:
        error = frames.text(frame.head, Tag.ERROR)
        if error:
            code = streams.TIME_EXCEEDED if error == "timeout" else streams.BROKEN
            message = bytes(frame.body).decode("utf-8", "replace")
            self._broken(call, code, answers.TIMED_OUT if error == "timeout" else message)
            return
        call.done = True
        self._count(call, 200, 200, model_error=False)
        call.answer((b"" if call.begun else self._stream_head(call, frame.head)) + streams.END)

    def crashed(self, call: Call) -> None:
        self._failed(call, 0, answers.CRASHED)

    def timed_out(self, call: Call) -> None:
        self._failed(call, 0, answers.TIMED_OUT)

    def starved(self, call: Call) -> None:
        self._ask(f"{call.variant.endpoint.route.uid}/{call.variant.route.name}".encode())

    def unavailable(self, call: Call) -> None:
        self._busy(call, "No replica of this variant is running. Try again later.")

    def homeless(self, calls: list[Call]) -> None:
        """Calls that waited for a variant that is no more: to what its endpoint has now, if it still is."""
        for call in calls:
            try:
                variant = self._rehome(call)
            except Refused as refused:
                members: dict[str, str | int] = {"Message": refused.message}
                self._finish(call, refused.status, refused.code, members, counted=0, model_error=False)
                continue
            self._move(call, variant)

    def spilled(self, call: Call) -> bool:
        proven = None if call.plan.pool.version else call.variant.proven
        variant = None if proven is None else proven.choose(self._draw())
        if variant is not None:
            self._move(call, variant)
        return variant is not None

    def _move(self, call: Call, variant: LiveVariant) -> None:
        """Let another variant answer a call."""
        call.variant.series.concurrent -= 1
        variant.series.concurrent += 1
        call.variant = variant
        call.alone = False
        if not variant.queue.submit(call):
            self._busy(call)

    def _rehome(self, call: Call) -> LiveVariant:
        """Another variant that answers what the call asks for; Refused where there is none."""
        route, plan = call.variant.endpoint.route, call.plan
        endpoint = self.table.find_by_uid(route.uid)
        if endpoint is None:
            raise not_found(route.name, route.account)
        pool = pool_of(endpoint, plan.version, plan.target)
        variant = pool.only or pool.choose(self._draw())
        if variant is None:
            raise weightless(route.name)
        return variant

    def sweep(self, now_s: float) -> None:
        """A tenth of a second passed."""
        self.now_s = now_s
        self._date.at(self._clock.now_us())

    # -- the parts -----------------------------------------------------------------------------------------------------

    def _plan(self, head: Head, body: bytes) -> Plan:
        snapshot = self.table.snapshot
        if snapshot.auth:
            key = self.table.keyring.verify(head, body, self._clock.now_us() / MICROS)
            plan = plan_of(self.table, head, key.account, region_of(head))
            note_caller(plan, head, key.arn, key.key_id)
            return plan
        given = head.headers.get
        reason = loopback.refusal(head.host, given("origin"), given("sec-fetch-site"), snapshot.hosts)
        if reason is not None:
            raise Refused(403, "AccessDeniedException", reason)
        plan = plan_of(self.table, head, snapshot.account, region_of(head))
        note_caller(plan, head, f"arn:aws:iam::{snapshot.account}:root", key_id_of(head))
        head.plan = plan
        return plan

    def _answer_private(self, head: Head) -> bytes:
        status, text = self._private(head)
        return b"%bContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
            answers.status_line(status),
            self._date.line,
            len(text),
            text,
        )

    def _stream_head(self, call: Call, tlvs: Mapping[int, bytes]) -> bytes:
        head = streams.head(call.variant.route.name, tlvs, call.request_id, self._date.line)
        return head if call.keep_alive else answers.with_connection_close(head)

    def _broken(self, call: Call, code: str, message: str) -> None:
        """A stream fails after its head is out: the error is its last event."""
        call.done = True
        self._count(call, 0, 200, model_error=True)
        head = b"" if call.begun else self._stream_head(call, {})
        call.answer(head + streams.broken(code, message))

    def _model_error(self, call: Call, tlvs: Mapping[int, bytes], body: bytes) -> None:
        status = frames.number(tlvs, Tag.STATUS, 500)
        message = body[: 2 * answers.MESSAGE_CHARS_MAX].decode("utf-8", "replace")
        if status == 0 and frames.text(tlvs, Tag.ERROR) == "timeout":
            message = answers.TIMED_OUT
        self._failed(call, status, message)

    def _failed(self, call: Call, status: int, message: str) -> None:
        if call.begun:
            self._broken(call, streams.TIME_EXCEEDED if message is answers.TIMED_OUT else streams.BROKEN, message)
            return
        route = call.variant.endpoint.route
        members = answers.model_error_members(
            status,
            message,
            logs_url=call.logs_url,
            region=route.region,
            account=route.account,
            endpoint=route.name,
        )
        self._finish(call, 424, "ModelError", members, counted=status, model_error=True)

    def _busy(self, call: Call, message: str = "Too many requests wait for this variant. Try again later.") -> None:
        queue = call.variant.queue
        members: dict[str, str | int] = {"Message": message}
        retry_ms = queue.retry_ms()
        self._finish(call, 503, "ServiceUnavailable", members, counted=503, model_error=False, retry_ms=retry_ms)

    def _finish(
        self,
        call: Call,
        status: int,
        code: str,
        members: dict[str, str | int],
        *,
        counted: int,
        model_error: bool,
        retry_ms: int = 0,
    ) -> None:
        """Answer a call with an error. `counted`: the status that metrics are told, 0 where the model gave none."""
        call.done = True
        self._count(call, counted, status, model_error=model_error)
        # A 424 tells the variant, as a good answer does: an A/B test must see whose failure it was.
        variant = call.variant.route.name if model_error else ""
        call.answer(
            answers.error(status, code, members, call.request_id, self._date.line, variant=variant, retry_ms=retry_ms)
        )

    def _count(self, call: Call, status: int, answered: int, *, model_error: bool) -> None:
        """Count a call that takes another line than most. `status`: as metrics are told it; `answered`: as the client
        is, 0 where it left."""
        now_s = self._monotonic_s()
        model_us = int((now_s - call.sent_s) * 1e6) if call.delivered else -1
        total_us = int((now_s - call.arrived_s) * 1e6)
        series = call.variant.series
        series.observe(status, model_us, total_us - max(0, model_us), model_error)
        series.concurrent -= 1
        own = call.replica.series if call.delivered else None
        if own is not None:
            own.observe(status, model_us, total_us - max(0, model_us), model_error)
        if call.begun:
            series.observe_stream(model_error)
        if call.trace is not None:
            self._keep_span(span_of(call, call.trace, self._clock.now_us(), (status, answered), (model_us, total_us)))
        if call.plan.caller is not None:
            self._record(call, call.plan.caller, answered)
        self.inflight -= 1

    def _record(self, call: Call, caller: tuple[str, str, str], status: int) -> None:
        """Tell a trail."""
        route = call.variant.endpoint.route
        self._keep_invocation(
            Invocation(
                self._clock.now_us(),
                route.account,
                route.region,
                route.name,
                call.request_id.decode(),
                *caller,
                source_ip=call.connection.peer if call.connection is not None else "",
                status=status,
                stream=call.stream,
            )
        )
