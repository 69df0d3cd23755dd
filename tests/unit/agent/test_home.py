"""HOME is one server's, private, and of a layout that we know."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from clary.agent.home import FORMAT, PortTakenError, listen, open_home, remove_sockets
from clary.agent.options import AgentError, AgentOptions, read_options


def test_a_new_home_is_private_and_says_its_format(short_path: Path) -> None:
    with open_home(short_path / "home", short_path / "r"):
        assert (short_path / "home" / "format").read_text() == f"{FORMAT}\n"
        assert (short_path / "home" / "lock").read_text() == f"{os.getpid()}\n"
        for folder in ("home", "r"):
            assert (short_path / folder).stat().st_mode & 0o777 == 0o700


def test_the_lock_admits_one_and_names_it(short_path: Path) -> None:
    with open_home(short_path / "home", short_path / "r"), pytest.raises(AgentError, match=f"pid {os.getpid()}"):
        open_home(short_path / "home", short_path / "r")
    open_home(short_path / "home", short_path / "r").close()


def test_sockets_of_a_stopped_server_go_with_their_folder_and_nothing_else_does(short_path: Path) -> None:
    for name, others in (("r", ()), ("shared", ("notes.txt",))):
        (short_path / name).mkdir()
        for file in ("handoff.sock", "router-0.sock", *others):
            (short_path / name / file).write_bytes(b"")
        remove_sockets(short_path / name)
    assert not (short_path / "r").exists()
    assert [path.name for path in (short_path / "shared").iterdir()] == ["notes.txt"]
    remove_sockets(short_path / "never")


@pytest.mark.parametrize("text", ["2", "99", "nonsense"])
def test_a_format_that_we_do_not_know_is_refused(short_path: Path, text: str) -> None:
    (short_path / "format").write_text(text)
    with pytest.raises(AgentError, match=f"format {text}, written by a newer Clary"):
        open_home(short_path, short_path / "r")


def test_a_runtime_folder_too_long_for_sockets_is_refused(short_path: Path) -> None:
    with pytest.raises(AgentError, match="too long for Unix sockets"):
        open_home(short_path / "home", short_path / ("r" * 90))


def test_a_taken_port_is_refused_even_by_a_listener_that_would_share(short_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"clary serve --port {port + 1}"):
            listen("127.0.0.1", port, 16)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(AgentError, match="another --host or --port"):
        listen("192.0.2.1", 0, 16)


def test_options_are_read_whole_or_refused(short_path: Path) -> None:
    path = short_path / "options.json"
    path.write_text('{"home":"h","runtime_dir":"r","host":"::1","port":1,"control":["c"],"routers":[["r","0"]]}')
    assert read_options(path) == AgentOptions("h", "r", "::1", 1, ("c",), (("r", "0"),))
    path.write_text('{"home":"h","colour":"red"}')
    with pytest.raises(AgentError, match="does not have: colour"):
        read_options(path)
    with pytest.raises(AgentError, match="cannot read"):
        read_options(short_path / "none")
