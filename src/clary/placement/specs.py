"""A wish turned into rows of the process table: which argv, which environment, which zygote. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clary.agent.table import ProcessSpec
from clary.domain.endpoint import RevisionVariant
from clary.domain.instance_types import INSTANCE_TYPES
from clary.placement.base import ReplicaSpec
from clary.placement.bundle import ENTRY
from clary.worker import options as worker_options

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_ZYGOTE_VARIABLE = "CLARY_ZYGOTE"


@dataclass(frozen=True)
class Ground:
    """What every process of this server stands on."""

    runtime_dir: Path
    logs: Path
    bundle: Path
    path: str
    """PATH of workers and zygotes."""
    untrusted: bool = False
    """Workers run no code of models'; see worker/guard.py."""


@dataclass(frozen=True)
class Named:
    """Whose replica it is."""

    uid: str
    endpoint: str
    endpoint_uid: str


def replica_of(
    named: Named, variant: RevisionVariant, model_dir: Path, digest: str, threads: int, python: str = ""
) -> ReplicaSpec:
    """The specification of a replica of `variant`: the same for the same facts, whenever. `python`: the interpreter
    of its environment, empty for Clary's own."""
    kind = INSTANCE_TYPES.get(variant.instance_type)
    return ReplicaSpec(
        uid=named.uid,
        endpoint=named.endpoint,
        variant=variant.name,
        endpoint_uid=named.endpoint_uid,
        runtime=variant.container.runtime,
        image_tag=variant.container.image_tag,
        model_dir=model_dir,
        artifact_digest=digest,
        env=variant.container.environment,
        python=python,
        threads=threads,
        memory_bytes_max=int(kind.memory_gib * 1024**3) if kind else 0,
        server=variant.container.server,
        load_timeout_s=float(variant.load_timeout_s),
    )


def socket_of(runtime_dir: Path, uid: str) -> Path:
    """Where a replica answers."""
    return runtime_dir / f"w-{uid}.sock"


def worker_of(spec: ReplicaSpec, python: str, zygote: str, ground: Ground) -> ProcessSpec:
    """The row of a replica. Its environment is built from nothing: no path to store or secrets is in it."""
    told = worker_options.WorkerOptions(
        uid=spec.uid,
        socket=str(socket_of(ground.runtime_dir, spec.uid)),
        runtime=spec.runtime,
        model_dir=str(spec.model_dir),
        image_tag=spec.image_tag,
        endpoint=spec.endpoint,
        variant=spec.variant,
        env=dict(spec.env),
        threads=max(1, spec.threads),
        load_timeout_s=spec.load_timeout_s,
        server=None if spec.server is None else worker_options.ServerOptions(**asdict(spec.server)),
        untrusted=ground.untrusted,
    )
    env = {
        **_base(ground),
        **dict.fromkeys(_POOLS, str(max(1, spec.threads))),
        "SM_MODEL_DIR": str(spec.model_dir),
        "SM_NUM_CPUS": str(max(1, spec.threads)),
        "SAGEMAKER_BASE_DIR": str(spec.model_dir.parent),
        **_embedded_metrics(spec.endpoint),
        **spec.env,
        worker_options.VARIABLE: told.to_json(),
    }
    if spec.python:  # what the environment's packages bring as programs is found before the machine's
        env["PATH"] = f"{Path(spec.python).parent}:{env['PATH']}"
    return ProcessSpec(
        uid=spec.uid,
        kind="worker",
        argv=_argv(python, ground, "worker"),
        env=env,
        zygote=zygote,
        log=str(ground.logs / "endpoints" / spec.endpoint_uid / spec.variant / f"{spec.uid}.log"),
        memory_bytes_max=spec.memory_bytes_max,
    )


def zygote_of(runtime: str, python: str, environment: str, fork: str, ground: Ground) -> ProcessSpec:
    """The row of a fork server. `fork`: `safe` where the verdict is known, empty to let it probe.

    Its uid names what it is, so that two wishes share one, and a changed environment or bundle gets another.
    """
    facts = json.dumps([runtime, python, environment, ground.bundle.name])
    uid = f"zygote-{runtime}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"
    env = {
        **_base(ground),
        **dict.fromkeys(_POOLS, "1"),
        _ZYGOTE_VARIABLE: json.dumps({"runtime": runtime, "fork": fork}),
    }
    argv = _argv(python, ground, "zygote")
    return ProcessSpec(uid=uid, kind="zygote", argv=argv, env=env, log=str(ground.logs / f"{uid}.log"), stop_grace_s=5)


def told_of(spec: ProcessSpec) -> worker_options.WorkerOptions:
    """What a worker of the table was told."""
    return worker_options.read_options(spec.env)


def unused(specs: Sequence[ProcessSpec]) -> set[str]:
    """Zygotes that no worker of the table names."""
    named = {spec.zygote for spec in specs}
    return {spec.uid for spec in specs if spec.kind == "zygote" and spec.uid not in named}


def bundles_of(specs: Mapping[str, ProcessSpec]) -> set[str]:
    """Folder names of the bundles that the table's processes run from."""
    return {Path(word).parent.name for spec in specs.values() for word in spec.argv if word.endswith(f"/{ENTRY}")}


def _argv(python: str, ground: Ground, role: str) -> tuple[str, ...]:
    return (python, "-I", "-B", str(ground.bundle / ENTRY), role)


def _embedded_metrics(endpoint: str) -> dict[str, str]:
    """Makes aws-embedded-metrics print its lines, which control reads from the log, under the endpoint's name."""
    return {
        "AWS_EMF_ENVIRONMENT": "Local",
        "AWS_EMF_SERVICE_NAME": endpoint,
        "AWS_EMF_SERVICE_TYPE": "AWS::SageMaker::Endpoint",
        "AWS_EMF_LOG_GROUP_NAME": f"/aws/sagemaker/Endpoints/{endpoint}",
    }


def _base(ground: Ground) -> dict[str, str]:
    return {"PATH": ground.path, "LANG": "C.UTF-8"}
