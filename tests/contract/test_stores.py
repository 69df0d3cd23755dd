"""What every object store is to artifacts and jobs: the built-in one, and one of another kind through obstore."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.artifacts.foreign import ForeignStore, Mount
from clary.artifacts.stores import Store
from clary.domain.errors import NotFound
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.objects.store import ObjectStore
from tests.support.foreign import MotoServer


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture(params=["built-in", "foreign"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Iterator[Store]:
    if request.param == "built-in":
        own = ObjectStore(tmp_path, SystemClock(), SystemIds())
        own.create_bucket(bucket, "123456789012", "us-east-1")
        yield own
        own.close()
        return
    moto: MotoServer = request.getfixturevalue("moto")
    client = moto.client()
    client.create_bucket(Bucket=bucket)
    client.close()
    key = {"access_key_id": "moto", "secret_access_key": "moto", "token": None, "expires_at": None}
    yield ForeignStore(Mount("*", moto.url), lambda: key)


@pytest.fixture
def bucket() -> str:
    return f"b-{uuid.uuid4().hex}"


def test_what_is_put_is_read(store: Store, bucket: str) -> None:
    pieces = [bytes([number]) * 700_001 for number in range(30)]
    for key in ("plain", "deep/er/b é+#%20?.tar.gz", "empty"):
        content = [] if key == "empty" else pieces
        store.put(bucket, key, iter(content))
        with store.open(bucket, key) as stream:
            assert stream.read(10) == b"".join(content)[:10]
            assert stream.read() == b"".join(content)[10:]
    store.put(bucket, "plain", [b"new"])
    with store.open(bucket, "plain") as stream:
        assert stream.read() == b"new"


def test_listings_are_in_order_and_take_any_beginning_of_a_key(store: Store, bucket: str) -> None:
    for key in ("train/b", "train/a/x", "train-2", "z", "é"):
        store.put(bucket, key, [b"1"])
    assert [one.key for one in store.list(bucket, "")] == ["train-2", "train/a/x", "train/b", "z", "é"]
    assert [one.key for one in store.list(bucket, "tr")] == ["train-2", "train/a/x", "train/b"]
    assert [one.key for one in store.list(bucket, "train/")] == ["train/a/x", "train/b"]
    assert [one.key for one in store.list(bucket, "none/")] == []


def test_what_is_missing_is_named(store: Store, bucket: str) -> None:
    store.put(bucket, "k", [b"1"])
    with pytest.raises(NotFound) as caught:
        store.open(bucket, "none")
    assert (caught.value.kind, caught.value.name) == ("object", "none")
    for ask in (
        lambda: store.open("no-such-bucket", "k"),
        lambda: list(store.list("no-such-bucket", "")),
        lambda: store.put("no-such-bucket", "k", [b"1"]),
    ):
        with pytest.raises(NotFound) as caught:
            ask()
        assert (caught.value.kind, caught.value.name) == ("bucket", "no-such-bucket")


def test_a_source_that_fails_leaves_nothing(store: Store, bucket: str) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * 20_000_000
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        store.put(bucket, "half", failing())
    assert list(store.list(bucket, "")) == []
