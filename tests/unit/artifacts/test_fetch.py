"""From a ModelDataUrl to a pin: refusals by URL, one fetch for many, independence of the bucket."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clary.artifacts.fetch import Artifacts, parse_url
from clary.domain.errors import ArtifactError
from tests.support.archives import Objects, member, packed

URL = "s3://models/rul/model.tar.gz"
MODEL = packed(member("xgboost-model", b"weights"))


def objects() -> Objects:
    return Objects({("models", "rul/model.tar.gz"): MODEL, ("models", "rul/old.tar.gz"): MODEL, ("models", "x"): b"no"})


def test_fetch_and_the_bucket_may_go(tmp_path: Path) -> None:
    source = objects()
    artifacts = Artifacts(tmp_path, source)
    found = artifacts.fetch(URL)
    source.objects.clear()
    again = Artifacts(tmp_path, source)
    assert again.path_of(found.digest) == found.path
    assert (found.path / "xgboost-model").read_bytes() == b"weights"
    assert again.intact(found.digest)


def test_a_changed_object_is_another_artifact(tmp_path: Path) -> None:
    source = objects()
    artifacts = Artifacts(tmp_path, source)
    first = artifacts.fetch(URL)
    source.objects["models", "rul/model.tar.gz"] = packed(member("xgboost-model", b"retrained"))
    second = artifacts.fetch(URL)
    assert first.digest != second.digest
    assert first.path.is_dir(), "the first stays addressable"
    assert artifacts.sweep({second.digest}) == {first.digest}
    assert artifacts.path_of(first.digest) is None


@pytest.mark.parametrize(
    ("url", "cause", "remedy"),
    [
        (
            "s3://models/rul/missing.tar.gz",
            "at s3://models/rul/missing.tar.gz",
            "There are: s3://models/rul/model.tar.gz",
        ),
        ("s3://nowhere/model.tar.gz", "there is no bucket 'nowhere'", "Create the bucket"),
        ("s3://models/rul/", "is a prefix, not an object", "uncompressed model data is not served"),
        ("s3://models", "not a model data URL", "s3://BUCKET/KEY"),
        ("https://example.com/m.tar.gz", "not a model data URL", "s3://BUCKET/KEY"),
        ("s3:///key", "not a model data URL", "s3://BUCKET/KEY"),
        ("s3://models/x", "not a gzip file", "gzipped tar"),
    ],
)
def test_refusals(url: str, cause: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as refused:
        Artifacts(tmp_path, objects()).fetch(url)
    assert cause in refused.value.cause
    assert remedy in refused.value.remedy


def test_keys_keep_their_odd_characters() -> None:
    assert parse_url("s3://b/a//b c%20?#+.tar.gz") == ("b", "a//b c%20?#+.tar.gz")


class Gate(Objects):
    """Lets nobody read until it is opened."""

    def __init__(self) -> None:
        super().__init__({("models", "rul/model.tar.gz"): MODEL})
        self.waiting = threading.Semaphore(0)
        self.gate = threading.Event()

    def open(self, bucket: str, key: str) -> io.BytesIO:
        found = super().open(bucket, key)
        self.waiting.release()
        assert self.gate.wait(30)
        return found


def test_many_that_want_one_url_share_one_fetch(tmp_path: Path) -> None:
    source = Gate()
    artifacts = Artifacts(tmp_path, source)
    with ThreadPoolExecutor(8) as pool:
        fetches = [pool.submit(artifacts.fetch, URL) for _ in range(8)]
        assert source.waiting.acquire(timeout=30)
        while artifacts.waiting(URL) < 8:
            pass
        source.gate.set()
        found = {fetch.result(30) for fetch in fetches}
    assert len(found) == 1
    assert source.opened == 1
    artifacts.fetch(URL)
    assert source.opened == 2, "a later call reads anew"


def test_a_failed_fetch_fails_for_all_and_is_tried_again(tmp_path: Path) -> None:
    source = Gate()
    source.objects["models", "rul/model.tar.gz"] = b"not yet"
    artifacts = Artifacts(tmp_path, source)
    with ThreadPoolExecutor(3) as pool:
        fetches = [pool.submit(artifacts.fetch, URL) for _ in range(3)]
        assert source.waiting.acquire(timeout=30)
        while artifacts.waiting(URL) < 3:
            pass
        source.gate.set()
        for fetch in fetches:
            with pytest.raises(ArtifactError):
                fetch.result(30)
    source.objects["models", "rul/model.tar.gz"] = MODEL
    assert artifacts.fetch(URL).bytes == 7


def test_two_urls_of_one_content_race_to_one_pin(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, objects())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(artifacts.fetch, [URL, "s3://models/rul/old.tar.gz"] * 20))
    assert len({one.digest for one in found}) == 1
    assert [p.name for p in tmp_path.iterdir()] == [found[0].digest]


SCRIPTS = "s3://models/sourcedir.tar.gz"


def with_scripts(scripts: bytes, *files: tuple) -> Objects:
    model = packed(member("model.joblib", b"weights"), *files)
    return Objects({("models", "rul/model.tar.gz"): model, ("models", "sourcedir.tar.gz"): scripts})


@pytest.mark.parametrize(
    "beside", [(), (member("code/inference.py", b"old"), member("code/a/b.py")), (member("code"),)]
)
def test_scripts_take_the_place_of_code(tmp_path: Path, beside: tuple) -> None:
    artifacts = Artifacts(tmp_path, with_scripts(packed(member("train.py", b"new"), member("lib/x.py", b"x")), *beside))
    found = artifacts.fetch(f"{URL}\n{SCRIPTS}")
    files = {p.relative_to(found.path).as_posix(): p.read_bytes() for p in found.path.rglob("*") if p.is_file()}
    assert files == {"model.joblib": b"weights", "code/train.py": b"new", "code/lib/x.py": b"x"}
    assert artifacts.intact(found.digest)
    assert artifacts.fetch(f"{URL}\n{SCRIPTS}").digest == found.digest


@pytest.mark.parametrize(
    ("scripts", "url", "cause", "remedy"),
    [
        (b"junk", SCRIPTS, "The archive of scripts: The artifact is not a gzip file", "tar czf"),
        (
            b"",
            "s3://models/none.tar.gz",
            "SAGEMAKER_SUBMIT_DIRECTORY: Could not find scripts at s3://models/none",
            "or c",
        ),
        (b"", "s3://models/", "SAGEMAKER_SUBMIT_DIRECTORY: 's3://models/' is not a scripts URL", "sourcedir.tar.gz"),
    ],
)
def test_scripts_that_cannot_be_had_say_so(tmp_path: Path, scripts: bytes, url: str, cause: str, remedy: str) -> None:
    artifacts = Artifacts(tmp_path, with_scripts(scripts))
    with pytest.raises(ArtifactError) as refused:
        artifacts.fetch(f"{URL}\n{url}")
    assert cause in refused.value.cause
    assert remedy in refused.value.remedy
    assert "ModelDataUrl" not in refused.value.remedy
    assert list(tmp_path.iterdir()) == []
