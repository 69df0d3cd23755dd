"""A real agent on a HOME of its own, with a control and a router that only live, and placement in the test itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import clary
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.placement.base import ReplicaPhase, ReplicaSpec
from clary.placement.local import LocalOptions, LocalPlacement
from clary.replica import frames
from clary.replica.frames import Decoder, Frame, Kind, Tag

CONTROL = """
import os, signal, sys
from pathlib import Path
from clary.kit.lifeline import Lifeline, identity_of
me = identity_of(os.environ)
Lifeline(Path(me.agent_socket), me.uid, me.kind, me.nonce).start()
while True:
    signal.pause()
"""
ROUTER = """
import os, signal, socket, sys
from pathlib import Path
from clary.kit.lifeline import Lifeline, identity_of
me = identity_of(os.environ)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
listener = socket.socket(fileno=int(sys.argv[1]))
Lifeline(Path(me.agent_socket), me.uid, me.kind, me.nonce, listener_fd=listener.fileno()).start()
while True:
    peer, _ = listener.accept()
    with peer:
        if peer.recv(65536):
            body = str(os.getpid()).encode()
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
"""
WAIT_S = 20.0


def until(condition: Callable[[], Any], what: str = "", wait_s: float = WAIT_S) -> Any:
    """What the condition gives once it is true; looks every 5 ms."""
    end_s = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(OSError):
            if value := condition():
                return value
        assert time.monotonic() < end_s, f"not within {wait_s} s: {what or condition}"
        time.sleep(0.005)


def echo_package(folder: Path) -> Path:
    """A copy of the package whose only runtime is echo_runtime.py."""
    package = folder / "clary"
    for name in ("worker", "runtimes", "replica", "domain", "kit"):
        shutil.copytree(
            Path(clary.__file__).parent / name, package / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (package / "__init__.py").write_text("")
    for name in ("registry.py", "tiny.py"):
        shutil.copy(Path(__file__).with_name("echo_runtime.py"), package / "runtimes" / name)
    return package


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Ground:
    """HOME, runtime folder and agent of one test."""

    def __init__(self, folder: Path, package: Path) -> None:
        self.home = folder / "home"
        self.package = package
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="clary-t-"))
        self.config = folder / "agent.json"
        self.options: dict[str, Any] = {
            "home": str(self.home),
            "runtime_dir": str(self.runtime_dir),
            "host": "127.0.0.1",
            "port": free_port(),
            "control": [sys.executable, "-c", CONTROL],
            "routers": [[sys.executable, "-c", ROUTER, "{listen_fd}"]],
            "banner": "ready on {port}",
            "memory_check_s": 0.1,
            "log_check_s": 0.1,
            "log_bytes_max": 4096,
        }
        self.agents: list[subprocess.Popen[str]] = []
        self.pids: set[int] = set()

    def start(self, **options: Any) -> subprocess.Popen[str]:
        """Start an agent and wait for its banner."""
        agent = self.start_only(**options)
        assert agent.stdout is not None
        banner = agent.stdout.readline()
        assert banner.startswith("ready on "), banner + (agent.stdout.read() if agent.poll() is not None else "")
        self.options["port"] = int(banner.split()[-1])  # the test may have asked for another one
        return agent

    def start_only(self, **options: Any) -> subprocess.Popen[str]:
        self.config.write_text(json.dumps({**self.options, **options}))
        agent = subprocess.Popen(
            [sys.executable, "-m", "clary.agent", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.agents.append(agent)
        return agent

    @property
    def port(self) -> int:
        return int(self.options["port"])

    def get(self) -> str:
        """What the router answers: its pid."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return peer.recv(4096).rpartition(b"\r\n")[2].decode()

    def running(self) -> dict[str, int]:
        """uid -> pid of what the agent says runs."""
        document = json.loads((self.home / "run" / "agent.json").read_text())
        found = {row["uid"]: row["pid"] for row in document["processes"]}
        self.pids |= set(found.values())
        return found

    def spec(self, tmp: Path, **facts: Any) -> ReplicaSpec:
        model_dir = tmp / "model"
        model_dir.mkdir(exist_ok=True)
        wanted: dict[str, Any] = {"runtime": "echo", "image_tag": "", "model_dir": model_dir, "artifact_digest": "d"}
        uid = SystemIds().ulid(SystemClock().now_us())
        return ReplicaSpec(uid=uid, endpoint="e", variant="v", endpoint_uid="EU", **{**wanted, **facts})

    @contextlib.asynccontextmanager
    async def placement(self) -> AsyncIterator[LocalPlacement]:
        """A control's placement, for as long as the block runs."""
        threads = Threads("placement", 4)
        local = LocalPlacement(LocalOptions(self.home, self.runtime_dir, package=self.package), SystemClock(), threads)
        running = asyncio.get_running_loop().create_task(local.run())
        try:
            yield local
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            threads.close()

    def stop(self) -> None:
        """End every agent; nothing of it may be left."""
        for agent in self.agents:
            if agent.poll() is None:
                with contextlib.suppress(OSError, ValueError):
                    self.running()
                agent.send_signal(signal.SIGTERM)
                agent.wait(WAIT_S)
            assert agent.stdout is not None
            agent.stdout.close()
        try:
            until(lambda: not [pid for pid in self.pids if alive(pid)], f"{self.pids} end")
        finally:
            for pid in self.pids:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.runtime_dir, ignore_errors=True)


async def phase(placement: LocalPlacement, uid: str, wanted: ReplicaPhase) -> Any:
    """The state of a replica once it has that phase."""
    async with asyncio.timeout(WAIT_S):
        async for _ in placement.changes():
            state = placement.observed()[uid]
            if state.phase is wanted:
                return state
    raise AssertionError


class Peer:
    """A router's end of one link, blocking."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(WAIT_S)
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._id = 0
        try:
            self.socket.connect(path.removeprefix("unix:"))
            self.socket.sendall(frames.hello("test", "n", 0))
            self.hello = self.frame()
        except BaseException:
            self.socket.close()
            raise
        self.report = json.loads(self.hello.head[Tag.REPORT])

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def frame(self) -> Frame:
        while not self._frames:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._frames += [Frame(f.kind, f.id, f.head, bytes(f.body)) for f in self._decoder.feed(data)]
        return self._frames.pop(0)

    def send(self, *bodies: bytes, kind: Kind = Kind.REQUEST, **head: Any) -> list[int]:
        """Several requests in one write."""
        raw, ids = b"", []
        tlvs = {Tag[name.upper()]: value for name, value in head.items()}
        for body in bodies:
            self._id += 1
            ids.append(self._id)
            raw += frames.encode(kind, self._id, {Tag.CONTENT_TYPE: b"text/plain", **tlvs}, len(body)) + body
        self.socket.sendall(raw)
        return ids

    def ask(self, body: bytes, **head: Any) -> tuple[int, bytes]:
        """Status and body of one answer."""
        (frame_id,) = self.send(body, **head)
        frame = self.frame()
        assert frame.id == frame_id
        return frames.number(frame.head, Tag.STATUS), bytes(frame.body)


@contextlib.contextmanager
def ground(folder: Path, package: Path) -> Iterator[Ground]:
    """A Ground that leaves nothing behind."""
    it = Ground(folder, package)
    try:
        yield it
    finally:
        it.stop()
