"""Calls of one variant on their way to its replicas: who waits, who goes together, who is tried again.

Work-conserving: an idle replica gets what waits at once, split evenly among idle ones; while it is busy calls gather
and go together when it has answered everything. No timer holds a lonely call. One batch outstanding per replica.

When a worker dies, what was delivered to it is tried once more if the runtime is pure, each call alone in its batch: so
a call that kills a second worker is known to be the cause; it fails, and its body is refused for a while.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable

from clary.dataplane.calls import Call, Outcomes, Wire
from clary.dataplane.choose import share
from clary.dataplane.limits import Limits
from clary.kit.clock import Clock
from clary.replica import frames
from clary.replica.client import Report
from clary.replica.frames import Frame, FrameError, Kind, Tag
from clary.telemetry.recorder import Series

__all__ = ("Call", "Outcomes", "Replica", "VariantQueue", "Wire")

_PREFIX = struct.Struct(">IBQH")
_TAIL = struct.Struct(">BH36sBHI")
_ALONE = frames.encode_head({Tag.ALONE: b""})
_REQUEST = int(Kind.REQUEST)
_REQUEST_ID = int(Tag.REQUEST_ID)
_DEADLINE_MS = int(Tag.DEADLINE_MS)
_FRAME_OVERHEAD = 11
"""Bytes of a frame's prefix that its length counts."""


class Replica:
    """One replica as its queue sees it: the user of one link."""

    def __init__(self, uid: str, queue: VariantQueue) -> None:
        self.uid = uid
        self.wire: Wire | None = None
        """Set by whoever makes the link."""
        self.live = False
        self.pure = False
        self.calls_max = 1
        self.retiring = False
        self.series: Series | None = None
        """Its own share of the variant's metrics; None where nobody asked for it."""
        self.inflight: dict[int, Call] = {}
        """Delivered and not answered by the replica, by frame id; also calls already answered by a timeout."""
        self._queue = queue
        self._draining = False

    def link_up(self, report: Report, credits: int) -> None:
        self.live = report.get("state") == "ready" and not self.retiring
        self.pure = report.get("pure") is True
        never = report.get("joins", "never") == "never"
        self.calls_max = 1 if never else max(1, credits)
        self._queue.note("replica ready" if self.live else "replica not ready", self.uid, str(report.get("cause", "")))
        if self.live:
            self._queue.idle_again(self)

    def link_answer(self, frame_id: int, head: bytes, body: bytes) -> None:
        call = self.inflight.get(frame_id)
        if call is None:
            return
        queue = self._queue
        if queue.poison:
            queue.forgive(call.body)
        if not call.done:
            queue.answered += 1
            queue.outcomes.answered(call, head, body)
        # Last: if the answer makes no sense the link is closed, and the call must be among those that it takes along.
        del self.inflight[frame_id]

    def link_frame(self, frame: Frame) -> None:
        if frame.kind in (Kind.CHUNK, Kind.END):
            self._streamed(frame)
            return
        if frame.kind is not Kind.DRAIN:
            raise FrameError(f"a replica sent {frame.kind.name}, which nobody asked for")
        # It finishes what it has; the process that follows it, if any, is found by the reconnecting link.
        self.live = False
        self._draining = True
        self._queue.forget(self)

    def _streamed(self, frame: Frame) -> None:
        call = self.inflight.get(frame.id)
        if call is None:
            return
        if not call.stream:
            raise FrameError(f"a replica sent {frame.kind.name} for a request that wants one answer")
        queue = self._queue
        if frame.kind is Kind.CHUNK:
            if not call.done:
                queue.outcomes.part(call, frame)
                self._hold(call, call.paused)
            return
        if queue.poison:
            queue.forgive(call.body)
        if not call.done:
            queue.answered += 1
            queue.outcomes.ended(call, frame)
        del self.inflight[frame.id]

    def _hold(self, call: Call, paused: bool) -> None:
        """Let a model wait for a client that does not keep up; where others share its replica, memory waits instead."""
        call.paused = paused and self.calls_max == 1
        if self.wire is not None and self.calls_max == 1:
            self.wire.pause(call.paused)

    def resume(self, call: Call) -> None:
        """The client of a call keeps up again, or is gone."""
        if call.paused:
            self._hold(call, False)

    def link_read(self) -> None:
        if self.inflight:
            return
        if self.live:
            self._queue.idle_again(self)
        elif self.retiring:
            self._close()
        elif self._draining and self.wire is not None:
            self.wire.abort()

    def link_down(self, cause: str) -> None:
        lost = [call for call in self.inflight.values() if not call.done]
        self.inflight.clear()
        self.live = self._draining = False
        self._queue.lost(self, lost)
        self._queue.note("replica link lost", self.uid, cause)

    def retire(self) -> None:
        """Send no more; the link is closed when everything is answered."""
        self.live = False
        self.retiring = True
        self._queue.forget(self)
        if not self.inflight:
            self._close()

    def _close(self) -> None:
        if self in self._queue.replicas:
            self._queue.replicas.remove(self)
        if self.wire is not None:
            self.wire.close()


class VariantQueue:
    """The calls of one variant that wait, and the replicas that take them."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        outcomes: Outcomes,
        call_soon: Callable[[Callable[[], None]], object],
        note: Callable[[str, str, str], None],
    ) -> None:
        """`call_soon`: the event loop's; `note(event, replica uid, cause)`: what deserves a line in the log."""
        self.outcomes = outcomes
        self.note = note
        self.replicas: list[Replica] = []
        """Those that retire included, until they have answered everything."""
        self.poison: dict[bytes, float] = {}
        """Digest of a body that killed two workers -> monotonic end of its refusal."""
        self.spills = False
        """Its fleet is on trial: what a dead worker had, and what waits where none lives, goes to another fleet."""
        self.answered = 0
        """Calls answered by replicas, in all."""
        self.answered_last_s = 0.0
        """Answers a second, as of the last sweep; for Retry-After."""
        self._limits = limits
        self._clock = clock
        self._call_soon = call_soon
        self._waiting: deque[Call] = deque()
        self._waiting_bytes = 0
        self._retries: deque[Call] = deque()
        self._idle: deque[Replica] = deque()
        self._pumping = False
        self._frame_id = 0
        self._swept = (0.0, 0)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> bool:
        """Take a call; False where the queue is full. It goes out before the loop looks for more to read."""
        waiting = self._waiting
        if len(waiting) >= self._limits.waiting_calls_max or self._waiting_bytes > self._limits.waiting_bytes_max:
            return False
        waiting.append(call)
        self._waiting_bytes += len(call.body)
        if self._idle and not self._pumping:
            # Not at once: what the same turn of the loop brings goes in the same batch.
            self._pumping = True
            self._call_soon(self._pump)
        elif len(waiting) == 1 and (not self.replicas or self.replicas[0].retiring):
            self.outcomes.starved(call)  # at once; sweeps say it again
        return True

    def poisonous(self, body: bytes) -> bool:
        """Whether this body killed two workers within the last minute."""
        until_s = self.poison.get(hashlib.sha256(body).digest())
        return until_s is not None and until_s > self._clock.monotonic_s()

    def forgive(self, body: bytes) -> None:
        """A worker answered this body: it only stood beside two deaths, as when an operator kills every replica."""
        self.poison.pop(hashlib.sha256(body).digest(), None)

    def retry_ms(self) -> int:
        """How long until what waits is likely answered: for Retry-After; 0.1 to 10 s."""
        rate = self.answered_last_s or 10.0
        return int(min(10.0, max(0.1, self.backlog / rate)) * 1000)

    @property
    def backlog(self) -> int:
        """Calls that wait."""
        return sum(map(len, self._lines())) + len(self._retries)

    def _lines(self) -> list[deque[Call]]:
        """Where calls wait in the order in which they came."""
        return [self._waiting]

    def abandoned(self, call: Call) -> None:
        """The client is gone: what waits is dropped, what was delivered is cancelled; the link stays as it is."""
        call.done = True
        if call.delivered:  # else it is skipped when its turn comes
            call.replica.resume(call)
            _cancel(call)

    @property
    def live(self) -> bool:
        """Whether any replica takes calls."""
        return any(replica.live for replica in self.replicas)

    def take_waiting(self) -> list[Call]:
        """Everything that waits, taken out: for a variant that is no more."""
        calls = [call for call in (*self._retries, *self._waiting) if not call.done]
        self._retries.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        return calls

    def sweep(self, now_s: float) -> None:
        """Answer what is past its deadline."""
        then_s, before = self._swept
        if now_s - then_s >= 1.0:
            self.answered_last_s = (self.answered - before) / (now_s - then_s)
            self._swept = (now_s, self.answered)
            if self._waiting and all(replica.retiring for replica in self.replicas):
                self.outcomes.starved(self._waiting[0])
        late = self.outcomes.timed_out if self.live else self.outcomes.unavailable
        for line in self._lines():
            while line and (line[0].done or line[0].deadline_s <= now_s):
                call = line.popleft()
                self._waiting_bytes -= len(call.body)
                if not call.done:
                    late(call)
        for call in [call for call in self._retries if call.deadline_s <= now_s]:
            self._retries.remove(call)
            if not call.done:
                late(call)
        for replica in self.replicas:
            for call in list(replica.inflight.values()):
                if call.deadline_s <= now_s and not call.done:
                    self.outcomes.timed_out(call)
                    replica.resume(call)
                    _cancel(call)

    # -- replicas ------------------------------------------------------------------------------------------------------

    def idle_again(self, replica: Replica) -> None:
        """A replica has answered all it had: it gets what waits, at once."""
        if replica not in self._idle:
            self._idle.append(replica)
        if (self._waiting or self._retries) and not self._pumping:
            self._pump()

    def forget(self, replica: Replica) -> None:
        """Send this replica no more."""
        if replica in self._idle:
            self._idle.remove(replica)

    def lost(self, replica: Replica, calls: list[Call]) -> None:
        """A worker died with these calls delivered and not answered."""
        self.forget(replica)
        if self.spills and not self.live:
            for call in self.take_waiting():
                if not self.outcomes.spilled(call):
                    self._waiting.append(call)
                    self._waiting_bytes += len(call.body)
        for call in calls:
            if self.spills and not call.begun and self.outcomes.spilled(call):
                continue
            if not replica.pure or call.begun:
                self.outcomes.crashed(call)
            elif call.delivered == 1:
                call.alone = True
                self._retries.append(call)
            else:
                self._remember(call.body)
                self.outcomes.crashed(call)
        if self._retries and self._idle and not self._pumping:
            self._pumping = True
            self._call_soon(self._pump)

    def _remember(self, body: bytes) -> None:
        now_s = self._clock.monotonic_s()
        self.poison = {digest: until_s for digest, until_s in self.poison.items() if until_s > now_s}
        if len(self.poison) >= self._limits.poison_max:
            del self.poison[next(iter(self.poison))]
        self.poison[hashlib.sha256(body).digest()] = now_s + self._limits.poison_s

    # -- batches -------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Give what waits to idle replicas."""
        self._pumping = False
        while self._idle and (self._retries or self._waiting):
            replica = self._idle[0]
            batch = self._next_batch(replica)
            if not batch:
                continue
            self._idle.popleft()
            self._deliver(replica, batch)

    def _next_batch(self, replica: Replica) -> list[Call]:
        while self._retries:
            call = self._retries.popleft()
            if not call.done:
                return [call]
        return self._next(replica)

    def _next(self, replica: Replica) -> list[Call]:
        calls_max = min(replica.calls_max, self._limits.batch_calls_max)
        return self._take(self._waiting, share(len(self._waiting), len(self._idle), calls_max))

    def _take(self, waiting: deque[Call], count: int) -> list[Call]:
        """The first `count` calls of a line, as far as they fit into a batch."""
        limits = self._limits
        batch: list[Call] = []
        batch_bytes = 0
        while waiting and count:
            call = waiting[0]
            size = len(call.body)
            if batch and batch_bytes + size > limits.batch_bytes_max:
                break
            waiting.popleft()
            self._waiting_bytes -= size
            if call.done:
                continue
            batch.append(call)
            batch_bytes += size
            count -= 1
        return batch

    def _deliver(self, replica: Replica, batch: list[Call]) -> None:
        """Write one frame a call, all in one write."""
        now_s = self._clock.monotonic_s()
        inflight = replica.inflight
        parts: list[bytes] = []
        frame_id = self._frame_id
        prefix, tail = _PREFIX.pack, _TAIL.pack
        for call in batch:
            frame_id += 1
            inflight[frame_id] = call
            call.frame_id = frame_id
            call.replica = replica
            call.sent_s = now_s
            call.delivered += 1
            if call.stream:
                call.deadline_s = call.arrived_s + self._limits.stream_s
            left_ms = int((call.deadline_s - now_s) * 1000)
            # REQUEST_ID and DEADLINE_MS differ with each call, what stands before them with each kind of head.
            last = tail(_REQUEST_ID, 36, call.request_id, _DEADLINE_MS, 4, left_ms if left_ms > 0 else 0)
            tlvs = call.tlvs + _ALONE if call.alone else call.tlvs
            head_bytes = len(tlvs) + _TAIL.size
            parts.append(prefix(_FRAME_OVERHEAD + head_bytes + len(call.body), _REQUEST, frame_id, head_bytes))
            parts.append(tlvs)
            parts.append(last)
            parts.append(call.body)
        self._frame_id = frame_id
        if replica.wire is not None:
            replica.wire.send(b"".join(parts))


def _cancel(call: Call) -> None:
    """Tell the replica that nobody waits any more; it still answers."""
    if call.replica.wire is not None and call.frame_id in call.replica.inflight:
        call.replica.wire.send(frames.encode(Kind.CANCEL, call.frame_id, {}))
