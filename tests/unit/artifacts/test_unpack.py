"""Unpacking trusts nothing: every hostile archive is refused with a cause and a remedy, and leaves nothing outside."""

import contextlib
import gzip
import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.artifacts.base import Limits
from clary.artifacts.digest import digest_of, read_entries
from clary.artifacts.unpack import unpack
from clary.domain.errors import ArtifactError
from tests.support.archives import member, packed, tar

GOOD = packed(
    member("./", kind=tarfile.DIRTYPE), member("./xgboost-model", b"weights" * 1000), member("code/run", b"x", 0o755)
)


def unpacked(raw: bytes, folder: Path, limits: Limits | None = None) -> list[str]:
    target = folder / "into"
    target.mkdir()
    return sorted(entry.path for entry in unpack(io.BytesIO(raw), target, limits or Limits()))


def refusal(raw: bytes, folder: Path, limits: Limits | None = None) -> ArtifactError:
    with pytest.raises(ArtifactError) as refused:
        unpacked(raw, folder, limits)
    assert sorted(p.name for p in folder.iterdir()) == ["into"], "something was written beside the folder"
    assert refused.value.remedy.endswith(".")
    return refused.value


def test_plain_files_come_out_with_modes_of_ours(tmp_path: Path) -> None:
    assert unpacked(GOOD, tmp_path) == ["code/run", "xgboost-model"]
    assert (tmp_path / "into/xgboost-model").read_bytes() == b"weights" * 1000
    assert (tmp_path / "into/xgboost-model").stat().st_mode & 0o7777 == 0o444
    assert (tmp_path / "into/code/run").stat().st_mode & 0o7777 == 0o555


def test_the_manifest_is_what_is_on_disk(tmp_path: Path) -> None:
    entries = unpack(io.BytesIO(GOOD), tmp_path, Limits())
    assert digest_of(entries) == digest_of(read_entries(tmp_path))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_dialect(form: int, tmp_path: Path) -> None:
    assert unpacked(packed(member("a/" * 12 + "model", b"1"), form=form), tmp_path) == ["a/" * 12 + "model"]


def test_a_gzip_of_several_members_is_one(tmp_path: Path) -> None:
    whole = tar([member("m", b"abc" * 1000)])
    assert unpacked(gzip.compress(whole[:700]) + gzip.compress(whole[700:]), tmp_path) == ["m"]


LONG = "n" * 300
HOSTILE = {
    "parent": (packed(member("../escaped", b"x")), "'../escaped', which leaves its folder"),
    "parent inside": (packed(member("a/../../escaped", b"x")), "leaves its folder"),
    "absolute": (packed(member("/tmp/escaped", b"x")), "absolute path '/tmp/escaped'"),
    "symbolic link": (packed(member("l", kind=tarfile.SYMTYPE, link="/etc/passwd")), "a symbolic link: 'l'"),
    "through a link": (
        packed(member("l", kind=tarfile.SYMTYPE, link=".."), member("l/escaped", b"x")),
        "a symbolic link",
    ),
    "hard link": (packed(member("a", b"x"), member("h", kind=tarfile.LNKTYPE, link="a")), "a hard link: 'h'"),
    "character device": (packed(member("d", kind=tarfile.CHRTYPE)), "a device"),
    "block device": (packed(member("d", kind=tarfile.BLKTYPE)), "a device"),
    "pipe": (packed(member("p", kind=tarfile.FIFOTYPE)), "a named pipe"),
    "unknown kind": (packed(member("u", kind=b"V")), "an entry of an unknown kind"),
    "setuid": (packed(member("s", b"x", mode=0o4755)), "setuid or setgid file: 's'"),
    "setgid": (packed(member("s", b"x", mode=0o2755)), "setuid or setgid file: 's'"),
    "long name": (packed(member(LONG, b"x")), "a path of 300 characters"),
    "long path": (packed(member("/".join(["d" * 200] * 8), b"x")), "a path of 1607 characters"),
    "deep": (packed(member("d/" * 40 + "f", b"x")), "nests folders 41 deep"),
    "control characters": (packed(member("a\nb", b"x")), "control characters"),
    "no name": (packed(member("./.", b"x")), "without a name"),
    "twice": (packed(member("m", b"1"), member("./m", b"2")), "'m' twice"),
    "file and folder": (packed(member("a", b"1"), member("a/b", b"2")), "'a' both as a file and as a folder"),
    "folder and file": (packed(member("a/b", b"1"), member("a", b"2")), "'a' twice"),
    "nothing": (packed(), "holds no file"),
    "folders only": (packed(member("a", kind=tarfile.DIRTYPE)), "holds no file"),
    "empty": (b"", "empty: 0 bytes"),
    "plain tar": (tar([member("m", b"x")]), "not a gzip file"),
    "text": (b"<html>access denied</html>", "not a gzip file"),
    "a gzip of something else": (gzip.compress(b"not a tar" * 200), "gzipped, but no tar archive"),
    "a gzip of nothing": (gzip.compress(b""), "gzipped, but no tar archive"),
    "garbage behind": (GOOD + b"garbage", "not a gzip file, or is damaged"),
    "a tar cut within a block": (
        gzip.compress(tar([member("m", b"x" * 2000)])[:700]),
        "no tar archive (unexpected end of data)",
    ),
    "a tar cut within a header": (
        gzip.compress(tar([member("m", b"x"), member("n", b"y")])[: 1024 + 100]),
        "within a block",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_archives_are_refused(kind: str, tmp_path: Path) -> None:
    raw, cause = HOSTILE[kind]
    assert cause in refusal(raw, tmp_path).cause


@pytest.mark.parametrize("kept", [1, 9, 20, len(GOOD) // 2, len(GOOD) - 9, len(GOOD) - 1])
def test_a_truncated_upload_is_noticed(kept: int, tmp_path: Path) -> None:
    refused = refusal(GOOD[:kept], tmp_path)
    assert "ends too early" in refused.cause or "not a gzip file" in refused.cause


def test_a_damaged_upload_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    broken = bytearray(GOOD)
    broken[-8] ^= 1  # the CRC itself
    assert "damaged" in refusal(bytes(broken), tmp_path).cause


def test_too_many_files(tmp_path: Path) -> None:
    many = packed(*(member(f"f{n}") for n in range(6)))
    assert "more than 5 files" in refusal(many, tmp_path, Limits(files_max=5)).cause
    assert not (tmp_path / "into/f5").exists()


def test_too_many_entries(tmp_path: Path) -> None:
    many = packed(*(member(f"d{n}", kind=tarfile.DIRTYPE) for n in range(6)), member("f"))
    assert "more than 5 entries" in refusal(many, tmp_path, Limits(members_max=5)).cause


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    info, _ = member("m")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert refusal(gzip.compress(bytes(header) + bytes(1024)), tmp_path).cause


def test_too_many_bytes_are_refused_before_they_are_written(tmp_path: Path) -> None:
    big = packed(member("a", b"x" * 600), member("b", b"x" * 600))
    assert "more than 1000 bytes" in refusal(big, tmp_path, Limits(bytes_max=1000)).cause
    assert not (tmp_path / "into/b").exists()


def test_a_bomb_is_noticed_by_its_ratio(tmp_path: Path) -> None:
    bomb = packed(member("zeros", bytes(8_000_000)))
    assert len(bomb) < 20_000
    limits = Limits(ratio_max=100, ratio_from_bytes=1_000_000)
    assert "more than 100 times its size" in refusal(bomb, tmp_path, limits).cause
    assert (tmp_path / "into/zeros").stat().st_size < 4_000_000


def test_a_header_cannot_fill_memory(tmp_path: Path) -> None:
    """An extended header is read whole by tarfile; here it says that it has 40 MB."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type = tarfile.XHDTYPE
    info.size = 40_000_000
    raw = gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(40_000_000))
    assert "bytes that belong to no file" in refusal(raw, tmp_path).cause


def test_a_sparse_file_counts_with_the_size_it_claims(tmp_path: Path) -> None:
    """GNU sparse: a header of one block that claims a terabyte."""
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert "unpacks to more than" in refusal(gzip.compress(bytes(header) + bytes(1024)), tmp_path).cause


def test_padding_without_end_is_refused(tmp_path: Path) -> None:
    raw = gzip.compress(tar([member("m", b"x")]) + bytes(30_000_000))
    assert "belong to no file" in refusal(raw, tmp_path).cause


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused = refusal(GOOD, tmp_path)
    assert "No space is left" in refused.cause
    assert "Free disk space" in refused.remedy


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_unpacks_rightly_or_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(tar([member("m", b"weights"), member("d/n", b"more")]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    with contextlib.suppress(ArtifactError):
        for entry in unpack(io.BytesIO(gzip.compress(bytes(whole), 1)), folder, Limits()):
            assert (folder / entry.path).stat().st_size == entry.size
    assert all(p.resolve().is_relative_to(folder) for p in folder.rglob("*"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_in_gzip_raises_artifact_errors_only(raw: bytes) -> None:
    for body in (raw, gzip.compress(raw), b"\x1f\x8b\x08" + raw, zlib.compress(raw), struct.pack("<H", 0x8B1F) + raw):
        with pytest.raises(ArtifactError):
            unpack(io.BytesIO(body), Path("/nonexistent"), Limits())
