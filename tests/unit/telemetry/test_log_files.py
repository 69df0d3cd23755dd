"""Log files are read whole through every kind of rotation."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.clock import VirtualClock
from clary.telemetry.log_files import LINE_BYTES_MAX, LogLine, Tail, follow, parse_line, read_tail


def raws(lines: list[LogLine]) -> list[str]:
    return [line.raw for line in lines]


def test_lines_of_clary_and_lines_of_a_model() -> None:
    ours = b'{"ts":"2026-01-01T00:00:00.000Z","level":"info","event":"The model is ready.","request_id":"","load_ms":3}'
    assert parse_line(ours) == LogLine(
        ours.decode(), "2026-01-01T00:00:00.000Z", "info", "The model is ready.", {"load_ms": 3}
    )
    for raw in (b"plain", b'{"ts": 1, "event": "x"}', b'{"broken', b"{}", b'["ts"]', b""):
        assert parse_line(raw) == LogLine(raw.decode(), event=raw.decode())
    assert parse_line(b"\xff\r").raw == "\ufffd"


@given(st.lists(st.text("ab \n", max_size=12).map(str.encode), max_size=8), st.integers(0, 9), st.booleans())
def test_the_last_lines(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], count: int, ended: bool) -> None:
    content = b"".join(parts) + (b"\n" if ended else b"")
    path = tmp_path_factory.getbasetemp() / "tail.log"
    path.write_bytes(content)
    whole = content.decode().split("\n")[:-1]
    assert raws(read_tail(path, count)) == (whole[-count:] if count else [])


def test_the_last_lines_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("".join(f"{number} {'x' * (number % 300)}\n" for number in range(5_000)))
    assert raws(read_tail(path, 1_500)) == path.read_text().splitlines()[-1_500:]
    assert read_tail(tmp_path / "none", 5) == []


def test_each_line_comes_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    tail = Tail(path)
    assert tail.more() == []
    with path.open("ab", buffering=0) as log:
        log.write(b"one\ntw")
        assert raws(tail.more()) == ["one"]
        assert tail.more() == []
        log.write(b"o\nthree\n")
        assert raws(tail.more()) == ["two", "three"]
    tail.close()


def test_following_goes_on_where_the_last_lines_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\nthr")
    tail = Tail(path)
    assert raws(tail.last(1)) == ["two"]
    with path.open("a") as log:
        log.write("ee\n")
    assert raws(tail.more()) == ["three"]
    tail.close()


@pytest.mark.parametrize("after", ["x\n", "a line that makes the file longer than it was before\n"])
def test_copy_and_truncate(tmp_path: Path, after: str) -> None:
    path = tmp_path / "a.log"
    path.write_text("before one\nbefore two\n")
    tail = Tail(path)
    assert len(tail.more()) == 2
    with path.open("r+") as log:
        log.truncate(0)
        log.write(after)
    assert raws(tail.more()) == [after[:-1]]
    tail.close()


def test_rename_and_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\n")
    tail = Tail(path)
    assert raws(tail.more()) == ["one"]
    moved = path.rename(tmp_path / "a.log.1")
    with moved.open("a") as old:
        old.write("two\nend without a line end")
    assert raws(tail.more()) == ["two"]
    assert tail.more() == []
    path.write_text("three\n")
    assert raws(tail.more()) == ["end without a line end"]
    assert raws(tail.more()) == ["three"]
    tail.close()


def test_an_endless_line_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * (LINE_BYTES_MAX + 10))
    tail = Tail(path)
    (piece,) = tail.more()
    assert len(piece.raw) == LINE_BYTES_MAX + 10
    tail.close()


async def test_follow_waits_for_the_file_and_for_lines(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "a.log"
    seen: list[str] = []

    async def read() -> None:
        async for line in follow(path, clock, lines=1):
            seen.append(line.raw)

    task = asyncio.ensure_future(read())
    await clock.advance(1)
    path.write_text("one\ntwo\n")
    await clock.advance(1)
    assert seen == ["one", "two"]
    with path.open("a") as log:
        log.write("three\n")
    await clock.advance(1)
    assert seen == ["one", "two", "three"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
