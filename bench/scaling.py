"""Scaling under a load step: the part of `make bench` that takes minutes.

    python -m bench.scaling [--limit 90] [--json]

Requests arrive at a fixed rate, whatever becomes of them, at a model that takes 20 ms for each and answers one at a
time. After a while five times as many come: more than one replica can answer, and fewer than one for each core can.
Measured: seconds from the step until p99 is back under 100 ms and stays there for five seconds; and requests that
failed.

1. `clary scale` (four requests at once for each replica), beside Ray Serve's autoscaler with the same target: with its
   own settings, and with every delay of it set to a second. Ray comes from the package index into an environment of its
   own, once; where that cannot be, the reason is told.
2. Application Auto Scaling's target tracking by requests at once, with the documented timing (three periods of 10 s).
3. From none: milliseconds from a request for a variant without replicas to its answer, for an XGBoost model.

Everything runs on this machine, clients included, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.model import ROW, pack, packed_regressor
from tests.support.server import Server, free_port, wait_until

CORES = len(os.sched_getaffinity(0))
SERVICE_S = 0.02
TARGET_S = 5 * SERVICE_S
BASE_RATE = 0.15 * max(2, CORES) / SERVICE_S
"""Requests a second before the step: five times as many are three quarters of what a replica for each core answers."""
FACTOR = 5
BEFORE_S = 5
STAYS_S = 5
CONCURRENCY = 4
COLD_STARTS = 5
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
HERE = Path(__file__).parent
CODE = f"""
import time

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    time.sleep({SERVICE_S})
    return data

def output_fn(prediction, accept):
    return "done"
"""
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/stepped/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@dataclass(frozen=True)
class Stepped:
    """What a load step did."""

    settled_s: float | None
    """From the step until p99 was back under the target; None: it never was."""
    worst_ms: float
    """The highest p99 of a second."""
    requests: int
    failed: int


class Arrivals:
    """Requests at fixed instants, and what became of them."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\nContent-Length: 3\r\n\r\n1,2"
        self._request = head.encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.seconds: list[list[float]] = []
        """Of each second since the step, the time that each of its requests took; infinite: failed, or under way."""
        self.failed = 0

    async def run(self, limit_s: float) -> Stepped:
        """The load before the step and after it, until it is borne or the limit is over."""
        began = time.perf_counter()
        await self._at(BASE_RATE, began, BEFORE_S, None)
        settled: int | None = None
        while settled is None and len(self.seconds) < limit_s:
            second: list[float] = []
            self.seconds.append(second)
            await self._at(BASE_RATE * FACTOR, began + BEFORE_S + len(self.seconds) - 1, 1, second)
            settled = self._settled()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for task in list(self._tasks):  # what still waits stays infinite
            task.cancel()
        worst_s = max(_p99(second) for second in self.seconds)
        return Stepped(settled, min(worst_s, 60.0) * 1000, sum(map(len, self.seconds)), self.failed)

    def _settled(self) -> int | None:
        """The first second that was borne, once as many as are asked for were, and their requests had time to end."""
        borne = 0
        for at, second in enumerate(self.seconds[:-1]):
            borne = borne + 1 if _p99(second) <= TARGET_S else 0
            if borne == STAYS_S:
                return at - STAYS_S + 1
        return None

    async def _at(self, rate: float, began: float, seconds: int, into: list[float] | None) -> None:
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._one(due, into))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, due: float, into: list[float] | None) -> None:
        at = len(into) if into is not None else 0
        if into is not None:
            into.append(float("inf"))
        try:
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length:")
            if length:
                await reader.readexactly(int(length.split(b"\r")[0]))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")  # in chunks, as Ray Serve answers
        except (OSError, EOFError):
            self.failed += 1
            return
        self._idle.append((reader, writer))
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed += 1
        elif into is not None:
            into[at] = time.perf_counter() - due

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


def _p99(second: list[float]) -> float:
    return sorted(second)[int(len(second) * 0.99)] if second else 0.0


def stepped(port: int, path: str, limit_s: float) -> Stepped:
    """A load step at a model that has one replica."""
    return asyncio.run(Arrivals(port, path).run(limit_s))


def no_configuration(limit_s: float) -> Stepped:
    """`clary scale`."""
    with hosted("stepped", pack({"code/inference.py": CODE.encode()}), IMAGE) as server:
        clary(server, "scale", "stepped", "--concurrency", str(CONCURRENCY))
        return stepped(server.port, "/endpoints/stepped/invocations", limit_s)


def documented(limit_s: float) -> Stepped:
    """Target tracking of Application Auto Scaling."""
    with hosted("stepped", pack({"code/inference.py": CODE.encode()}), IMAGE) as server:
        scaling = server.client("application-autoscaling")
        scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=max(2, CORES))
        metric = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
        scaling.put_scaling_policy(
            **TARGET,
            PolicyName="p",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": float(CONCURRENCY),
                "PredefinedMetricSpecification": metric,
            },
        )
        return stepped(server.port, "/endpoints/stepped/invocations", limit_s)


def from_none() -> list[float]:
    """Milliseconds of requests that find no replica."""
    found = []
    with hosted("resting", packed_regressor()) as server:
        clary(server, "scale", "resting", "--min", "0", "--window", "5")
        sagemaker = server.client("sagemaker")
        for _ in range(COLD_STARTS):
            wait_until(
                lambda: (
                    not sagemaker.describe_endpoint(EndpointName="resting")["ProductionVariants"][0][
                        "CurrentInstanceCount"
                    ]
                ),
                "no replica",
                120,
            )
            wait_until(lambda: not server.pids_of("clary: worker"), "no process", 60)
            began = time.perf_counter()
            server.invoke("resting", ROW)
            found.append((time.perf_counter() - began) * 1000)
    return found


@contextmanager
def hosted(name: str, archive: bytes, image: str = "") -> Iterator[Server]:
    """A server with one endpoint that answers."""
    with tempfile.TemporaryDirectory() as home, Server(Path(home)) as server:
        server.host(name, archive, **({"image": image} if image else {}))
        server.invoke(name, ROW)
        yield server


def clary(server: Server, *argv: str) -> None:
    command = [sys.executable, "-m", "clary.cli.main", *argv, "--home", str(server.home), "--url", server.url]
    subprocess.run(command, check=True, capture_output=True)


def ray_environment() -> Path:
    """Python of the environment that Ray is in. Raises RuntimeError with the reason where there is none."""
    wanted = HERE / "ray.txt"
    key = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "clary-bench" / f"ray-{key}"
    if not (cache / "ready").exists():
        uv = [sys.executable, "-m", "uv"]
        for command in (
            [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(cache)],
            [*uv, "pip", "install", "--quiet", "--python", str(cache), "--requirements", str(wanted)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["uv failed"])[-1])
        (cache / "ready").touch()
    return cache / "bin" / "python"


def ray_serve(limit_s: float, *, quick: bool) -> Stepped:
    """Ray Serve's autoscaler. Raises RuntimeError where Ray cannot be had or does not start."""
    python, port = ray_environment(), free_port()
    argv = [str(python), str(HERE / "ray_app.py"), str(port), str(max(2, CORES)), str(SERVICE_S), str(CONCURRENCY)]
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryFile() as said:
        app = subprocess.Popen(
            [*argv, "quick" if quick else "own"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=env
        )
        assert app.stdin is not None and app.stdout is not None  # noqa: PT018
        try:
            if not any(line.strip() == b"serves" for line in app.stdout):
                said.seek(0)
                raise RuntimeError(f"Ray Serve did not start: {said.read()[-300:].decode(errors='replace')}")
            return stepped(port, "/", limit_s)
        finally:
            app.stdin.close()  # it ends what it started
            try:
                app.wait(60)
            except subprocess.TimeoutExpired:
                app.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=90, help="seconds after which a step counts as not borne")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    given = parser.parse_args()
    found = measured(given.limit, (lambda *_: None) if given.json else print)
    if given.json:
        print(json.dumps(found))


def measured(limit_s: float, say: Callable[[str], None]) -> dict[str, object]:
    """All parts, told as they come."""
    say(f"5. a load step from {BASE_RATE:.0f} to {BASE_RATE * FACTOR:.0f} requests/s on {CORES} cores; p99 back under")
    say(f"{TARGET_S * 1000:.0f} ms after (worst p99 of a second; failed)")
    found: dict[str, object] = {}
    for what, step in (
        ("clary scale", lambda: no_configuration(limit_s)),
        ("Ray Serve, its own settings", lambda: ray_serve(limit_s, quick=False)),
        ("Ray Serve, delays of 1 s", lambda: ray_serve(limit_s, quick=True)),
        ("Application Auto Scaling", lambda: documented(limit_s)),
    ):
        try:
            one = step()
        except RuntimeError as error:
            found[what] = str(error)
            say(f"{what:28} skipped: {error}")
            continue
        found[what] = asdict(one)
        after = "never" if one.settled_s is None else f"{one.settled_s:.0f} s"
        say(f"{what:28} {after:>7} ({one.worst_ms:,.0f} ms; {one.failed} of {one.requests:,})")
    cold = from_none()
    found["from none ms"] = cold
    say(f"from none: {statistics.median(cold):.0f} ms ({min(cold):.0f} to {max(cold):.0f})")
    return found


if __name__ == "__main__":
    main()
