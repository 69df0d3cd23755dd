"""A training job's input and output: objects into its folder, what it made back into objects. Blocking."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from clary.artifacts.base import Keyed, Limits
from clary.artifacts.unpack import unpack
from clary.domain.errors import ArtifactError, DomainError, NotFound
from clary.domain.instance_types import INSTANCE_TYPES
from clary.domain.training import DRIVERS, Channel, metrics_of, output_key, threads_of
from clary.environments.store import Environments
from clary.store.training import TrainingJob
from clary.worker import trainer_options as trainer

STARTS_MAX = 3
"""Starts of a job whose runner ended without a result, where its RetryStrategy does not allow more."""
_CHUNK_BYTES = 1024 * 1024
_MANIFEST_BYTES_MAX = 16 * 1024 * 1024
_URL = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<key>.*)", re.DOTALL)
_CODE = "code"
_ARCHIVE = "sourcedir.tar.gz"
_REQUIREMENTS = "requirements.txt"


class Objects(Protocol):
    """An object store to read from and write to. Blocking; called on threads."""

    def open(self, bucket: str, key: str) -> BinaryIO:
        """The object's bytes. Raises NotFound for a missing bucket or key."""
        ...

    def list(self, bucket: str, prefix: str) -> Iterable[Keyed]:
        """Objects whose keys start with `prefix`, in order. Raises NotFound for a missing bucket."""
        ...

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> object:
        """Write an object. Raises NotFound for a missing bucket."""
        ...


class InputError(Exception):
    """A job cannot have its input or output; the text is its FailureReason."""


@dataclass(frozen=True)
class Ground:
    """What every job of this server stands on."""

    jobs: Path
    """`HOME/jobs`."""
    logs: Path
    """`HOME/logs/training`."""
    python: str
    """Clary's own interpreter."""
    cores: int
    environments: Environments | None = None
    """Builds environments for scripts that ask for one; None: they run in Clary's own."""
    lent: Callable[[str, str], Mapping[str, str]] = lambda _uid, _region: {}
    """Variables by which the SDKs of AWS in a job's process find this server and the job's role; asked with the job's
    uid and its region."""


def folder_of(ground: Ground, uid: str) -> Path:
    """Where a job's files are while it has not ended."""
    return ground.jobs / uid


def log_of(ground: Ground, uid: str) -> Path:
    """The log of a job: kept after its end. Its stream in /aws/sagemaker/TrainingJobs is `<job>/algo-1-<creation>`."""
    return ground.logs / uid / "algo-1.log"


def stage(objects: Objects, ground: Ground, job: TrainingJob) -> None:
    """Fetch all input anew and write job.json last. Raises InputError."""
    folder = folder_of(ground, job.uid)
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / trainer.ML / "input" / "data"
    data.mkdir(parents=True, mode=0o700)
    for channel in job.spec.channels:
        (data / channel.name).mkdir()
        _fetch_channel(objects, channel, data / channel.name, job.scope.region)
    code = _stage_code(objects, job, folder / trainer.ML)
    spec = job.spec
    python = _interpreter(ground, job, folder / trainer.ML / code.folder) if code.needs else ground.python
    kind = INSTANCE_TYPES.get(spec.instance_type)
    trainer.write_options(
        folder,
        trainer.TrainerOptions(
            uid=job.uid,
            job=job.name,
            arn=job.arn,
            region=job.scope.region,
            runtime=spec.runtime,
            image_tag=spec.image_tag,
            program=code.program,
            code=code.folder,
            submit_directory=code.where,
            python=python,
            instance_type=spec.instance_type,
            threads=threads_of(ground.cores, spec.parallel, kind.vcpus if kind else 0),
            max_runtime_s=spec.max_runtime_s,
            hyperparameters=spec.hyperparameters,
            channels={channel.name: _described(channel) for channel in spec.channels},
            metrics=metrics_of(spec),
            environment={**ground.lent(job.uid, job.scope.region), **spec.environment},
            starts_max=max(STARTS_MAX, spec.retries_max + 1),
        ),
    )


def _described(channel: Channel) -> dict[str, str]:
    """A channel in inputdataconfig.json."""
    facts = {
        "ContentType": channel.content_type,
        "TrainingInputMode": "File",
        "S3DistributionType": channel.distribution or "FullyReplicated",
        "RecordWrapperType": "None",
    }
    return {name: value for name, value in facts.items() if value}


def _fetch_channel(objects: Objects, channel: Channel, into: Path, region: str) -> None:
    found = 0
    try:
        for bucket, key, name in _keys(objects, channel):
            target = _target(into, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with objects.open(bucket, key) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, _CHUNK_BYTES)
            found += 1
    except NotFound as error:
        if error.kind == "bucket":
            found = 0
        else:
            raise InputError(f"ClientError: Data download failed: there is no object {error.name}.") from None
    except ArtifactError as error:
        raise InputError(f"ClientError: Data download failed: {error.cause}") from None
    except OSError as error:
        raise InputError(f"ClientError: Data download failed: {error.strerror} ({channel.s3_uri}).") from error
    if not found:
        raise InputError(
            f'ClientError: Data download failed:Could not find S3 data under S3 URL "{channel.s3_uri}" given in input '
            f"data source of channel {channel.name}. Please ensure that the bucket exists in the selected region "
            f"({region}) and that objects exist under that S3 prefix."
        )


def _keys(objects: Objects, channel: Channel) -> Iterator[tuple[str, str, str]]:
    """Bucket, key and local name of each object of a channel."""
    bucket, key = _split(channel.s3_uri)
    if channel.data_type != "ManifestFile":
        for entry in objects.list(bucket, key):
            if not entry.key.endswith("/"):
                yield bucket, entry.key, _local(key, entry.key)
        return
    with objects.open(bucket, key) as source:
        try:
            head, *names = json.loads(source.read(_MANIFEST_BYTES_MAX))
            prefix = str(head["prefix"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"ClientError: Data download failed: the manifest {channel.s3_uri} is not of the form "
                '[{"prefix": "s3://..."}, "name", ...].'
            ) from None
    for name in names:
        yield (*_split(prefix + str(name)), str(name))


def _local(prefix: str, key: str) -> str:
    """The name of an object below its channel: what follows the prefix, or the last folder of the prefix."""
    rest = key[len(prefix) :]
    if rest and (prefix.endswith("/") or not prefix or rest.startswith("/")):
        return rest.lstrip("/")
    return key[prefix.rfind("/") + 1 :]


def _target(into: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or "\0" in name:
        raise InputError(f"ClientError: Data download failed: an object's name, {name!r}, leaves its channel.")
    return into.joinpath(*parts)


def _split(url: str) -> tuple[str, str]:
    found = _URL.fullmatch(url)
    if found is None:
        raise InputError(f"ClientError: Data download failed: {url!r} is not an s3:// address.")
    return found["bucket"], found["key"]


# -- code --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Code:
    """What script mode runs; all empty in algorithm mode."""

    program: str = ""
    folder: str = ""
    """Below `ml`."""
    where: str = ""
    """As the user gave it."""
    needs: bool = False
    """Whether the folder's requirements are to be looked at."""


def _stage_code(objects: Objects, job: TrainingJob, ml: Path) -> _Code:
    """Unpack the code of script mode."""
    spec = job.spec
    if not spec.scripted:
        return _Code()
    (ml / _CODE).mkdir()
    code = _driven(ml) if spec.driven else _submitted(objects, job, ml)
    if not (ml / code.folder / code.program).is_file():
        there = ", ".join(sorted(path.name for path in (ml / code.folder).iterdir())[:10])
        raise InputError(
            f"AlgorithmError: The entry point {code.program} is not in {code.where}, which holds: {there or 'nothing'}."
        )
    return code


def _submitted(objects: Objects, job: TrainingJob, ml: Path) -> _Code:
    """Code by sagemaker_submit_directory."""
    program, where = job.spec.program, job.spec.submit_directory
    if not where.startswith("s3://"):
        return _Code(program, _from_channel(ml, where, ml / _CODE), where, needs=True)
    bucket, key = _split(where)
    try:
        with objects.open(bucket, key) as stream:
            unpack(stream, ml / _CODE, Limits())
    except NotFound:
        raise InputError(f"ClientError: There is no code at {where}.") from None
    except ArtifactError as error:
        raise InputError(f"ClientError: The code at {where} cannot be used: {error.cause} {error.remedy}") from None
    return _Code(program, _CODE, where, needs=True)


def _driven(ml: Path) -> _Code:
    """Code as SDK 3's ModelTrainer uploads it: a channel `code`, and beside its driver what of it is to run.

    The driver itself is not run: its paths are those of a container, and what it does is what script mode does.
    """
    drivers = ml / "input" / "data" / DRIVERS
    told = _document(drivers / "sourcecode.json")
    program, source = told.get("entry_script") or "", told.get("source_dir") or ""
    if told.get("command") or not program:
        raise InputError("ClientError: SourceCode.command is not served; give entry_script, a .py or .sh file.")
    if _document(drivers / "distributed.json"):
        raise InputError("ClientError: A distributed training is not served: a job runs on one instance.")
    needs = told.get("requirements")
    if needs not in (None, "", "auto", _REQUIREMENTS):
        raise InputError(f"ClientError: SourceCode.requirements {needs!r} is not served; name it {_REQUIREMENTS}.")
    if not program or ".." in program.split("/") or program.startswith("/"):
        raise InputError(f"ClientError: The entry script {program!r} is not a path below source_dir.")
    where = f"/opt/ml/input/data/{_CODE}"
    packed = source.rpartition("/")[2] if source.endswith(".tar.gz") else ""
    return _Code(program, _from_channel(ml, f"{where}/{packed}".rstrip("/"), ml / _CODE), where, needs=bool(needs))


def _document(path: Path) -> dict[str, Any]:
    """A JSON object that came with a channel; empty where there is none."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise InputError(f"ClientError: {path.name} of channel {DRIVERS} is not JSON.") from None
    return document if isinstance(document, dict) else {}


def _from_channel(ml: Path, where: str, folder: Path) -> str:
    """Code that came as a channel: a folder, or a sourcedir.tar.gz in it."""
    below = where.removeprefix("/opt/ml/").rstrip("/")
    if ".." in below.split("/"):
        raise InputError(f"ClientError: The code folder {where} leaves its channel.")
    source = ml / below
    archive = source if source.is_file() else source / _ARCHIVE
    if not archive.is_file():
        return below
    try:
        with archive.open("rb") as stream:
            unpack(stream, folder, Limits())
    except ArtifactError as error:
        raise InputError(f"ClientError: The code at {where} cannot be used: {error.cause} {error.remedy}") from None
    return _CODE


def _interpreter(ground: Ground, job: TrainingJob, code: Path) -> str:
    """The interpreter of a script: of the environment that its requirements.txt (or conda.yaml, ...) asks for."""
    log = log_of(ground, job.uid)

    def say(text: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as out:
            out.write(f"{text}\n")

    if ground.environments is None:
        return ground.python
    try:
        return ground.environments.ensure(code, job.spec.runtime, job.spec.environment, say) or ground.python
    except ArtifactError as error:
        raise InputError(f"ClientError: {error.cause} {error.remedy}") from None


# -- output ------------------------------------------------------------------------------------------------------------


def deliver(objects: Objects, ground: Ground, job: TrainingJob, result: trainer.TrainerResult) -> str:
    """Upload what a job made; the URL of its model, empty for a failed job. Raises InputError."""
    folder = folder_of(ground, job.uid)
    url = ""
    if result.outcome != trainer.FAILED:
        url = _upload(objects, job, folder / trainer.MODEL_ARCHIVE)
    if result.output:
        _upload(objects, job, folder / trainer.OUTPUT_ARCHIVE)
    return url


def _upload(objects: Objects, job: TrainingJob, path: Path) -> str:
    bucket, key = output_key(job.spec.output_path, job.name, path.name)
    try:
        with path.open("rb") as source:
            objects.put(bucket, key, iter(lambda: source.read(_CHUNK_BYTES), b""))
    except DomainError as error:
        what = f"there is no bucket {bucket}" if isinstance(error, NotFound) else str(error)
        raise InputError(f"ClientError: Artifact upload failed: {what} (s3://{bucket}/{key}).") from None
    except OSError as error:
        raise InputError(
            f"ClientError: Artifact upload failed: {error.strerror or error} (s3://{bucket}/{key})."
        ) from None
    return f"s3://{bucket}/{key}"


def tell_stop(ground: Ground, uid: str) -> None:
    """Order a job's runner to stop."""
    (folder_of(ground, uid) / trainer.STOP).touch()


def clear(ground: Ground, uid: str) -> None:
    """Remove a job's folder; its log stays."""
    shutil.rmtree(folder_of(ground, uid), ignore_errors=True)


def sweep(ground: Ground, keep: set[str]) -> None:
    """Remove folders of jobs that have ended, which a kill of control left behind."""
    if ground.jobs.is_dir():
        for entry in os.scandir(ground.jobs):
            if entry.name not in keep:
                clear(ground, entry.name)
