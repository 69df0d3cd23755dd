"""A disk that takes nothing: the agent goes on, and catches up when it can."""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.agent import handover, journal
from clary.agent.door import Connection
from clary.agent.plan import Phase
from clary.agent.slot import Slot
from clary.agent.supervisor import Supervisor, SupervisorOptions
from clary.agent.table import ProcessSpec


def test_a_line_that_finds_no_room_is_lost_and_nothing_else() -> None:
    log = journal.Journal(Path("/dev/full"))
    log.write("A process started.")
    log.close()


def test_a_long_log_stays_where_its_copy_finds_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"x" * 100)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "sendfile", full)
    assert not journal.cut(log, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]
    assert log.stat().st_size == 100


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Supervisor]:
    """One whose HOME/run does not exist, so that writing there fails as on a full disk."""
    options = SupervisorOptions(tmp_path / "agent.sock", tmp_path / "logs", tmp_path / "run" / "agent.json", 60.0, 30.0)
    log = journal.Journal(tmp_path / "agent.log")
    with selectors.DefaultSelector() as selector:
        yield Supervisor(options, selector, log, dict, lambda _event: None)
    log.close()


def test_what_runs_is_written_down_as_soon_as_it_can_be(agent: Supervisor, tmp_path: Path) -> None:
    agent.port = 8430
    for _ in range(3):
        agent.remember()
    assert handover.read_handover(tmp_path / "run" / "agent.json").port == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "agent.log").read_text().splitlines()]
    assert events == ["What runs cannot be written down."]
    (tmp_path / "run").mkdir()
    agent.remember()
    assert handover.read_handover(tmp_path / "run" / "agent.json").port == 8430


def test_a_worker_without_room_for_its_log_is_tried_again_later(agent: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "endpoints").write_bytes(b"")  # a file where the folder of logs should be
    zygote = ProcessSpec("z", "zygote", ("z",))
    worker = ProcessSpec("w", "worker", ("w",), zygote="z", log=str(tmp_path / "endpoints" / "a" / "w.log"))
    agent.slots = {"z": Slot(zygote, Phase.RUNNING), "w": Slot(worker, Phase.IDLE)}
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        agent.slots["z"].connection = Connection(ours, selector)
        agent._fork(agent.slots["w"], 0.0)
    assert (agent.slots["w"].phase, agent.slots["w"].failures) == (Phase.IDLE, 1)
