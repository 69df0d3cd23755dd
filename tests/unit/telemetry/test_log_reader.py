"""Lines are read once each, whole, from where a reader left off."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.telemetry import log_reader
from clary.telemetry.log_reader import Piece, read_lines


def test_each_whole_line_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\nthr")
    assert read_lines(path, 0, 100) == Piece([b"one", b"two"], 8, more=False)
    assert read_lines(path, 8, 100) == Piece([], 8, more=False)
    with path.open("ab") as out:
        out.write(b"ee\n\n")
    assert read_lines(path, 8, 100) == Piece([b"three", b""], 15, more=False)


def test_a_long_backlog_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(100)))
    at, lines = 0, []
    while True:
        piece = read_lines(path, at, 50)
        lines += piece.lines
        at = piece.position
        if not piece.more:
            break
    assert lines == [b"line %d" % number for number in range(100)]


def test_a_file_that_shrank_began_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"new\n")
    assert read_lines(path, 1000, 100) == Piece([b"new"], 4, more=False)


def test_a_line_longer_than_a_piece_is_read_whole_and_a_monster_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 90 + b"\nshort\n")
    assert read_lines(path, 0, 10).lines == [b"x" * 90]
    monkeypatch.setattr(log_reader, "LINE_BYTES_MAX", 50)
    at, lines = 0, []
    for _ in range(5):
        piece = read_lines(path, at, 10)
        at, lines = piece.position, lines + piece.lines
    assert lines[-1:] == [b"short"]
    assert at == path.stat().st_size


def test_only_files_of_events_say_what_was_cut_off(tmp_path: Path) -> None:
    for name, piece in (
        ("a.events", Piece([b"{}"], 1003, more=False)),
        ("a.log", Piece([b'{"base":1000}', b"{}"], 17, more=False)),
    ):
        (tmp_path / name).write_bytes(b'{"base":1000}\n{}\n')
        assert read_lines(tmp_path / name, 0, 100) == piece


def test_a_file_that_is_gone_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_lines(tmp_path / "none", 0, 100)
