"""How a fleet of replicas bears requests: a queue in front of servers, second by second.

Requests come evenly spread within a second but by chance among themselves (Poisson), each takes the same time, and any
free server takes the next one: Erlang's formula says how many wait, half as long as with exponential service times
(Kingman). What comes beyond capacity is a backlog that drains in turn; a request that would wait past its deadline is
lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

DEADLINE_S = 60.0
"""As a router's: from a request to its answer."""


@dataclass(frozen=True)
class Behaviour:
    """How a replica serves."""

    service_s: float
    """Seconds that one request takes."""
    concurrency: int = 1
    """Requests that a replica serves at once."""
    start_s: float = 2.0
    """Seconds from wanted to ready."""
    error_share: float = 0.0
    """Of its answers, those that are errors of the model."""


@dataclass(frozen=True)
class Second:
    """One second of a fleet."""

    arrived: float
    """Requests."""
    errors: float
    """Requests that the model failed, or that were lost."""
    lost: float
    """Requests that found no server before their deadline."""
    busy: float
    """Requests being served or waiting, on average: ConcurrentRequestsPerModel."""
    ready: int
    """Replicas in service."""
    base_s: float
    """What each request takes at least: its service, and the backlog before it."""
    waits: float
    """Share of the requests that wait for a server besides, 0 to 1."""
    wait_s: float
    """Mean time that those wait."""

    def latency_s(self, share: float) -> float:
        """The latency that `share` of the requests stay within: 0.99 for p99."""
        beyond = 1 - share
        tail = math.log(self.waits / beyond) * self.wait_s if beyond > 0 and self.waits > beyond else 0.0
        return self.base_s + tail

    @property
    def mean_s(self) -> float:
        """The mean latency."""
        return self.base_s + self.waits * self.wait_s


class Queue:
    """The requests of one fleet that wait."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.backlog = 0.0

    def second(self, arrived: float, ready: int) -> Second:
        """Let a second pass in which `arrived` requests come to `ready` replicas."""
        behaviour = self.behaviour
        servers = ready * behaviour.concurrency
        capacity = servers / behaviour.service_s
        demand = self.backlog + arrived
        served = min(demand, capacity)
        room = capacity * DEADLINE_S if servers else arrived * DEADLINE_S
        self.backlog = min(demand - served, room)
        lost = demand - served - self.backlog
        delay_s = self.backlog / capacity if capacity else (DEADLINE_S if self.backlog else 0.0)
        waits, wait_s = 0.0, 0.0
        if servers and arrived and not self.backlog:
            waits, wait_s = _waiting(servers, round(arrived * behaviour.service_s, 2), behaviour.service_s)
        base_s = behaviour.service_s + delay_s
        busy = min(float(servers), served * behaviour.service_s) + self.backlog + arrived * waits * wait_s
        errors = lost + behaviour.error_share * served
        return Second(arrived, errors, lost, busy, ready, base_s, waits, wait_s)


@lru_cache(maxsize=65_536)
def _waiting(servers: int, load: float, service_s: float) -> tuple[float, float]:
    """Share of requests that wait and their mean wait: M/M/c by Erlang C, its wait halved for constant service."""
    if load >= servers:
        load = servers * 0.999
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    use = load / servers
    waits = blocked / (1 - use * (1 - blocked))
    return waits, service_s / (servers - load) / 2
