"""RoutingStrategy RANDOM (API reference, ProductionVariantRoutingConfig): a call goes to a replica drawn at random,
whatever that one has in hand, and waits for it.

Least outstanding requests, the default here, answers sooner under load; this is for those who ask for it by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from clary.dataplane.batch import Replica, VariantQueue
from clary.dataplane.calls import Call, Outcomes
from clary.dataplane.limits import Limits
from clary.kit.clock import Clock


class RandomQueue(VariantQueue):
    """A line for each replica behind the common one, which holds what came while none was live."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        outcomes: Outcomes,
        call_soon: Callable[[Callable[[], None]], object],
        note: Callable[[str, str, str], None],
        draw: Callable[[], float],
    ) -> None:
        """As VariantQueue; `draw`: uniform in [0, 1)."""
        super().__init__(limits, clock, outcomes, call_soon, note)
        self._draw = draw
        self._lots: dict[Replica, deque[Call]] = {}

    def submit(self, call: Call) -> bool:
        return self.backlog < self._limits.waiting_calls_max and super().submit(call)

    def take_waiting(self) -> list[Call]:
        for replica in list(self._lots):
            self._give_back(replica)
        return super().take_waiting()

    def idle_again(self, replica: Replica) -> None:
        super().idle_again(replica)
        if self._lots.get(replica) and not self._pumping:
            self._pump()

    def forget(self, replica: Replica) -> None:
        super().forget(replica)
        self._give_back(replica)
        if self._waiting and self._idle and not self._pumping:
            self._pumping = True
            self._call_soon(self._pump)

    def _lines(self) -> list[deque[Call]]:
        return [self._waiting, *self._lots.values()]

    def _pump(self) -> None:
        self._pumping = False
        live = [replica for replica in self.replicas if replica.live]
        while live and self._waiting:
            drawn = live[int(self._draw() * len(live))]
            self._lots.setdefault(drawn, deque()).append(self._waiting.popleft())
        for replica in list(self._idle):
            batch = self._next_batch(replica)
            if batch:
                self._idle.remove(replica)
                self._deliver(replica, batch)

    def _next(self, replica: Replica) -> list[Call]:
        calls_max = min(replica.calls_max, self._limits.batch_calls_max)
        return self._take(self._lots.get(replica, deque()), calls_max)

    def _give_back(self, replica: Replica) -> None:
        """What waits for a replica that is going may go to any other."""
        self._waiting.extendleft(reversed(self._lots.pop(replica, deque())))
