"""Exports spans and totals by OTLP over HTTP (OpenTelemetry Protocol specification 1.x, "OTLP/HTTP"). Run by control.

What cannot be delivered is dropped, counted and logged: a collector that is away never fills memory or holds up a
request. Spans that a control took and could not yet send are gone with it.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import httpx
import structlog

from clary.kit.backoff import Backoff
from clary.kit.clock import Clock
from clary.kit.threads import Threads
from clary.telemetry import otlp_encode
from clary.telemetry.delta import Span
from clary.telemetry.otlp_options import OtlpOptions, Target
from clary.telemetry.totals import Losses, Totals, View

SPANS_WAITING_MAX = 4_096
"""Spans that wait to be sent; of more the oldest are lost."""
SPANS_AT_ONCE = 512
TRIES_MAX = 5
"""Of one request, waits between them included: some seconds."""
FAREWELL_S = 2.0
"""What is left at the end of control is sent within this time, or lost."""
_RETRY = Backoff(first_s=0.5, factor=2.0, max_s=8.0)
_RETRYABLE = frozenset({429, 502, 503, 504})
"""OTLP specification, "Retryable Response Codes"; any other failure is for good."""

_log = structlog.get_logger("clary.telemetry")


class Exporter:
    """Sends what `take` got, and what `totals` hold, until `run` is cancelled."""

    def __init__(
        self,
        options: OtlpOptions,
        totals: Totals,
        clock: Clock,
        threads: Threads,
        version: str,
        draw: Callable[[], float],
    ) -> None:
        """`threads`: where messages are made. `draw`: numbers in [0, 1), of which waits between tries are spread."""
        self._options = options
        self._totals = totals
        self._clock = clock
        self._threads = threads
        self._version = version
        self._draw = draw
        self._resource = {"service.version": version, **options.resource}
        self._lock = threading.Lock()
        self._spans: deque[Span] = deque()
        self._failing: set[str] = set()
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._began_us = clock.now_us()
        self._told: tuple[View, int] | None = None
        """The last view that was delivered, and when it was taken; only where deltas are wanted."""

    def take(self, spans: Sequence[Span]) -> None:
        """Keep spans to be sent; from any thread."""
        with self._lock:
            self._spans.extend(spans)
            lost = max(0, len(self._spans) - SPANS_WAITING_MAX)
            for _ in range(lost):
                self._spans.popleft()
        if lost:
            self._totals.lose(spans=lost)

    async def run(self) -> None:
        """Export as often as the options say; cancel to stop."""
        options = self._options
        work: list[Coroutine[object, object, None]] = []
        if options.traces is not None:
            work.append(self._every(options.spans_s, self.send_spans))
        if options.metrics is not None:
            work.append(self._every(options.metrics_s, self.send_metrics))
        try:
            await asyncio.gather(*work)
        finally:
            await self._farewell()

    async def _every(self, wait_s: float, send: Callable[[], Coroutine[object, object, None]]) -> None:
        while True:
            await self._clock.sleep(wait_s)
            await send()

    async def _farewell(self) -> None:
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self.send_spans()
                await self.send_metrics()
                for client in self._clients.values():
                    await client.aclose()
        except TimeoutError:
            _log.warning("the last telemetry could not be exported in time")

    async def send_spans(self) -> None:
        """Send every span that waits."""
        target = self._options.traces
        while target is not None and (spans := self._next_spans()):
            if not await self._send(target, partial(otlp_encode.traces, spans, self._resource, self._version)):
                self._totals.lose(spans=len(spans))

    def _next_spans(self) -> list[Span]:
        with self._lock:
            return [self._spans.popleft() for _ in range(min(SPANS_AT_ONCE, len(self._spans)))]

    async def send_metrics(self) -> None:
        """Send the totals as they stand, or what was added since they were sent last."""
        target = self._options.metrics
        if target is None:
            return
        view = self._totals.view(self._clock.now_us())
        before, since_us = self._told or (View(self._began_us, {}, (), Losses()), self._began_us)
        told = before if self._options.delta else None
        begun_us = since_us if told else self._began_us
        make = partial(otlp_encode.metrics, view, told, begun_us, self._resource, self._version)
        # What was not delivered is in the next one: nothing that was counted is lost while control runs.
        if await self._send(target, make):
            self._told = view, view.now_us

    async def _send(self, target: Target, make: Callable[[], bytes]) -> bool:
        """Whether what `make` gives was delivered, after as many tries as it may take."""
        body = await self._threads.run(lambda: gzip.compress(make(), 1) if target.gzip else make())
        why, wait_s = "", 0.0
        for attempt in range(TRIES_MAX):
            if attempt:
                await self._clock.sleep(max(_RETRY.wait_s(attempt) * (0.5 + self._draw()), wait_s))
            wait_s = 0.0
            try:
                answer = await self._post(target, body)
            except (httpx.HTTPError, OSError, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
                continue
            if answer.is_success:
                self._report(target, "")
                return True
            why = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code not in _RETRYABLE:
                break
            after = answer.headers.get("retry-after", "")
            wait_s = min(float(after), 60.0) if after.isascii() and after.isdigit() else 0.0
        self._report(target, why)
        return False

    async def _post(self, target: Target, body: bytes) -> httpx.Response:
        headers = {"content-type": "application/x-protobuf", "user-agent": f"clary/{self._version}", **target.headers}
        if target.gzip:
            headers["content-encoding"] = "gzip"
        return await self._client(target).post(target.url, content=body, headers=headers)

    def _client(self, target: Target) -> httpx.AsyncClient:
        url = target.url
        if url not in self._clients:
            context: ssl.SSLContext | bool = True
            if target.ca_file or target.client_files:
                context = ssl.create_default_context(cafile=target.ca_file or None)
                if target.client_files:
                    context.load_cert_chain(*target.client_files)
            self._clients[url] = httpx.AsyncClient(verify=context, timeout=target.timeout_s)
        return self._clients[url]

    def _report(self, target: Target, why: str) -> None:
        """Log that a target fails, or does no more: once each."""
        if why and target.url not in self._failing:
            self._failing.add(target.url)
            _log.error("telemetry could not be exported; it is dropped until that works again", url=target.url, why=why)
        elif not why and target.url in self._failing:
            self._failing.discard(target.url)
            _log.info("telemetry is exported again", url=target.url)
