"""Buckets of another store, through obstore, against a moto server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.artifacts import foreign
from clary.artifacts.fetch import Artifacts
from clary.artifacts.foreign import ForeignStore, Mount, parse_mount
from clary.artifacts.stores import Stores
from clary.domain.errors import ArtifactError, NotFound
from tests.support.archives import Objects, member, packed
from tests.support.foreign import MotoServer
from tests.support.server import free_port

MODEL = packed(member("xgboost-model", b"weights"))


def keys() -> Any:
    return {"access_key_id": "moto", "secret_access_key": "moto", "token": None, "expires_at": None}


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture
def s3(moto: MotoServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    client = moto.client()
    client.create_bucket(Bucket="models")
    yield client
    for one in client.list_objects_v2(Bucket="models").get("Contents", ()):
        client.delete_object(Bucket="models", Key=one["Key"])
    client.close()


@pytest.fixture
def store(moto: MotoServer) -> ForeignStore:
    return ForeignStore(Mount("models", moto.url), keys)


def test_reading(s3: Any, store: ForeignStore) -> None:
    large = bytes(range(256)) * 40_000
    s3.put_object(Bucket="models", Key="a b#c%20é+?.tar.gz", Body=large)
    with store.open("models", "a b#c%20é+?.tar.gz") as stream:
        assert stream.read(3) == large[:3]
        assert stream.read() == large[3:]
    with pytest.raises(NotFound) as caught:
        store.open("models", "none")
    assert (caught.value.kind, caught.value.name) == ("object", "none")
    with pytest.raises(NotFound) as caught:
        store.open("nowhere", "none")
    assert (caught.value.kind, caught.value.name) == ("bucket", "nowhere")
    with pytest.raises(ArtifactError, match="without empty segments"):
        store.open("models", "a//b")


def test_listing(s3: Any, store: ForeignStore) -> None:
    for key in ("train/", "train/a.csv", "train/b/c.csv", "train-2/d.csv", "empty", "z"):
        s3.put_object(Bucket="models", Key=key, Body=b"" if key in ("train/", "empty") else b"1")
    assert [one.key for one in store.list("models", "")] == [
        "empty", "train-2/d.csv", "train/a.csv", "train/b/c.csv", "z"
    ]  # fmt: skip
    assert [one.key for one in store.list("models", "train")] == ["train-2/d.csv", "train/a.csv", "train/b/c.csv"]
    assert [one.key for one in store.list("models", "train/")] == ["train/a.csv", "train/b/c.csv"]
    with pytest.raises(NotFound):
        list(store.list("nowhere", ""))


def test_writing_is_whole_or_not_at_all(s3: Any, store: ForeignStore) -> None:
    store.put("models", "out/model.tar.gz", (b"x" * 1_000_000 for _ in range(20)))
    assert s3.head_object(Bucket="models", Key="out/model.tar.gz")["ContentLength"] == 20_000_000
    store.put("models", "out/empty", [])

    def failing() -> Iterator[bytes]:
        yield b"x" * 20_000_000
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        store.put("models", "out/half", failing())
    assert [one.key for one in store.list("models", "out/")] == ["out/empty", "out/model.tar.gz"]
    with pytest.raises(NotFound):
        store.put("nowhere", "k", [b"1"])


def test_models_come_from_it(s3: Any, store: ForeignStore, tmp_path: Path) -> None:
    s3.put_object(Bucket="models", Key="rul/model.tar.gz", Body=MODEL)
    artifacts = Artifacts(tmp_path, Stores(Objects({("home", "model.tar.gz"): MODEL}), [store]))
    assert artifacts.fetch("s3://models/rul/model.tar.gz").digest == artifacts.fetch("s3://home/model.tar.gz").digest
    with pytest.raises(ArtifactError, match=r"There are: s3://models/rul/model\.tar\.gz"):
        artifacts.fetch("s3://models/rul/none.tar.gz")


def test_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_RETRIES", 0)
    away = ForeignStore(Mount("*", f"http://127.0.0.1:{free_port()}"), keys)
    artifacts = Artifacts(tmp_path, Stores(Objects({}), [away]))
    with pytest.raises(ArtifactError) as caught:
        artifacts.fetch("s3://any/model.tar.gz")
    assert "did not deliver s3://any/model.tar.gz at http://127.0.0.1" in caught.value.cause
    with pytest.raises(ArtifactError):
        list(away.list("any", ""))
    with pytest.raises(ArtifactError):
        away.put("any", "k", [b"1"])


def test_a_store_that_stops_amid_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_RETRIES", 0)
    with MotoServer() as server:
        client = server.client()
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="k", Body=bytes(64 * 1024 * 1024))
        client.close()
        stream = ForeignStore(Mount("models", server.url), keys).open("models", "k")
        assert stream.read(10) == bytes(10)
    with pytest.raises(ArtifactError, match="did not deliver"):
        stream.read()


def test_credentials_that_are_refused_or_missing(moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ArtifactError, match="the right to read") as caught:
        ForeignStore(Mount("models", moto.url, profile="nobody")).open("models", "k")
    assert "nobody" in caught.value.cause


@pytest.mark.parametrize(
    "text",
    ["s3://models?endpoint=http://127.0.0.1:9000", "s3://*?endpoint=https://minio.example&region=eu-west-1&profile=p"],
)
def test_addresses(text: str) -> None:
    mount = parse_mount(text)
    assert parse_mount(str(mount)) == mount
    assert mount.place == mount.endpoint


def test_no_endpoint_is_aws() -> None:
    assert parse_mount("s3://models?region=eu-west-1").place == "https://s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://models", "not of the form"),
        ("s3://models/folder", "not of the form"),
        ("s3://?endpoint=http://x", "not of the form"),
        ("s3://models?secret=x", "no object store takes"),
        ("s3://models?endpoint=minio:9000", "give http://HOST"),
        ("s3://models?endpoint=http://key:secret@minio", "without credentials"),
    ],
)
def test_addresses_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_mount(text)
