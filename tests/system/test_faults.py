"""Any process may be killed at any moment: what clients see of it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.support.load import Load
from tests.support.model import ROW
from tests.support.server import Server, wait_until

ENDPOINT = "steady"


@pytest.fixture(scope="module")
def hosted(server: Server, regressor: Path) -> Server:
    """A server with one endpoint of two replicas."""
    server.host(ENDPOINT, regressor.read_bytes(), instances=2)
    return server


def workers(server: Server) -> set[int]:
    """Pids of the replicas."""
    return server.pids_of("clary: worker")


def wait_for_two(server: Server, without: int = 0) -> None:
    """Wait until two replicas run, and the one that was killed is none of them."""
    wait_until(lambda: len(workers(server) - {without}) == 2, "two workers", timeout_s=60)


def asked(load: Load, more: int) -> None:
    """Wait until `more` further requests were answered."""
    goal = load.answered + more
    wait_until(lambda: load.answered >= goal, f"{more} more answers (lost so far: {load.lost[:3]})", timeout_s=60)


def test_killing_a_worker_under_load_is_not_seen_by_any_client(hosted: Server) -> None:
    with Load(hosted, ENDPOINT, ROW) as load:
        for _ in range(4):
            asked(load, 50)
            killed = min(workers(hosted))
            os.kill(killed, signal.SIGKILL)
            wait_for_two(hosted, without=killed)
        asked(load, 50)
    assert load.lost == []


def test_killing_every_worker_makes_clients_wait_and_none_fail(hosted: Server) -> None:
    with Load(hosted, ENDPOINT, ROW) as load:
        asked(load, 50)
        for pid in workers(hosted):
            os.kill(pid, signal.SIGKILL)
        asked(load, 50)
    assert load.lost == []


def test_killing_the_zygote_leaves_workers_serving_and_new_ones_starting(hosted: Server) -> None:
    with Load(hosted, ENDPOINT, ROW) as load:
        asked(load, 20)
        os.kill(hosted.pid_of("clary: zygote"), signal.SIGKILL)
        killed = min(workers(hosted))
        os.kill(killed, signal.SIGKILL)
        wait_for_two(hosted, without=killed)
        asked(load, 50)
    assert load.lost == []


def test_killing_control_stops_no_invocation(hosted: Server) -> None:
    with Load(hosted, ENDPOINT, ROW) as load:
        control = hosted.pid_of("clary.assembly")
        os.kill(control, signal.SIGKILL)
        asked(load, 200)
        wait_until(lambda: not psutil.pid_exists(control) and hosted.healthy(), "control is back")
        seen = hosted.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
        asked(load, 20)
    assert load.lost == []
    assert seen["EndpointStatus"] == "InService"
    wait_for_two(hosted)


def test_killing_a_router_refuses_no_new_connection(hosted: Server) -> None:
    router = hosted.pid_of("clary.dataplane.router")
    os.kill(router, signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", hosted.port), timeout=10) as waiting:
        body = ROW.encode()
        waiting.sendall(
            b"POST /endpoints/steady/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert hosted.pid_of("clary.dataplane.router") != router


def test_a_new_serve_adopts_what_an_agent_that_was_killed_left(hosted: Server) -> None:
    before = workers(hosted)
    with Load(hosted, ENDPOINT, ROW) as load:
        asked(load, 20)
        hosted.kill()
        asked(load, 50)
        hosted.start()
        asked(load, 50)
        wait_until(lambda: all(psutil.pid_exists(pid) for pid in before), "the same workers go on")
    assert load.lost == []
    assert hosted.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "InService"


def test_a_restart_brings_every_endpoint_back_without_its_bucket(hosted: Server) -> None:
    s3 = hosted.client("s3")
    s3.delete_object(Bucket=ENDPOINT, Key="model.tar.gz")
    s3.delete_bucket(Bucket=ENDPOINT)
    hosted.stop()
    hosted.start()
    wait_for_two(hosted)
    assert float(hosted.invoke(ENDPOINT, ROW))
