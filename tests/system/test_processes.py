"""Real processes: agent, zygote, workers; what dies comes back, what lives is adopted, what stops leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.agent.options import NOT_USABLE
from clary.placement.base import ReplicaPhase
from clary.placement.local import LocalPlacement
from tests.support.processes import Ground, Peer, alive, echo_package, free_port, ground, phase, until


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return echo_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def base(tmp_path: Path, package: Path) -> Iterator[Ground]:
    with ground(tmp_path, package) as it:
        yield it


async def ask(address: str, body: bytes) -> tuple[int, bytes]:
    def call() -> tuple[int, bytes]:
        with Peer(address) as peer:
            return peer.ask(body)

    return await asyncio.to_thread(call)


async def pid_behind(placement: LocalPlacement, uid: str) -> int:
    state = placement.observed()[uid]
    return int((await ask(state.address, b"pid"))[1])


async def test_a_replica_is_forked_and_answers(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, env={"SOME": "thing"})
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        running = base.running()
        (zygote,) = [pid for uid, pid in running.items() if uid.startswith("zygote-")]
        assert (await ask(state.address, b"parent"))[1] == str(zygote).encode()
        assert (await ask(state.address, b"session"))[1] == str(running[spec.uid]).encode()
        assert state.libraries == {"echo": "1.0"}
        assert (state.width, state.pid, state.restarts) == (3, running[spec.uid], 0)
        names = eval((await ask(state.address, b"environ"))[1])
        assert "SOME" in names
        assert "HOME" not in names
        fds = eval((await ask(state.address, b"fds"))[1])
        assert not [fd for fd in fds if fd.startswith("/") and "/memfd" not in fd], fds
        verdicts = json.loads((base.home / "run" / "forks.json").read_text())["verdicts"]
        assert [v["fork"] for v in verdicts.values()] == ["safe"]


async def test_siblings_draw_different_numbers(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        specs = [base.spec(tmp_path) for _ in range(2)]
        await placement.apply(specs)
        states = [await phase(placement, spec.uid, ReplicaPhase.READY) for spec in specs]
        first, second = [(await ask(state.address, b"random"))[1] for state in states]
        assert first != second


async def test_a_killed_worker_is_back_at_once(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path)
        await placement.apply([spec])
        await phase(placement, spec.uid, ReplicaPhase.READY)
        before = await pid_behind(placement, spec.uid)
        os.kill(before, signal.SIGKILL)
        await phase(placement, spec.uid, ReplicaPhase.STARTING)
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        assert state.restarts == 1
        assert await pid_behind(placement, spec.uid) != before
        ended = [json.loads(line) for line in (base.home / "logs" / "agent.log").read_text().splitlines()]
        (kill,) = [line for line in ended if line.get("uid") == spec.uid and "signal" in line]
        assert kill["event"] == "A process was killed by signal 9 (SIGKILL)."
        assert kill["maxrss_bytes"] > 1_000_000


async def test_workers_outlive_their_zygote(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path)
        await placement.apply([spec])
        await phase(placement, spec.uid, ReplicaPhase.READY)
        worker = await pid_behind(placement, spec.uid)
        (uid, zygote) = next(item for item in base.running().items() if item[0].startswith("zygote-"))
        os.kill(zygote, signal.SIGKILL)
        until(lambda: base.running().get(uid) not in (None, zygote), "the zygote is back")
        assert await pid_behind(placement, spec.uid) == worker
        assert int((await ask(placement.observed()[spec.uid].address, b"parent"))[1]) == base.agents[0].pid
        os.kill(worker, signal.SIGKILL)
        await phase(placement, spec.uid, ReplicaPhase.STARTING)
        await phase(placement, spec.uid, ReplicaPhase.READY)


async def test_an_unproven_runtime_gets_fresh_processes(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, runtime="spawned")
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        assert int((await ask(state.address, b"parent"))[1]) == base.agents[0].pid
        until(lambda: "unsafe" in (base.home / "run" / "forks.json").read_text())
        other = base.spec(tmp_path, runtime="spawned")
        await placement.apply([other])
        await phase(placement, other.uid, ReplicaPhase.READY)
        until(lambda: not [uid for uid in base.running() if uid.startswith("zygote-")], "no zygote is kept")


async def test_a_new_agent_adopts_what_runs(base: Ground, tmp_path: Path) -> None:
    first = base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path)
        await placement.apply([spec])
        await phase(placement, spec.uid, ReplicaPhase.READY)
        worker, router, before = await pid_behind(placement, spec.uid), base.get(), base.running()
        first.kill()
        first.wait()
        assert base.get() == router
        base.start()
        assert base.get() == router
        assert await pid_behind(placement, spec.uid) == worker
        assert base.running() == before
        os.kill(worker, signal.SIGKILL)
        await phase(placement, spec.uid, ReplicaPhase.STARTING)
        await phase(placement, spec.uid, ReplicaPhase.READY)
        os.kill(int(router), signal.SIGKILL)
        assert until(base.get) != router


async def test_a_dead_router_refuses_nobody(base: Ground) -> None:
    base.start()
    for _ in range(5):
        os.kill(int(base.get()), signal.SIGKILL)
        until(base.get)


def test_a_new_agent_on_another_port_replaces_what_listened_on_the_old_one(base: Ground) -> None:
    first = base.start()
    before, old_port = base.running(), base.port
    first.kill()
    first.wait()
    base.start(port=free_port())
    assert base.port != old_port
    assert until(base.get) != str(before["router-0"])
    until(lambda: not [pid for pid in before.values() if alive(pid)], "the old control and router end")


async def test_control_restarts_and_nothing_else_does(base: Ground, tmp_path: Path) -> None:
    base.start()
    spec = base.spec(tmp_path)
    async with base.placement() as placement:
        await placement.apply([spec])
        await phase(placement, spec.uid, ReplicaPhase.READY)
        worker = await pid_behind(placement, spec.uid)
    async with base.placement() as placement:
        assert spec.uid in placement.observed()
        await phase(placement, spec.uid, ReplicaPhase.READY)
        table = (base.home / "run" / "processes.json").read_text()
        await placement.apply([spec])
        assert (base.home / "run" / "processes.json").read_text() == table
        assert await pid_behind(placement, spec.uid) == worker
    os.kill(base.running()["control"], signal.SIGKILL)
    until(lambda: base.running().get("control"), "control is back")
    assert alive(worker)


async def test_a_replica_that_leaves_the_table_answers_what_it_has(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec, other = base.spec(tmp_path), base.spec(tmp_path)
        await placement.apply([spec, other])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        with Peer(state.address) as peer:
            peer.send(b"wait 0.3")
            await placement.apply([other])
            assert placement.observed()[spec.uid].phase is not ReplicaPhase.READY, "seen until its process has ended"
            frame = await asyncio.to_thread(peer.frame)
            if frame.kind.name == "DRAIN":
                frame = await asyncio.to_thread(peer.frame)
            assert frame.body == b"wait 0.3"
        until(lambda: spec.uid not in base.running(), "the worker ends")
        until(lambda: not base.runtime_dir.joinpath(f"w-{spec.uid}.sock").exists())
        async for _ in placement.changes():
            if spec.uid not in placement.observed():
                break
        await phase(placement, other.uid, ReplicaPhase.READY)


@pytest.mark.parametrize(
    ("env", "facts", "cause"),
    [
        ({"CAUSE": "It is no model."}, {}, "It is no model."),
        ({"CRASH": "1"}, {}, "killed by signal 11 (SIGSEGV) while loading, 3 times"),
        ({"MISSING": "1"}, {}, "The library 'nowhere' that this model needs cannot be imported"),
        ({"SLEEP": "60"}, {"load_timeout_s": 0.2}, "did not load within 0.2 s"),
        (
            {"EAT": "200"},
            {"memory_bytes_max": 100 * 1024 * 1024},
            "more memory than its limit of 100 MiB while loading",
        ),
    ],
)
async def test_why_a_replica_fails(
    base: Ground, tmp_path: Path, env: dict[str, str], facts: dict[str, object], cause: str
) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, env=env, **facts)
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.FAILED)
        assert cause in state.cause
        assert state.remedy
        await placement.apply([])
        until(lambda: spec.uid not in base.running())


async def test_a_worker_over_its_memory_limit_is_killed_and_comes_back(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, memory_bytes_max=100 * 1024 * 1024)
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        await ask(state.address, b"eat 200")
        await phase(placement, spec.uid, ReplicaPhase.STARTING)
        await phase(placement, spec.uid, ReplicaPhase.READY)
        assert '"reason": "oom"' in (base.home / "logs" / "agent.log").read_text()


async def test_what_a_model_started_ends_with_it(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path)
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        child = int((await ask(state.address, b"child"))[1])
        await placement.apply([])
        until(lambda: not alive(child), "the child of the model ends")


async def test_the_stop_is_ordered_and_complete(base: Ground, tmp_path: Path) -> None:
    agent = base.start()
    async with base.placement() as placement:
        specs = [base.spec(tmp_path), base.spec(tmp_path, runtime="spawned")]
        await placement.apply(specs)
        for spec in specs:
            await phase(placement, spec.uid, ReplicaPhase.READY)
        pids = base.running()
        agent.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(agent.wait, 20) == 0
    assert not [pid for pid in pids.values() if alive(pid)]
    assert agent.stdout is not None
    assert "Stopping: requests finish first, then 6 processes end." in agent.stdout.read()
    lines = [json.loads(line) for line in (base.home / "logs" / "agent.log").read_text().splitlines()]
    kinds = [line["kind"] for line in lines if line.get("reason") == "stop"]
    assert kinds == sorted(kinds, key=["router", "worker", "zygote", "control"].index)
    assert not base.runtime_dir.exists()
    assert not base.config.exists()


def answers(address: str) -> bool:
    """Whether a replica answers now."""
    with contextlib.suppress(EOFError), Peer(address) as peer:
        return peer.ask(b"pid")[0] == 200
    return False


def processes_of(base: Ground) -> set[int]:
    """Every process whose output goes into a log of this HOME: all that an agent or a zygote of it started."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "fd" / "1").readlink().is_relative_to(base.home):
                found.add(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_anything_killed_at_any_moment_converges_and_leaks_nothing(
    base: Ground, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    base.start()
    async with base.placement() as placement:
        specs = [base.spec(tmp_path, runtime=draw.choice(["echo", "echo", "spawned"])) for _ in range(3)]
        await placement.apply(specs)
        for _ in range(25):
            await asyncio.sleep(draw.random() * 0.3)
            if draw.random() < 0.2:
                specs = [*specs[1:], base.spec(tmp_path)]
                await placement.apply(specs)
            if draw.random() < 0.25:
                base.agents[-1].kill()
                base.agents[-1].wait()
                await asyncio.to_thread(base.start)
            elif running := base.running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running[draw.choice(sorted(running))], signal.SIGKILL)
        for spec in specs:
            await phase(placement, spec.uid, ReplicaPhase.READY)
        until(lambda: {spec.uid for spec in specs} == {uid for uid in base.running() if len(uid) == 26})
        for spec in specs:
            until(lambda: answers(f"unix:{base.runtime_dir}/w-{spec.uid}.sock"))  # noqa: B023
        until(lambda: processes_of(base) == set(base.running().values()), "no other process is left")
    assert base.get()


def test_nonsense_at_the_agents_socket_harms_nobody(base: Ground) -> None:
    base.start()
    lines = [b"nonsense", b"[]", b'{"op": 7}', b'{"op": "announce"}', b'{"op": "forked"}', b'{"op": "what"}']
    for line in lines:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(str(base.runtime_dir / "agent.sock"))
            peer.sendall(line + b"\n")
            peer.recv(4096)
    with socket.socket(socket.AF_UNIX) as peer:  # a lifeline that then talks nonsense
        peer.settimeout(10)
        peer.connect(str(base.runtime_dir / "agent.sock"))
        peer.sendall(b'{"op": "announce", "uid": "control", "nonce": "x"}\n')
        assert b'"unknown"' in peer.recv(4096)
    assert base.get() == str(base.running()["router-0"])


@pytest.mark.slow
async def test_orphans_that_nobody_adopts_end_by_themselves(base: Ground, tmp_path: Path) -> None:
    agent = base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path)
        await placement.apply([spec])
        await phase(placement, spec.uid, ReplicaPhase.READY)
    pids = base.running()
    agent.kill()
    until(lambda: not [pid for pid in pids.values() if alive(pid)], "all orphans end", wait_s=60)


def test_a_second_interrupt_kills(base: Ground) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    control = base.options["control"]
    agent = base.start(control=[*control[:2], stubborn + control[2]])
    pids = base.running()
    agent.send_signal(signal.SIGINT)
    until(lambda: not alive(pids["router-0"]))
    assert alive(pids["control"])
    agent.send_signal(signal.SIGINT)
    assert agent.wait(10) == 130
    assert not alive(pids["control"])


def test_a_second_agent_is_refused(base: Ground) -> None:
    first = base.start()
    second = base.start_only()
    text, _ = second.communicate(timeout=20)
    assert second.returncode == NOT_USABLE
    assert f"Clary already serves {base.home} (pid {first.pid})" in text
    assert base.get()


def test_a_taken_port_is_named_with_a_remedy(base: Ground) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        agent = base.start_only(port=port)
        text, _ = agent.communicate(timeout=20)
    assert agent.returncode == NOT_USABLE
    assert f"port {port} on 127.0.0.1 is taken" in text
    assert f"--port {port + 1}" in text


def test_a_home_of_a_newer_clary_is_refused(base: Ground) -> None:
    base.home.mkdir(parents=True)
    (base.home / "format").write_text("7\n")
    agent = base.start_only()
    text, _ = agent.communicate(timeout=20)
    assert agent.returncode == NOT_USABLE
    assert "has format 7, written by a newer Clary" in text


def test_control_that_cannot_start_is_told_with_its_log(base: Ground) -> None:
    agent = base.start_only(control=["/bin/sh", "-c", "echo no such option >&2; exit 3"], routers=[])
    text, _ = agent.communicate(timeout=20)
    assert agent.returncode == 1
    assert "control exited with status 3 3 times before the server was ready" in text
    assert "  no such option" in text


def test_a_long_log_is_cut_and_written_on(base: Ground) -> None:
    noisy = "import time\nprint('x' * 10000, flush=True)\n"
    control = base.options["control"]
    base.start(control=[*control[:2], noisy + control[2]])
    log = base.home / "logs" / "control.log"
    until(lambda: log.with_name("control.log.1").exists(), "the log is cut")
    until(lambda: log.stat().st_size == 0)


def test_the_agent_imports_the_standard_library_only() -> None:
    names = "{m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)"
    code = f"import sys, clary.agent.loop; print(*{names})"
    found = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False,
                           env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")})  # fmt: skip
    assert set(found.stdout.split()) == {"__main__", "clary"}, found.stderr
