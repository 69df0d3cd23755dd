"""kill -9 of every process at random moments of create, invoke and delete: it converges, and nothing is leaked."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.support.model import ROW, expected
from tests.support.model import regressor as booster_of
from tests.support.server import Server, wait_until

ROUNDS = 12
KINDS = ("clary.assembly", "clary.dataplane.router", "clary: zygote", "clary: worker", "agent")
RETRIES = {"total_max_attempts": 12, "mode": "standard"}


class Killer(threading.Thread):
    """Kills a process of a random kind every now and then, until told to stop; a killed agent is started again."""

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.draw = random.Random(seed)
        self.killed: dict[str, int] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(self.draw.uniform(0.05, 1.5)):
            kind = self.draw.choice(KINDS)
            if kind == "agent":
                self.server.kill()
                self.server.start()
            else:
                pids = self.server.pids_of(kind)
                if not pids:
                    continue
                try:
                    os.kill(self.draw.choice(sorted(pids)), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.killed[kind] = self.killed.get(kind, 0) + 1


def live(server: Server, name: str, archive: bytes) -> None:
    """One endpoint's life; every call may be cut off and is asked again."""
    sagemaker = server.client("sagemaker", retries=RETRIES)
    persist(lambda: sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="life"), "already existing")
    seen = persist(
        lambda: settled(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]), "no refusal is expected"
    )
    assert seen == "InService", sagemaker.describe_endpoint(EndpointName=name)
    answer = persist(lambda: server.invoke(name, ROW), "no refusal is expected")
    assert [float(answer)] == expected(booster_of(), ROW)
    persist(lambda: sagemaker.delete_endpoint(EndpointName=name), "in-progress", "Could not find")
    persist(lambda: sagemaker.describe_endpoint(EndpointName=name) and None, "Could not find")


def settled(status: str) -> str | None:
    return None if status == "Creating" else status


def persist(call: object, *fine: str) -> object:
    """Call until it answers or is refused with one of the texts `fine`: a cut-off call may have been carried out."""

    def attempt() -> object:
        try:
            return call()  # type: ignore[operator]
        except ClientError as error:
            if any(text in str(error) for text in fine):
                return str(error)
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                return None
            raise
        except Exception as error:
            if type(error).__module__.startswith(("botocore", "urllib3")):
                return None
            raise

    return wait_until(attempt, f"an answer; fine would be {fine}", timeout_s=90)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills_lose_nothing_and_leak_nothing(tmp_path: Path, regressor: Path, seed: int) -> None:
    with Server(tmp_path) as server:
        server.host("life", regressor.read_bytes())
        killer = Killer(server, seed)
        killer.start()
        try:
            for at in range(ROUNDS):
                live(server, f"life-{at}", regressor.read_bytes())
        finally:
            killer.done.set()
            killer.join()
        print(f"seed {seed}: {ROUNDS} lives, killed {killer.killed}")
        assert float(server.invoke("life", ROW)), "the endpoint that stood all the while answers"
        sagemaker = server.client("sagemaker")
        sagemaker.delete_endpoint(EndpointName="life")
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="life")
        assert sagemaker.list_endpoints()["Endpoints"] == []
        wait_until(lambda: not server.pids_of("clary: worker"), "no worker is left")
        wait_until(lambda: list((tmp_path / "artifacts").iterdir()) == [], "no artifact is left")
        table = json.loads((tmp_path / "run" / "processes.json").read_text())["processes"]
        assert [row for row in table if row["kind"] == "worker"] == []
        assert json.loads((tmp_path / "run" / "routes.json").read_text())["endpoints"] == []
    strays = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert strays == []
