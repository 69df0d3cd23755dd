"""Clary's own log lines have fixed keys, whoever writes them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from clary.kit.clock import VirtualClock
from clary.telemetry import logs


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    path = tmp_path / "logs" / "control.log"
    sink = logs.configure(path, clock=VirtualClock(1_700_000_000_123_456))
    yield path
    sink.close()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_has_the_fixed_keys_in_their_order(log_file: Path) -> None:
    structlog.get_logger("name").info("A thing happened.", replica="01J", count=3, path=Path("/p"))
    (line,) = lines(log_file)
    assert list(line) == [*logs.KEYS, "count", "path"]
    assert line == {
        "ts": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "event": "A thing happened.",
        "request_id": "",
        "endpoint": "",
        "variant": "",
        "replica": "01J",
        "count": 3,
        "path": "/p",
    }


def test_what_is_bound_to_a_request_is_in_its_lines(log_file: Path) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1", endpoint="churn"):
        structlog.get_logger().warning("Slow.")
    structlog.get_logger().warning("Later.")
    assert [(line["request_id"], line["endpoint"]) for line in lines(log_file)] == [("r-1", "churn"), ("", "")]


def test_levels_below_are_left_out(log_file: Path) -> None:
    structlog.get_logger().debug("Too much.")
    logging.getLogger("library").debug("Too much.")
    logging.getLogger("library").warning("Said by %s", "logging")
    assert [(line["event"], line["level"], line["logger"]) for line in lines(log_file)] == [
        ("Said by logging", "warning", "library")
    ]


def test_an_exception_is_one_line(log_file: Path) -> None:
    try:
        int("what went wrong")
    except ValueError:
        structlog.get_logger().exception("Failed.")
        logging.getLogger("library").exception("Failed too.")
    ours, theirs = lines(log_file)
    assert "what went wrong" in str(ours["exception"])
    assert "what went wrong" in str(theirs["exception"])
    assert (ours["level"], theirs["level"]) == ("error", "error")


def test_what_json_lacks_is_written_as_text(log_file: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    structlog.get_logger().info("Odd.", number=float("nan"), key={1: 2}, loop=loop, raw=b"\xff")
    assert lines(log_file)[0]["event"] == "Odd."


def test_a_file_that_refuses_stops_nothing(tmp_path: Path, log_file: Path) -> None:
    logs.configure(tmp_path / "other.log").close()
    structlog.get_logger().info("Nobody hears this.")
    assert lines(log_file) == lines(tmp_path / "other.log") == []


def test_without_a_file_lines_go_to_standard_error(log_file: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure(None)
    structlog.get_logger().info("Hello.")
    assert json.loads(capfdbinary.readouterr().err)["event"] == "Hello."
