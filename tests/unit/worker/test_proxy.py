"""The worker of a server of one's own, as a process: frames, deadlines, draining, and a command that is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clary.replica import frames
from clary.replica.frames import Kind, Tag
from clary.worker.command import environment
from clary.worker.options import VARIABLE, ServerOptions, WorkerOptions, read_options
from tests.support.processes import Peer

SCRIPT = Path(__file__).parents[2] / "support" / "own_server.py"
QUICK = (
    "import clary.worker.command as c; c.PING_S = c.PING_TIMEOUT_S = 0.1; "
    "import sys; from clary.worker.boot import main; sys.exit(main())"
)


def options(folder: Path, *arguments: str, **more: Any) -> WorkerOptions:
    server = ServerOptions((sys.executable, str(SCRIPT), *arguments))
    return WorkerOptions(
        uid="u", socket=str(folder / "w.sock"), runtime="server", model_dir=str(folder), server=server,
        drain_quiet_s=0.05, **more,
    )  # fmt: skip


@contextmanager
def worker(told: WorkerOptions) -> Iterator[subprocess.Popen[bytes]]:
    """The process; killed in the end with its command, which is in its group."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), VARIABLE: told.to_json()}
    log = Path(told.socket).with_suffix(".log").open("wb")
    with log:
        process = subprocess.Popen([sys.executable, "-c", QUICK], env=env, stderr=log, stdout=log, process_group=0)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connect(told: WorkerOptions) -> Peer:
    end = time.monotonic() + 20
    while True:
        try:
            return Peer(told.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < end
            time.sleep(0.02)


def test_options_survive_the_environment(tmp_path: Path) -> None:
    told = options(tmp_path)
    assert read_options({VARIABLE: told.to_json()}) == told


def test_the_command_gets_a_clean_environment(tmp_path: Path) -> None:
    server = ServerOptions(("x",), env={"A": "image", "B": "image", "PATH": "/image"})
    told = WorkerOptions(uid="u", socket="s", runtime="server", model_dir="/m", env={"B": "model"}, server=server)
    own = {"CLARY_WORKER": "{}", "CLARY_NONCE": "n", "B": "model", "PATH": "/usr/bin", "SM_MODEL_DIR": "/m"}
    assert environment(told, server, 4321, own) == {
        "A": "image", "B": "model", "SM_MODEL_DIR": "/m", "PORT": "4321", "SAGEMAKER_BIND_TO_PORT": "4321",
        "PATH": f"{Path(sys.executable).parent}:/image", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_many_at_once_deadlines_cancels_and_streams(tmp_path: Path) -> None:
    told = options(tmp_path)
    with worker(told), connect(told) as peer:
        assert (peer.report["state"], peer.report["runtime"]) == ("ready", "server")
        assert frames.number(peer.hello.head, Tag.CREDITS) == 64
        # Both wait in the server at the same time, and answers come in the order in which they are done.
        slow, quick = peer.send(b"wait 0.3", b"wait 0")
        assert [peer.frame().id, peer.frame().id] == [quick, slow]
        peer.send(b"wait 60", deadline_ms=frames.u32(50))
        late = peer.frame()
        assert (frames.number(late.head, Tag.STATUS), late.head[Tag.ERROR]) == (0, b"timeout")
        (left,) = peer.send(b"wait 60")
        peer.socket.sendall(frames.encode(Kind.CANCEL, left, {}))
        gone = peer.frame()
        assert (gone.id, gone.head[Tag.ERROR]) == (left, b"cancelled")
        seen = json.loads(peer.ask(b"?", traceparent=b"00-1-2-01", tracestate=b"a=1", amzn_trace_id=b"Root=1")[1])
        assert {(name.lower(), value) for name, value in seen["headers"].items()} >= {
            ("traceparent", "00-1-2-01"), ("tracestate", "a=1"), ("x-amzn-trace-id", "Root=1"),
        }  # fmt: skip
        assert peer.ask(b"teapot") == (418, b"short and stout")
        peer.send(b"stream", stream=b"")
        parts = []
        while (frame := peer.frame()).kind is Kind.CHUNK:
            parts.append(bytes(frame.body))
        assert (frame.kind, b"".join(parts)) == (Kind.END, b"one two three")
        assert peer.ask(b"x", target_model=b"m")[0] == 400


def test_it_drains_what_it_has_and_ends_with_its_command(tmp_path: Path) -> None:
    told = options(tmp_path)
    with worker(told) as process, connect(told) as peer:
        port = int(json.loads(peer.ask(b"where?")[1])["env"]["PORT"])
        (slow,) = peer.send(b"wait 0.4")
        (ping,) = peer.send(b"", kind=Kind.PING)
        assert peer.frame().id == ping  # the request is taken
        process.send_signal(signal.SIGTERM)
        assert peer.frame().kind is Kind.DRAIN
        answer = peer.frame()
        assert (answer.id, bytes(answer.body)) == (slow, b"waited")
        assert process.wait(20) == 0
        assert not Path(told.socket).exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(("body", "why"), [(b"die", "exited with status 3"), (b"sick", "3 times in a row")])
def test_a_command_that_ends_or_hangs_ends_the_worker(tmp_path: Path, body: bytes, why: str) -> None:
    told = options(tmp_path)
    with worker(told) as process, connect(told) as peer:
        peer.send(body)
        assert process.wait(20) == 70
    assert why in (tmp_path / "w.log").read_text()


@pytest.mark.parametrize(
    ("command", "limit_s", "says"),
    [
        ((sys.executable, str(SCRIPT), "--broken"), 60.0, "The command exited with status 4 before it answered /ping."),
        (("/no/such/program",), 60.0, "The command '/no/such/program' could not be started"),
        ((sys.executable, "-c", "import threading; threading.Event().wait()"), 0.5, "within 0.5 s"),
    ],
)
def test_a_command_that_does_not_come_up_is_a_replica_that_says_why(
    tmp_path: Path, command: tuple[str, ...], limit_s: float, says: str
) -> None:
    told = WorkerOptions(
        uid="u", socket=str(tmp_path / "w.sock"), runtime="server", model_dir=str(tmp_path),
        server=ServerOptions(command), load_timeout_s=limit_s, drain_quiet_s=0.05,
    )  # fmt: skip
    with worker(told) as process, connect(told) as peer:
        assert peer.report["state"] == "failed"
        assert says in peer.report["cause"]
        assert peer.ask(b"x")[0] == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
