"""kill -9 of each process under 64 clients: no request is lost, and every answer is the model's."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.faults.clients import Clients
from tests.faults.conftest import ENDPOINT, Tally
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MORE = 1000
"""Answers between two kills."""


def workers(server: Server) -> set[int]:
    return server.pids_of("clary: worker")


def wait_for_two(server: Server, without: set[int]) -> None:
    wait_until(lambda: len(workers(server) - without) == 2, "two workers", timeout_s=60)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid), f"{pid} is gone")


def test_a_worker(steady: Server, tally: Tally) -> None:
    with Clients(steady, ENDPOINT) as clients:
        for _ in range(6):
            clients.more(MORE)
            killed = min(workers(steady))
            kill(killed)
            wait_for_two(steady, {killed})
        clients.more(MORE)
    tally("a worker killed, 6 times", clients.tried, clients.lost())


def test_the_zygote_and_a_worker(steady: Server, tally: Tally) -> None:
    with Clients(steady, ENDPOINT) as clients:
        for _ in range(3):
            clients.more(MORE)
            kill(steady.pid_of("clary: zygote"))
            killed = min(workers(steady))
            kill(killed)
            wait_for_two(steady, {killed})
            wait_until(lambda: len(steady.pids_of("clary: zygote")) == 1, "a zygote")
        clients.more(MORE)
    tally("the fork server and a worker killed, 3 times", clients.tried, clients.lost())


def test_control(steady: Server, tally: Tally) -> None:
    with Clients(steady, ENDPOINT) as clients:
        for _ in range(3):
            clients.more(MORE)
            kill(steady.pid_of("clary.assembly"))
            clients.more(MORE)
            wait_until(steady.healthy, "control is back", timeout_s=60)
        clients.more(MORE)
    tally("control (and with it registry and object store) killed, 3 times", clients.tried, clients.lost())


def test_the_router(steady: Server, tally: Tally) -> None:
    with Clients(steady, ENDPOINT, attempts=5) as clients:
        for _ in range(3):
            clients.more(MORE)
            before = steady.pid_of("clary.dataplane.router")
            kill(before)
            wait_until(lambda gone=before: steady.pids_of("clary.dataplane.router") - {gone}, "a router")
        clients.more(MORE)
    note = f"{clients.cut} connections were cut; their requests were sent again, as AWS SDKs do"
    tally("the router killed, 3 times", clients.tried, clients.lost(), note)


def test_every_worker_at_once(steady: Server, tally: Tally) -> None:
    with Clients(steady, ENDPOINT) as clients:
        clients.more(MORE)
        # Stopped first: what one dying worker leaves must not reach the other, or its body has seen two deaths.
        router, both = steady.pid_of("clary.dataplane.router"), workers(steady)
        os.kill(router, signal.SIGSTOP)
        for pid in both:
            os.kill(pid, signal.SIGKILL)
        os.kill(router, signal.SIGCONT)
        wait_for_two(steady, both)
        clients.more(MORE)
    tally("every worker killed at once", clients.tried, clients.lost())


def test_the_agent(steady: Server, tally: Tally) -> None:
    # The last one: what a new agent adopts is no child of it, and not found by its family.
    with Clients(steady, ENDPOINT) as clients:
        for _ in range(2):
            clients.more(MORE)
            steady.kill()
            clients.more(MORE)
            steady.start()
        clients.more(MORE)
    tally("the agent killed and `clary serve` started again, twice", clients.tried, clients.lost())
