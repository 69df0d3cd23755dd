"""The queue in front of simulated replicas: what comes goes, sooner or later or lost, and theory's own numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.simulation.service import DEADLINE_S, Behaviour, Queue


def test_an_idle_fleet_takes_its_service_time() -> None:
    second = Queue(Behaviour(0.02)).second(0.001, 4)
    assert second.latency_s(0.99) == pytest.approx(0.02)
    assert (second.lost, second.errors) == (0, 0)


def test_one_server_waits_as_theory_says() -> None:
    # M/D/1 at half load: the mean wait is half a service time.
    second = Queue(Behaviour(0.1)).second(5, 1)
    assert second.mean_s == pytest.approx(0.15)
    assert second.busy == pytest.approx(0.5 + 5 * 0.05)


def test_more_servers_wait_less() -> None:
    alone = Queue(Behaviour(0.1)).second(8, 1).latency_s(0.99)
    shared = Queue(Behaviour(0.1, concurrency=2)).second(16, 1).latency_s(0.99)
    assert shared < alone
    assert Queue(Behaviour(0.1)).second(16, 2).latency_s(0.99) == pytest.approx(shared)


def test_beyond_capacity_a_backlog_grows_and_then_drains() -> None:
    queue = Queue(Behaviour(0.1))
    seconds = [queue.second(15, 1) for _ in range(4)] + [queue.second(0, 1) for _ in range(3)]
    assert [round(second.base_s, 2) for second in seconds] == [0.6, 1.1, 1.6, 2.1, 1.1, 0.1, 0.1]
    assert sum(second.lost for second in seconds) == 0


def test_nobody_waits_past_the_deadline() -> None:
    queue = Queue(Behaviour(0.1))
    lost = sum(queue.second(100, 1).lost for _ in range(60))
    assert queue.backlog == pytest.approx(10 * DEADLINE_S)
    assert lost == pytest.approx(60 * 90 - 10 * DEADLINE_S)


def test_without_replicas_requests_wait_and_are_then_lost() -> None:
    queue = Queue(Behaviour(0.1))
    assert sum(queue.second(1, 0).lost for _ in range(60)) == 0
    assert sum(queue.second(1, 0).lost for _ in range(10)) == pytest.approx(10)


@given(st.lists(st.tuples(st.floats(0, 500), st.integers(0, 20)), max_size=80), st.floats(0.001, 1))
def test_every_request_is_served_waits_or_is_lost(story: list[tuple[float, int]], service_s: float) -> None:
    queue = Queue(Behaviour(service_s))
    arrived = lost = served = 0.0
    for rate, ready in story:
        before = queue.backlog
        second = queue.second(rate, ready)
        arrived += rate
        lost += second.lost
        served += before + rate - second.lost - queue.backlog
        assert second.lost >= 0
        assert second.latency_s(0.5) <= second.latency_s(0.99)
    assert arrived == pytest.approx(served + lost + queue.backlog)
