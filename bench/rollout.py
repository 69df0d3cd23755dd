"""`make bench-rollout`: what a change of the model costs the clients that ask meanwhile.

    python -m bench.rollout [--clients 64] [--bake 2] [--seconds 3] [--json]

For each policy, and for a new version that crashes at load, at its first request, or after a while: requests sent, lost
(cut off) and failed (any status but 200), and p99 before, during and after the update, by clients that ask again as
soon as they were answered. Two replicas, one row of CSV. Lost and failed must be 0; the command ends with status 1
where they are not, or where an update ended other than it should.

Everything runs on this machine, clients included: compare the columns of one row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.load import request
from tests.support.model import ROW, pack, packed_regressor
from tests.support.server import IMAGE, ROLE, Server

SCRIPTS = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
SETTLE_S = 120.0
DIES = """
import os, signal, threading

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def model_fn(model_dir):
    if os.environ["DIES"] == "load":
        die()
    return []

def predict_fn(data, model):
    if os.environ["DIES"] == "first":
        die()
    if not model:
        model.append(threading.Timer(1.5, die))
        model[0].start()
    return data
"""


@dataclass
class Book:
    """What became of every request; instants of the monotonic clock, which all processes share."""

    sent_s: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    """Of those that were answered with 200, beside `sent_s`."""
    lost: int = 0
    failed: int = 0
    words: list[str] = field(default_factory=list)
    """What the first failures said."""

    def p99_ms(self, since_s: float, until_s: float) -> float | None:
        """Of the requests sent in between; None for too few."""
        took_s = [took for sent, took in zip(self.sent_s, self.took_s, strict=True) if since_s <= sent < until_s]
        return statistics.quantiles(took_s, n=100)[98] * 1000 if len(took_s) > 1 else None

    def note(self, words: str) -> None:
        """Remember the first few."""
        if len(self.words) < 3:
            self.words.append(words)


async def _ask(port: int, raw: bytes, book: Book, stop: asyncio.Event) -> None:
    """One client; a connection that is closed with an answer, or lost, is opened anew."""
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while not stop.is_set():
        sent_s = time.monotonic()
        try:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = connection
            writer.write(raw)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        except (OSError, asyncio.IncompleteReadError) as error:
            book.lost += 1
            book.note(repr(error))
            connection = None
            continue
        if head.startswith(b"http/1.1 200"):
            book.sent_s.append(sent_s)
            book.took_s.append(time.monotonic() - sent_s)
        else:
            book.failed += 1
            book.note(f"{head[:12].decode()} {body[:200]!r}")
        if b"\r\nconnection: close" in head:
            writer.close()
            connection = None


async def _load(port: int, raw: bytes, clients: int, pipe: Connection) -> None:
    book, stop = Book(), asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
    pipe.send("ready")
    await asyncio.gather(*(_ask(port, raw, book, stop) for _ in range(clients)))
    pipe.send(book)


def _serve_load(port: int, raw: bytes, clients: int, pipe: Connection) -> None:
    asyncio.run(_load(port, raw, clients, pipe))


@contextmanager
def load(port: int, raw: bytes, clients: int) -> Iterator[Book]:
    """Clients in a process of their own, for as long as the block; the book is filled at its end."""
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve_load, args=(port, raw, clients, its))
    process.start()
    its.close()
    book = Book()
    try:
        mine.recv()
        yield book
        mine.send("stop")
        book.__dict__.update(mine.recv().__dict__)
    finally:
        process.join(90)
        mine.close()


@dataclass(frozen=True)
class Case:
    """One update."""

    name: str
    deployment: dict[str, Any]
    dies: str = ""
    """When the new version crashes; empty: it is good."""


def cases(bake_s: int) -> list[Case]:
    """Each policy, then each crash under a canary."""
    half, tenth = ({"Type": "CAPACITY_PERCENT", "Value": value} for value in (50, 10))

    def blue_green(kind: str, wait_s: int = bake_s, **more: Any) -> dict[str, Any]:
        routing = {"Type": kind, "WaitIntervalInSeconds": wait_s, **more}
        return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}

    rolling = {"RollingUpdatePolicy": {"MaximumBatchSize": half, "WaitIntervalInSeconds": bake_s}}
    return [
        Case("all at once", blue_green("ALL_AT_ONCE")),
        Case("canary 10%", blue_green("CANARY", CanarySize=tenth)),
        Case("linear 50%", blue_green("LINEAR", LinearStepSize=half)),
        Case("rolling 50%", rolling),
        *(
            Case(f"crash: {when}", blue_green("CANARY", 60, CanarySize=tenth), when)
            for when in ("load", "first", "later")
        ),
    ]


def configure(server: Server, name: str, archive: bytes, image: str = IMAGE, env: dict[str, str] | None = None) -> None:
    """Upload a model; a model and a configuration of two replicas."""
    server.client("s3").put_object(Bucket="bench", Key=f"{name}.tar.gz", Body=archive)
    sagemaker = server.client("sagemaker")
    container = {"Image": image, "ModelDataUrl": f"s3://bench/{name}.tar.gz", "Environment": env or {}}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "A", "ModelName": name, "InitialInstanceCount": 2, "InstanceType": "ml.t3.medium"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def settled(server: Server, name: str) -> dict[str, Any]:
    """The endpoint's description once it is no longer on its way."""
    end_s = time.monotonic() + SETTLE_S
    while time.monotonic() < end_s:
        seen: dict[str, Any] = server.client("sagemaker").describe_endpoint(EndpointName=name)
        if seen["EndpointStatus"] not in ("Creating", "Updating"):
            return seen
        time.sleep(0.1)
    raise TimeoutError(f"{name} did not settle within {SETTLE_S} s")


def measure(server: Server, case: Case, number: int, clients: int, seconds: float) -> dict[str, Any]:
    """One update under load, as a row of the table."""
    name = f"case-{number}"
    configure(server, name, packed_regressor(0))
    if case.dies:
        configure(server, f"{name}-2", pack({"code/inference.py": DIES.encode()}), SCRIPTS, {"DIES": case.dies})
    else:
        configure(server, f"{name}-2", packed_regressor(1))
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    settled(server, name)
    raw = request(f"/endpoints/{name}/invocations", ROW.encode())
    with load(server.port, raw, clients) as book:
        time.sleep(seconds + 1)  # the first of it warms up
        began_s = time.monotonic()
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2", DeploymentConfig=case.deployment)
        seen = settled(server, name)
        ended_s = time.monotonic()
        time.sleep(seconds)
    sagemaker.delete_endpoint(EndpointName=name)
    right = name if case.dies else f"{name}-2"
    return {
        "case": case.name,
        "sent": len(book.sent_s) + book.lost + book.failed,
        "lost": book.lost,
        "failed": book.failed,
        "p99_ms": {
            "before": book.p99_ms(began_s - seconds, began_s),
            "during": book.p99_ms(began_s, ended_s),
            "after": book.p99_ms(ended_s, ended_s + seconds),
        },
        "update_s": ended_s - began_s,
        "ended_right": (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", right),
        "reason": seen.get("FailureReason", ""),
        "words": book.words,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--bake", type=int, default=2, help="seconds after each shift of traffic")
    parser.add_argument("--seconds", type=float, default=3, help="of load before and after each update")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    given = parser.parse_args(argv)
    say = (lambda *_: None) if given.json else print
    found = []
    with tempfile.TemporaryDirectory() as home, Server(Path(home), "--no-long-poll") as server:
        server.client("s3").create_bucket(Bucket="bench")
        say(f"{given.clients} clients, two replicas, {given.bake} s bakes; p99 in ms")
        say(f"{'':16}{'sent':>9}{'lost':>6}{'failed':>8}{'before':>9}{'during':>9}{'after':>9}{'update':>9}")
        for number, case in enumerate(cases(given.bake)):
            if not case.name.startswith(given.only):
                continue
            row = measure(server, case, number, given.clients, given.seconds)
            found.append(row)
            p99 = "".join(f"{'-' if value is None else format(value, '.2f'):>9}" for value in row["p99_ms"].values())
            say(f"{case.name:16}{row['sent']:9,}{row['lost']:6}{row['failed']:8}{p99}{row['update_s']:8.1f}s")
            if row["reason"]:
                say(f"{'':16}{row['reason']}")
            for words in row["words"]:
                say(f"{'':16}{words}")
    if given.json:
        print(json.dumps({"rollouts": found}))
    bad = [row["case"] for row in found if row["lost"] or row["failed"] or not row["ended_right"]]
    if bad:
        print(f"not as it must be: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
