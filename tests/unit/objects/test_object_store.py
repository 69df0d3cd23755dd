"""The store by itself: order, durability of readers, recovery."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.domain.errors import AlreadyExists, Invalid, NotFound
from clary.kit.clock import VirtualClock
from clary.kit.ids import SystemIds
from clary.objects import multipart, versions
from clary.objects.blobs import read_footer
from clary.objects.errors import BucketNotEmpty, Hidden, IndexFormatError, PreconditionFailed
from clary.objects.multipart import Wanted
from clary.objects.names import successor
from clary.objects.records import ENABLED, Attributes, Condition, ObjectRecord
from clary.objects.store import ObjectStore
from clary.objects.versions import Target

ACCOUNT, REGION = "123456789012", "us-east-1"
PART = 5 * 1024 * 1024


def opened(root: Path) -> ObjectStore:
    return ObjectStore(root / "buckets", VirtualClock(), SystemIds())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    store = opened(tmp_path)
    store.create_bucket("demo", ACCOUNT, REGION)
    yield store
    store.close()


def files(root: Path) -> list[str]:
    return sorted(
        path.name for path in root.rglob("*") if path.is_file() and not path.name.startswith((".index", ".reserve"))
    )


def test_put_open_list_delete(store: ObjectStore) -> None:
    record = store.put("demo", "a/b", [b"hel", b"lo"], attributes=Attributes({"content-type": "text/x"}, {"k": "v"}))
    assert (record.size, record.etag) == (5, "5d41402abc4b2a76b9719d911017c592")
    with store.open("demo", "a/b") as file:
        assert file.read(2) == b"he"
        assert file.seek(-1, os.SEEK_END) == 4
        assert file.read() == b"o"
    assert store.head("demo", "a/b") == record
    assert [entry.key for entry in store.list("demo", "a/")] == ["a/b"]
    versions.delete(store, "demo", [Target("a/b")])
    versions.delete(store, "demo", [Target("a/b")])
    with pytest.raises(NotFound) as caught:
        store.open("demo", "a/b")
    assert (caught.value.kind, caught.value.arn) == ("object", "arn:aws:s3:::demo/a/b")
    with pytest.raises(NotFound) as caught:
        list(store.list("none"))
    assert caught.value.kind == "bucket"


def test_put_takes_an_open_file(store: ObjectStore) -> None:
    store.put("demo", "k", io.BytesIO(b"line\nline\n"))
    assert store.head("demo", "k").size == 10


def test_a_source_that_fails_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk of the other side")

    before = files(tmp_path)
    with pytest.raises(OSError, match="other side"):
        store.put("demo", "k", failing())
    assert files(tmp_path) == before
    with pytest.raises(NotFound):
        store.head("demo", "k")


def test_an_overwrite_leaves_one_file(store: ObjectStore, tmp_path: Path) -> None:
    for body in (b"1", b"2", b"3"):
        store.put("demo", "k", [body])
    assert len(files(tmp_path)) == 2, "the bucket's record and one blob"


def test_a_reader_keeps_its_object(store: ObjectStore, tmp_path: Path) -> None:
    store.put("demo", "k", [b"old"])
    first, second = store.read("demo", "k"), store.read("demo", "k")
    store.put("demo", "k", [b"new"])
    assert first.read_at(0, 10) == b"old"
    first.close()
    first.close()
    assert second.read_at(1, 1) == b"l"
    second.close()
    with store.open("demo", "k") as file:
        assert file.read() == b"new"
    assert len(files(tmp_path)) == 2


def test_buckets(store: ObjectStore) -> None:
    with pytest.raises(AlreadyExists):
        store.create_bucket("demo", ACCOUNT, REGION)
    with pytest.raises(Invalid):
        store.create_bucket("../evil", ACCOUNT, REGION)
    store.put("demo", "k", [])
    with pytest.raises(BucketNotEmpty):
        store.delete_bucket("demo")
    versions.delete(store, "demo", [Target("k")])
    store.delete_bucket("demo")
    assert store.buckets() == []
    with pytest.raises(NotFound):
        store.begin("demo")


def test_a_bucket_deleted_under_a_writer_is_not_brought_back(store: ObjectStore, tmp_path: Path) -> None:
    writer = store.begin("demo")
    writer.write(b"late")
    store.delete_bucket("demo")
    with pytest.raises(NotFound):
        store.commit(writer, "k", Attributes())
    assert files(tmp_path) == []


def test_conditions(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        store.put("demo", "k", [b"1"], condition=Condition(etag="*"))
    record = store.put("demo", "k", [b"1"], condition=Condition(absent=True))
    with pytest.raises(PreconditionFailed):
        store.put("demo", "k", [b"2"], condition=Condition(absent=True))
    store.put("demo", "k", [b"2"], condition=Condition(etag=record.etag))
    with pytest.raises(PreconditionFailed):
        versions.delete(store, "demo", [Target("k")], Condition(etag=record.etag))


KEYS = st.text(st.sampled_from("a/b\uffffé𐍈"), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(keys=st.sets(KEYS, max_size=12), prefix=st.sampled_from(["", "a", "a/", "é"]), size=st.integers(1, 4))
def test_pages_are_the_sorted_keys(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, size: int
) -> None:
    store = opened(tmp_path_factory.mktemp("pages"))
    try:
        store.create_bucket("demo", ACCOUNT, REGION)
        record = store.put("demo", "a", [b""])
        with store.index.write() as index:
            index.remove_version("demo", "a", "")
            for key in keys:
                index.put_object("demo", ObjectRecord(**{**_fields(record), "key": key}))
        wanted = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
        assert [entry.key for entry in store.list("demo", prefix)] == wanted
        rolled: list[str] = []
        for key in wanted:
            head, slash, _ = key[len(prefix) :].partition("/")
            name = prefix + head + slash if slash else key
            if name not in rolled:
                rolled.append(name)
        found: list[str] = []
        after, more = "", True
        while more:
            page = store.list_page("demo", prefix=prefix, delimiter="/", after=after, count_max=size)
            found += sorted([*page.prefixes, *(entry.key for entry in page.entries)], key=str.encode)
            after, more = page.last, page.truncated
        assert found == rolled
    finally:
        store.close()


def _fields(record: ObjectRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def test_a_common_prefix_of_many_keys_costs_no_walk(store: ObjectStore) -> None:
    record = store.put("demo", "many/", [b""])
    with store.index.write() as index:
        for number in range(200):
            index.put_object("demo", ObjectRecord(**{**_fields(record), "key": f"many/{number:03}"}))
        index.put_object("demo", ObjectRecord(**{**_fields(record), "key": "z"}))
    page = store.list_page("demo", delimiter="/")
    assert (page.prefixes, [entry.key for entry in page.entries]) == (("many/",), ["z"])
    found = versions.page(store, "demo", delimiter="/")
    assert (found.prefixes, [one.entry.key for one in found.versions]) == (("many/",), ["z"])


def test_successors() -> None:
    assert successor(b"a/") == b"a0"
    assert successor(b"a\xff") == b"b"
    assert successor(b"") is None
    assert successor(b"\xff\xff") is None


# -- recovery ----------------------------------------------------------------------------------------------------------


def with_parts(store: ObjectStore, key: str) -> ObjectRecord:
    upload = multipart.create(store, "demo", key, Attributes())
    parts = []
    for number, size in ((1, PART), (2, 3)):
        writer = store.begin("demo", upload.checksum_algorithm)
        writer.write(bytes([number]) * size)
        parts.append(multipart.put_part(store, writer, upload, number))
    return multipart.complete(store, "demo", upload, [Wanted(part.number, part.etag) for part in parts])


def test_the_index_is_rebuilt_from_the_files(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create_bucket("demo", ACCOUNT, REGION)
    store.put("demo", "k", [b"old"])
    kept = [
        store.put("demo", "k", [b"new"], attributes=Attributes({"a": "b"}, {"c": "d"})),
        with_parts(store, "joined"),
    ]
    pending = multipart.create(store, "demo", "pending", Attributes())
    writer = store.begin("demo")
    writer.write(b"part")
    multipart.put_part(store, writer, pending, 1)
    store.close()
    for path in (tmp_path / "buckets").glob(".index.db*"):
        path.unlink()
    store = opened(tmp_path)
    try:
        assert [store.head("demo", record.key) for record in kept] == kept
        assert [entry.key for entry in store.list("demo")] == ["joined", "k"]
        assert [bucket.region for bucket in store.buckets()] == [REGION]
        with store.open("demo", "joined") as file:
            assert file.read() == b"\1" * PART + b"\2" * 3
        assert len(files(tmp_path)) == 1 + 1 + 3, "the pending part is gone"
    finally:
        store.close()


def test_what_a_kill_leaves_is_swept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create_bucket("demo", ACCOUNT, REGION)
    store.put("demo", "k", [b"kept"])
    kept = files(tmp_path)
    half = store.begin("demo")
    half.write(b"half")
    orphan = store.begin("demo")
    orphan.publish(ObjectRecord("k", 0, "", 0, orphan.blob, {}, {}))
    (tmp_path / "buckets" / "unborn").mkdir()
    assert len(files(tmp_path)) == len(kept) + 2
    store.close()
    store = opened(tmp_path)
    try:
        assert files(tmp_path) == kept
        assert not (tmp_path / "buckets" / "unborn").exists()
        with store.open("demo", "k") as file:
            assert file.read() == b"kept"
    finally:
        store.close()
        half.abandon()


def test_a_bucket_folder_that_the_index_does_not_know_is_adopted(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "1"), opened(tmp_path / "2")
    first.create_bucket("demo", ACCOUNT, REGION)
    record = first.put("demo", "k", [b"moved"])
    first.close()
    second.close()
    (tmp_path / "1" / "buckets" / "demo").rename(tmp_path / "2" / "buckets" / "demo")
    second = opened(tmp_path / "2")
    try:
        assert second.head("demo", "k") == record
    finally:
        second.close()


def test_a_footer_says_what_a_blob_is(store: ObjectStore, tmp_path: Path) -> None:
    record = store.put("demo", "k", [b"bytes"])
    path = store.blobs.path("demo", record.blob)
    assert path.read_bytes().startswith(b"bytes")
    assert read_footer(path) == record
    assert path.stat().st_mode & 0o777 == 0o600
    broken = tmp_path / "broken"
    broken.write_bytes(path.read_bytes().replace(b'"key":"k"', b'"key":"x"'))
    with pytest.raises(ValueError, match="broken footer"):
        read_footer(broken)
    broken.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="no footer"):
        read_footer(broken)


def test_the_index_is_this_users_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "buckets" / ".index.db").chmod(0o644)
    store = opened(tmp_path)
    store.create_bucket("demo", ACCOUNT, REGION)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "buckets").glob(".index.db*")} == {
        ".index.db": 0o600, ".index.db-wal": 0o600, ".index.db-shm": 0o600
    }  # fmt: skip
    store.close()


def test_a_newer_index_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.index.write() as index:
        index._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(IndexFormatError, match=r"format 99; this Clary knows up to 2\. Use the Clary that wrote it"):
        opened(tmp_path)


# -- versions ----------------------------------------------------------------------------------------------------------


def keep_versions(store: ObjectStore) -> None:
    store.change_bucket("demo", lambda bucket: msgspec.structs.replace(bucket, versioning=ENABLED))


def test_a_clock_that_is_set_back_hides_nothing(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = ObjectStore(tmp_path / "buckets", clock, SystemIds())
    store.create_bucket("demo", ACCOUNT, REGION)
    keep_versions(store)
    records = [store.put("demo", "k", [b"1"])]
    store.clock = VirtualClock(clock.now_us() - 3_600_000_000)
    records.append(store.put("demo", "k", [b"2"]))
    assert store.head("demo", "k") == records[-1]
    [marker] = versions.delete(store, "demo", [Target("k")])
    with pytest.raises(Hidden) as caught:
        store.open("demo", "k")
    assert caught.value.version == marker.version
    records.append(store.put("demo", "k", [b"3"]))
    assert store.head("demo", "k") == records[-1]
    store.close()
    for path in (tmp_path / "buckets").glob(".index.db*"):
        path.unlink()
    store = ObjectStore(tmp_path / "buckets", clock, SystemIds())
    try:
        assert [one.version for one in versions.page(store, "demo").versions] == [
            records[2].version, marker.version, records[1].version, records[0].version
        ]  # fmt: skip
        assert store.head("demo", "k") == records[-1]
    finally:
        store.close()


def test_a_removed_version_leaves_no_file(store: ObjectStore, tmp_path: Path) -> None:
    keep_versions(store)
    record = store.put("demo", "k", [b"1"])
    versions.set_tags(store, "demo", "k", {"a": "1"})
    versions.set_tags(store, "demo", "k", {"a": "2"})
    [marker] = versions.delete(store, "demo", [Target("k")])
    assert len(files(tmp_path)) == 4, "bucket, object, its tags, marker"
    reader = store.read("demo", "k", record.version)
    versions.delete(store, "demo", [Target("k", record.version), Target("k", marker.version)])
    assert reader.read_at(0, 1) == b"1", "what is being read stays until it was read"
    reader.close()
    assert len(files(tmp_path)) == 1
    store.delete_bucket("demo")


def test_an_index_of_the_format_before_is_raised(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create_bucket("demo", ACCOUNT, REGION)
    records = [store.put("demo", key, [key.encode()]) for key in ("a", "b")]
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "buckets" / ".index.db")) as index, index:
        index.executescript(
            "DROP INDEX object_now; DROP INDEX object_by_age; ALTER TABLE object DROP COLUMN current;"
            "ALTER TABLE object DROP COLUMN marker; ALTER TABLE object DROP COLUMN tag_blob;"
            "ALTER TABLE bucket DROP COLUMN record; PRAGMA user_version = 1"
        )
    store = opened(tmp_path)
    try:
        assert [entry.key for entry in store.list("demo")] == ["a", "b"]
        assert [store.head("demo", record.key) for record in records] == records
        keep_versions(store)
        versions.delete(store, "demo", [Target("a")])
        assert [entry.key for entry in store.list("demo")] == ["b"]
        assert store.head("demo", "a", "") == records[0]
    finally:
        store.close()
