"""The lifeline: announces, waits for a new agent, gives up in time, and hands its listener over."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

from clary.kit.lifeline import Identity, Lifeline, identity_of, peer_of


def agent(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(10)
    return listener


def announced(peer: socket.socket) -> dict[str, object]:
    peer.settimeout(10)
    with peer.makefile("rb") as lines:
        found: dict[str, object] = json.loads(lines.readline())
    return found


def test_an_orphan_knocks_again_and_is_adopted_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    orphaned = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as public:
        lifeline = Lifeline(path, "router-0", "router", "n", orphaned.set, listener_fd=public.fileno(), grace_s=60)
        with agent(path) as first:
            lifeline.start()
            peer, _ = first.accept()
            who = {"uid": "router-0", "kind": "router", "pid": os.getpid(), "nonce": "n"}
            assert announced(peer) == {"op": "announce", **who, "listener": True}
            assert peer_of(peer) == (os.getpid(), os.getuid())
            peer.close()
        path.unlink()
        with agent(path) as second:
            peer, _ = second.accept()
            peer.settimeout(10)
            raw, fds, _, _ = socket.recv_fds(peer, 4096, 1)
            with socket.socket(fileno=fds[0]) as adopted:
                assert adopted.getsockname() == public.getsockname()
            assert b'"uid": "router-0"' in raw
            assert not orphaned.is_set()
            lifeline.stop()
            peer.close()


def test_an_orphan_nobody_adopts_gives_up(tmp_path: Path) -> None:
    orphaned = threading.Event()
    Lifeline(tmp_path / "agent.sock", "w", "worker", "n", orphaned.set, grace_s=0.1).start()
    assert orphaned.wait(10)


def test_one_the_agent_does_not_know_gives_up_at_once(tmp_path: Path) -> None:
    orphaned = threading.Event()
    with agent(tmp_path / "agent.sock") as listener:
        Lifeline(tmp_path / "agent.sock", "w", "worker", "n", orphaned.set, grace_s=3600).start()
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b'{"op": "unknown"}\n')
            assert orphaned.wait(10)


def test_other_lines_are_handed_over(tmp_path: Path) -> None:
    lines: list[object] = []
    orphaned = threading.Event()
    with agent(tmp_path / "agent.sock") as listener:
        Lifeline(tmp_path / "agent.sock", "z", "zygote", "n", orphaned.set, on_line=lines.append).start()
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b'{"op": "welcome"}\n{"op": "fork"}\n{"op": "unknown"}\n')
            assert orphaned.wait(10)
    assert lines == [{"op": "welcome"}, {"op": "fork"}]


def test_an_identity_travels_by_environment() -> None:
    me = Identity("/run/agent.sock", "u", "worker", "n")
    assert identity_of(me.to_environ()) == me
    assert identity_of({"CLARY_UID": "u"}) is None
