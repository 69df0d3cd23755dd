"""A training job's input and output: names of files, manifests, code, and what goes wrong with each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest

from clary.domain.errors import NotFound
from clary.domain.principal import Scope
from clary.domain.training import Channel, Phase, TrainingRecord, TrainingSpec
from clary.reconcile import training_files as files
from clary.store.training import TrainingJob
from clary.worker import trainer_options as told
from tests.support.training import packed
from tests.unit.domain.test_training import SCRIPT, SPEC


class Listed(NamedTuple):
    key: str


class Objects:
    """Buckets in memory."""

    def __init__(self, **buckets: dict[str, bytes]) -> None:
        self.buckets = buckets

    def _bucket(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self.buckets:
            raise NotFound("bucket", bucket, bucket)
        return self.buckets[bucket]

    def open(self, bucket: str, key: str) -> BinaryIO:
        found = self._bucket(bucket)
        if key not in found:
            raise NotFound("object", key, key)
        return io.BytesIO(found[key])

    def list(self, bucket: str, prefix: str) -> Iterable[Listed]:
        return [Listed(key) for key in sorted(self._bucket(bucket)) if key.startswith(prefix)]

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> object:
        self._bucket(bucket)[key] = b"".join(source)
        return None


@pytest.fixture
def ground(tmp_path: Path) -> files.Ground:
    return files.Ground(tmp_path / "jobs", tmp_path / "logs", "/python", 4)


def job(**change: object) -> TrainingJob:
    spec: TrainingSpec = replace(SPEC, **change)  # type: ignore[arg-type]
    return TrainingJob("u", Scope("1", "r"), "My-Job", 0, 0, spec, None, Phase.DOWNLOADING, TrainingRecord(), "")


def staged(objects: Objects, ground: files.Ground, *channels: Channel) -> list[str]:
    """Paths below input/data."""
    files.stage(objects, ground, job(channels=channels))
    data = ground.jobs / "u" / "ml" / "input" / "data"
    return sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("data/train/", ["c/a.csv", "c/sub/b.csv"]),
        ("data/train", ["c/a.csv", "c/sub/b.csv", "c/train.csv"]),
        ("data/train/a.csv", ["c/a.csv"]),
        ("data/tr", ["c/train.csv", "c/train/a.csv", "c/train/sub/b.csv"]),
        ("", ["c/data/train.csv", "c/data/train/a.csv", "c/data/train/sub/b.csv", "c/other"]),
    ],
)
def test_names_below_a_channel(ground: files.Ground, prefix: str, found: list[str]) -> None:
    keys = ["data/train/a.csv", "data/train/sub/b.csv", "data/train/", "data/train.csv", "other"]
    objects = Objects(b=dict.fromkeys(keys, b"x"))
    assert staged(objects, ground, Channel("c", f"s3://b/{prefix}")) == found


def test_a_manifest_names_its_files(ground: files.Ground) -> None:
    listed = [{"prefix": "s3://b/data/"}, "one.csv", "sub/two.csv"]
    objects = Objects(b={"m": json.dumps(listed).encode(), "data/one.csv": b"1", "data/sub/two.csv": b"2"})
    channel = Channel("c", "s3://b/m", data_type="ManifestFile")
    assert staged(objects, ground, channel) == ["c/one.csv", "c/sub/two.csv"]
    for broken in (b"{}", b"[]", b"nonsense", b'["s3://b/x"]'):
        with pytest.raises(files.InputError, match="the manifest s3://b/m is not of the form"):
            staged(Objects(b={"m": broken}), ground, channel)
    absent = json.dumps([{"prefix": "s3://b/"}, "gone"]).encode()
    with pytest.raises(files.InputError, match="there is no object gone"):
        staged(Objects(b={"m": absent}), ground, channel)


@pytest.mark.parametrize("key", ["data/../../../x", "data/..", "data//../x"])
def test_a_key_that_leaves_its_channel_is_refused(ground: files.Ground, key: str) -> None:
    with pytest.raises(files.InputError, match="leaves its channel"):
        staged(Objects(b={key: b"x"}), ground, Channel("c", "s3://b/data/"))
    assert not (ground.jobs / "u" / "job.json").exists()


def test_input_that_is_not_there(ground: files.Ground) -> None:
    for uri in ("s3://b/none", "s3://absent/x"):
        with pytest.raises(files.InputError, match="Could not find S3 data under S3 URL"):
            staged(Objects(b={"other": b""}), ground, Channel("c", uri))


def test_the_orders_are_written_last_and_say_all(ground: files.Ground) -> None:
    objects = Objects(b={"train": b"1,2"})
    files.stage(objects, ground, job(retries_max=9))
    options = told.read_options(files.folder_of(ground, "u"))
    assert (options.job, options.python, options.threads, options.starts_max) == ("My-Job", "/python", 2, 10)
    assert options.channels["train"]["S3DistributionType"] == "FullyReplicated"
    assert "validation:rmse" in options.metrics


def test_code_comes_from_an_archive_or_from_a_channel(ground: files.Ground) -> None:
    archive = packed({"train.py": "pass", "lib/x.py": ""})
    objects = Objects(b={"code.tar.gz": archive, "code/sourcedir.tar.gz": archive, "plain/train.py": b"pass"})
    script = {"runtime": "sklearn", "hyperparameters": SCRIPT, "channels": ()}
    files.stage(objects, ground, job(**script))
    assert told.read_options(files.folder_of(ground, "u")).code == "code"
    for uri, below in (("s3://b/code/", "code"), ("s3://b/plain/", "input/data/code")):
        given = {**SCRIPT, "sagemaker_submit_directory": "/opt/ml/input/data/code"}
        files.stage(objects, ground, job(**{**script, "hyperparameters": given, "channels": (Channel("code", uri),)}))
        assert told.read_options(files.folder_of(ground, "u")).code == below
        assert (files.folder_of(ground, "u") / "ml" / below / "train.py").is_file()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "There is no code at s3://b/code.tar.gz"),
        (b"no archive", "cannot be used"),
        (packed({"other.py": ""}), "The entry point train.py is not in s3://b/code.tar.gz, which holds: other.py"),
    ],
    ids=["missing", "no archive", "another entry"],
)
def test_code_that_cannot_be(ground: files.Ground, content: bytes | None, text: str) -> None:
    objects = Objects(b={} if content is None else {"code.tar.gz": content})
    with pytest.raises(files.InputError, match=text):
        files.stage(objects, ground, job(runtime="sklearn", hyperparameters=SCRIPT, channels=()))


def driven(source: dict[str, object], **files_: bytes) -> tuple[Objects, dict[str, object]]:
    """What SDK 3's ModelTrainer uploads: its driver's channel, and the code's."""
    drivers = {"drivers/sourcecode.json": json.dumps(source).encode(), "drivers/distributed.json": b"{}"}
    code = {f"code/{name.replace('__', '.')}": content for name, content in files_.items()}
    channels = (Channel("sm_drivers", "s3://b/drivers/"), Channel("code", "s3://b/code/"))
    return Objects(b={**drivers, **code}), {"runtime": "sklearn", "driven": True, "channels": channels}


def test_a_driven_job_runs_its_entry_script(ground: files.Ground) -> None:
    objects, change = driven({"entry_script": "train.py", "source_dir": "/home/me/code"}, train__py=b"pass")
    files.stage(objects, ground, job(**change))
    options = told.read_options(files.folder_of(ground, "u"))
    assert (options.program, options.code, options.python) == ("train.py", "input/data/code", "/python")
    assert options.metrics == {}
    source = {"entry_script": "train.py", "source_dir": "/home/me/my.tar.gz", "requirements": "requirements.txt"}
    objects, change = driven(source, my__tar__gz=packed({"train.py": "pass"}))
    files.stage(objects, ground, job(**change))
    assert told.read_options(files.folder_of(ground, "u")).code == "code"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"command": "make train", "entry_script": "train.py"}, "SourceCode.command is not served"),
        ({}, "give entry_script"),
        ({"entry_script": "../train.py"}, "not a path below source_dir"),
        ({"entry_script": "train.py", "requirements": "more.txt"}, "requirements 'more.txt' is not served"),
        (
            {"entry_script": "other.py"},
            "The entry point other.py is not in /opt/ml/input/data/code, which holds: train",
        ),
    ],
)
def test_a_driven_job_that_cannot_be(ground: files.Ground, source: dict[str, object], text: str) -> None:
    objects, change = driven(source, train__py=b"pass")
    with pytest.raises(files.InputError, match=text):
        files.stage(objects, ground, job(**change))


def test_a_distributed_or_broken_driver_is_refused(ground: files.Ground) -> None:
    for name, content, text in (
        ("distributed", b'{"process_count_per_node": 2}', "distributed training is not served"),
        ("sourcecode", b"{", "sourcecode.json of channel sm_drivers is not JSON"),
    ):
        objects, change = driven({"entry_script": "train.py"}, train__py=b"pass")
        objects.buckets["b"][f"drivers/{name}.json"] = content
        with pytest.raises(files.InputError, match=text):
            files.stage(objects, ground, job(**change))


def test_what_was_made_is_delivered(ground: files.Ground) -> None:
    folder = files.folder_of(ground, "u")
    folder.mkdir(parents=True)
    (folder / told.MODEL_ARCHIVE).write_bytes(b"model")
    (folder / told.OUTPUT_ARCHIVE).write_bytes(b"output")
    objects = Objects(b={})
    done = told.TrainerResult(told.COMPLETED, output=True)
    assert files.deliver(objects, ground, job(), done) == "s3://b/out/My-Job/output/model.tar.gz"
    assert objects.buckets["b"] == {
        "out/My-Job/output/model.tar.gz": b"model",
        "out/My-Job/output/output.tar.gz": b"output",
    }
    objects = Objects(b={})
    assert files.deliver(objects, ground, job(), told.TrainerResult(told.FAILED, output=True)) == ""
    assert list(objects.buckets["b"]) == ["out/My-Job/output/output.tar.gz"]
    with pytest.raises(files.InputError, match="there is no bucket b"):
        files.deliver(Objects(), ground, job(), done)


def test_folders_of_jobs_that_ended_are_swept(ground: files.Ground) -> None:
    for uid in ("a", "b"):
        (ground.jobs / uid).mkdir(parents=True)
    files.sweep(ground, {"a"})
    assert [path.name for path in ground.jobs.iterdir()] == ["a"]


def test_a_jobs_process_is_told_where_the_server_is_unless_the_job_says_otherwise(ground: files.Ground) -> None:
    lent = {"AWS_ENDPOINT_URL": "http://here", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t"}
    lending = replace(ground, lent=lambda uid, region: {**lent, "OF": f"{uid} {region}"})
    files.stage(
        Objects(), lending, job(channels=(), hyperparameters={}, environment={"AWS_ENDPOINT_URL": "http://there"})
    )
    told_of = told.read_options(ground.jobs / "u").environment
    assert told_of == {**lent, "OF": "u r", "AWS_ENDPOINT_URL": "http://there"}
