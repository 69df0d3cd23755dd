"""A model of Ray Serve that takes a fixed time for each request: run by bench/scaling.py in Ray's own environment.

python ray_app.py PORT REPLICAS_MAX SERVICE_S TARGET own|quick
"""

from __future__ import annotations

import sys
import time

import ray
from ray import serve


def main(port: int, replicas_max: int, service_s: float, target: float, *, quick: bool) -> None:
    """Serve until standard input ends."""
    autoscaling = {"min_replicas": 1, "max_replicas": replicas_max, "target_ongoing_requests": target}
    if quick:
        autoscaling |= {"upscale_delay_s": 1, "metrics_interval_s": 1, "look_back_period_s": 2}

    @serve.deployment(autoscaling_config=autoscaling, ray_actor_options={"num_cpus": 0.1})
    class Model:
        async def __call__(self, request) -> str:
            await request.body()
            time.sleep(service_s)  # noqa: ASYNC251 - one at a time, as a model computes
            return "done"

    ray.init(num_cpus=replicas_max, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Model.bind(), route_prefix="/")
    print("serves", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), quick=sys.argv[5] == "quick")
