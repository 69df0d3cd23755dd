"""The wall clock stepped forth and back under 64 clients, for the agent, control and the router at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.clients import Clients
from tests.faults.conftest import ENDPOINT, Tally
from tests.faults.stepped import SteppedClock
from tests.faults.test_kills import MORE, kill
from tests.support.model import ROW, packed_regressor
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STEADY = f"clary: worker {ENDPOINT}/"
DAY_S = 86_400
OFFSETS_S = (3600, -3600, DAY_S, -DAY_S, 40 * 365 * DAY_S, 0)
"""What the clock shows more than the machine's, in turn: the last step but one is of forty years."""


def test_the_clock_is_stepped(tmp_path: Path, tally: Tally) -> None:
    clock, lost = SteppedClock(tmp_path), list[str]()
    (tmp_path / "home").mkdir()
    with Server(tmp_path / "home", environ=clock.environ) as server:
        server.host(ENDPOINT, packed_regressor(), instances=2)
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        with Clients(server, ENDPOINT) as clients:
            for number, offset_s in enumerate(OFFSETS_S):
                clients.more(MORE)
                clock.step(offset_s)
                # What is started, killed, written and asked right after the step goes as ever.
                name, body = f"at-{number}", str(number).encode()
                server.host(name, packed_regressor())
                assert server.invoke(name, ROW)
                made = sagemaker.describe_endpoint(EndpointName=name)["CreationTime"].timestamp()
                assert abs(made - time.time() - offset_s) < 120, "the server's clock was not stepped"
                s3.put_object(Bucket=ENDPOINT, Key="newest", Body=body)
                if s3.get_object(Bucket=ENDPOINT, Key="newest")["Body"].read() != body:
                    lost.append(f"what was written after the step to {offset_s} s is hidden")
                killed = min(server.pids_of(STEADY))
                kill(killed)
                sagemaker.delete_endpoint(EndpointName=name)
                sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1})
                wait_until(lambda gone=killed: len(server.pids_of(STEADY) - {gone}) == 2, "two workers", 60)
            clients.more(MORE)
        if clients.cut:
            lost.append(f"{clients.cut} connections were cut")
    note = "±1 hour, ±1 day, +40 years and back; at each an endpoint made, asked and deleted, a worker killed"
    tally(f"the wall clock stepped, {len(OFFSETS_S)} times", clients.tried, [*clients.lost(), *lost], note)
