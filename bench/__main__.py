"""`make bench`: what Clary costs, as ratios to the floor of the same run.

    python -m bench [--seconds 3] [--no-scaling] [--json]

1. Requests a second with one row of 24 features at c = 1, 16, 64, for three models, beside a bare uvloop + httptools
   server that answers a constant: the floor. One router, one replica, CSV in and out, no authentication.
2. Rows a second with 100 rows a request over HTTP, beside the same batches predicted in process on one thread.
3. p99 of one client while 1 GB is uploaded to the object store, beside p99 without.
4. What metrics cost a request: the router's hot path with and without, in one process (bench/recorder.py).
5. A load step: how long until scaling bears it, beside Ray Serve; a request that finds no replica (bench/scaling.py).

Everything runs on this machine, clients included, one measurement at a time. Single samples of a shared machine: take
the ratios.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.load import Measured, measure, request
from bench.recorder import cost
from bench.router import listener
from bench.scaling import measured as scaling
from tests.support.model import pack
from tests.support.server import Server, wait_until

WIDTH = 24
CONCURRENCY = (1, 16, 64)
BATCH_ROWS = 100
UPLOAD_BYTES = 1 << 30
REGISTRY = "683313688378.dkr.ecr.us-east-1.amazonaws.com"


class Zeros(io.RawIOBase):
    """A gigabyte that takes no memory."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readinto(self, into: bytearray) -> int:  # type: ignore[override]
        count = min(len(into), self._left)
        into[:count] = bytes(count)
        self._left -= count
        return count

    def readable(self) -> bool:
        return True


def models() -> tuple[dict[str, tuple[str, bytes]], xgboost.Booster, np.ndarray]:
    """Name to (image, artifact); the booster; rows."""
    draw = np.random.default_rng(7)
    rows = draw.normal(size=(2000, WIDTH)).astype(np.float32)
    labels = rows[:, 0] * 3 - rows[:, 1] ** 2 + draw.normal(size=2000)
    booster = xgboost.train({"max_depth": 6, "nthread": 2, "seed": 0}, xgboost.DMatrix(rows, labels), 100)
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(rows, labels)
    forest = RandomForestRegressor(100, max_depth=10, random_state=0, n_jobs=1).fit(rows, labels)
    sklearn_image = f"{REGISTRY}/sagemaker-scikit-learn:1.2-1-cpu-py3"
    hosted = {
        "ridge": (sklearn_image, pack({"model.joblib": _dumped(ridge)})),
        "xgboost": (f"{REGISTRY}/sagemaker-xgboost:1.7-1", pack({"xgboost-model": bytes(booster.save_raw("ubj"))})),
        "forest": (sklearn_image, pack({"model.joblib": _dumped(forest)})),
    }
    return hosted, booster, rows


def _dumped(model: object) -> bytes:
    raw = io.BytesIO()
    joblib.dump(model, raw)
    return raw.getvalue()


def csv(rows: np.ndarray) -> bytes:
    return "\n".join(",".join(f"{value:.4f}" for value in row) for row in rows).encode()


def floor(seconds: float) -> dict[int, Measured]:
    """The bare server at each concurrency."""
    with listener() as port:
        argv = [sys.executable, "-m", "bench.router", "--be-echo", str(port.fileno())]
        echo = subprocess.Popen(argv, pass_fds=[port.fileno()])
        try:
            body = [request("/echo", csv(np.ones((1, WIDTH))))]
            return {c: measure(port.getsockname()[1], body, c, seconds) for c in CONCURRENCY}
        finally:
            echo.kill()
            echo.wait()


def one_row(server: Server, name: str, rows: np.ndarray, seconds: float) -> dict[int, Measured]:
    requests = [request(f"/endpoints/{name}/invocations", csv(rows[at : at + 1])) for at in range(64)]
    return {c: measure(server.port, requests, c, seconds) for c in CONCURRENCY}


def batches(server: Server, booster: xgboost.Booster, rows: np.ndarray, seconds: float) -> dict[str, float]:
    """Rows a second: in process on one thread, and over HTTP by 1 and by 4 clients."""
    texts = [csv(rows[at : at + BATCH_ROWS]) for at in range(0, 2000, BATCH_ROWS)]
    booster.set_param({"nthread": 1})
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        at = done % len(texts) * BATCH_ROWS
        booster.inplace_predict(rows[at : at + BATCH_ROWS])
        done += 1
    found = {"in process": done * BATCH_ROWS / (time.perf_counter() - began)}
    requests = [request("/endpoints/xgboost/invocations", text) for text in texts]
    for clients in (1, 4):
        found[f"http c={clients}"] = measure(server.port, requests, clients, seconds).rate * BATCH_ROWS
    return found


def beside_upload(server: Server, rows: np.ndarray, seconds: float) -> dict[str, float]:
    """p99 of one client in milliseconds, alone and beside a 1 GB upload."""
    requests = [request("/endpoints/xgboost/invocations", csv(rows[:1]))]
    alone = measure(server.port, requests, 1, seconds)
    server.client("s3").create_bucket(Bucket="upload")

    def upload() -> None:
        server.client("s3").upload_fileobj(io.BufferedReader(Zeros(UPLOAD_BYTES)), "upload", "gigabyte")

    # In a process of its own: in a thread it would share the interpreter's lock with the clock of the measurement.
    uploading = multiprocessing.get_context("fork").Process(target=upload)
    began = time.perf_counter()
    uploading.start()
    beside = measure(server.port, requests, 1, seconds)
    during = uploading.is_alive()
    uploading.join()
    took_s = time.perf_counter() - began
    assert during, "the upload ended before the measurement did; use fewer --seconds"
    return {"alone": alone.p99_ms, "beside": beside.p99_ms, "upload MB/s": UPLOAD_BYTES / 1e6 / took_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="length of each measurement")
    parser.add_argument("--scaling", action=argparse.BooleanOptionalAction, default=True, help="part 5, some minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    given = parser.parse_args()
    hosted, booster, rows = models()
    say = (lambda *_: None) if given.json else print
    base = floor(given.seconds)
    with tempfile.TemporaryDirectory() as home, Server(Path(home)) as server:
        say("1. requests/s, one row of 24 features (ratio to the floor; p99)")
        say("".join([f"{'':12}", *(f"c={c:<24}" for c in CONCURRENCY)]))
        say(f"{'floor':12}" + "".join(f"{base[c].rate:8,.0f}                  " for c in CONCURRENCY))
        found: dict[str, dict[int, Measured]] = {}
        for name, (image, archive) in hosted.items():
            server.host(name, archive, image=image)
            wait_until(lambda name=name: server.invoke(name, csv(rows[:1]).decode()), f"{name} answers")
            found[name] = one_row(server, name, rows, given.seconds)
            cells = (
                f"{m.rate:8,.0f} ({m.rate / base[c].rate:4.2f}) {m.p99_ms:6.2f} ms  " for c, m in found[name].items()
            )
            say(f"{name:12}" + "".join(cells))
        say(f"\n2. rows/s, {BATCH_ROWS} rows a request, XGBoost (ratio to one thread in process)")
        many = batches(server, booster, rows, given.seconds)
        for what, rate in many.items():
            say(f"{what:12}{rate:10,.0f} ({rate / many['in process']:4.2f})")
        say("\n3. p99 of one client, XGBoost")
        beside = beside_upload(server, rows, min(given.seconds, 3))
        ratio = beside["beside"] / beside["alone"]
        say(f"alone {beside['alone']:.2f} ms, beside a 1 GB upload {beside['beside']:.2f} ms (ratio {ratio:.1f})")
        say(f"the upload ran at {beside['upload MB/s']:.0f} MB/s")
    say("\n4. what metrics cost a request, in process")
    counted = cost()
    say(f"{counted['cost_ns']:.0f} ns of {counted['on_ns']:.0f}; observe alone {counted['observe_ns']:.0f} ns")
    say("")
    steps = scaling(90, say) if given.scaling else None
    if given.json:
        rates = {name: {c: vars(m) for c, m in one.items()} for name, one in {"floor": base, **found}.items()}
        print(
            json.dumps(
                {"one_row": rates, "rows_per_s": many, "beside_upload": beside, "metrics": counted, "scaling": steps}
            )
        )


if __name__ == "__main__":
    main()
