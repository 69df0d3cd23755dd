"""`clary doctor`: is this machine fit to serve, and what to do where it is not."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from clary import __version__
from clary.cli import machine_checks, options
from clary.cli.checks import Check, State
from clary.cli.connect import read_json, settings_of
from clary.cli.exit_codes import Exit
from clary.cli.output import print_json, print_table
from clary.store.address import Address, served_address

FREE_BYTES_LOW = 2 * 1024**3
FREE_BYTES_TOO_LOW = 200 * 1024**2
LIBRARIES = {
    "numpy": "xgboost",
    "xgboost": "xgboost",
    "scikit-learn": "sklearn",
    "lightgbm": "lightgbm",
    "onnxruntime": "onnx",
    "mlflow": "mlflow",
}
"""Model libraries, each with Clary's extra that brings it."""
PYTHON_MIN = (3, 11)


def doctor(home: options.Home = None, as_json: options.AsJson = False) -> None:
    """Check this machine, HOME and this shell, from Python and libraries to port, disk, store and fork safety.

    Status 11 on a problem.
    """
    settings = settings_of(home, os.environ)
    store = served_address(settings.home, settings.store)
    checks = list(all_checks(settings.home, settings.host, settings.port, store))
    worst = Exit.UNHEALTHY if any(check.state is State.PROBLEM for check in checks) else Exit.OK
    if as_json:
        shown = [{"name": c.name, "state": c.state.value, "found": c.found, "remedy": c.remedy} for c in checks]
        print_json({"healthy": worst is Exit.OK, "checks": shown})
    else:
        print_table(["CHECK", "STATE", "FOUND"], [[c.name, c.state.value, c.found] for c in checks], empty="")
        for check in checks:
            if check.remedy:
                print(f"\n{check.name}: {check.remedy}")
    raise typer.Exit(worst)


def all_checks(home: Path, host: str, port: int, store: Address | None = None) -> Iterator[Check]:
    """Every check, the cheapest first. `store`: where it is, if not in HOME."""
    yield python_version(sys.version_info[:3])
    yield from libraries(LIBRARIES)
    yield machine_checks.builder()
    yield machine_checks.open_files()
    yield machine_checks.memory()
    yield home_permissions(home)
    yield from private_files(home)
    yield disk(home)
    yield from machine_checks.home_contents(home)
    if store is not None:
        yield machine_checks.store(store)
    yield from machine_checks.clock(home)
    yield socket_folder(home)
    yield server_or_port(home, host, port)
    yield from machine_checks.shell(os.environ, machine_checks.own_url(host, port))
    yield from fork_safety(home)


def python_version(version: tuple[int, ...]) -> Check:
    """Clary's own Python; a model's environment may be older."""
    text = ".".join(map(str, version))
    if version < PYTHON_MIN:
        return Check("python", State.PROBLEM, text, "Install Clary under Python 3.11 or newer.")
    return Check("python", State.OK, f"{text} at {sys.executable}")


def libraries(extras: Mapping[str, str]) -> Iterator[Check]:
    """Model libraries by version, without importing them; a warning where there is none of all.

    Several distributions may bring one: xgboost and xgboost-cpu, mlflow and mlflow-skinny.
    """
    found = {name: _version(name) for name in extras}
    if not any(found[name] for name in found if name != "numpy"):
        yield Check(
            "libraries", State.WARNING, "none is installed", "Install those you need: pip install 'clary[all]'."
        )
    for name, text in found.items():
        missing = f"not installed; pip install 'clary[{extras[name]}]' brings it"
        yield Check(name, State.OK, text or missing)


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    for distribution in (name, f"{name}-cpu", f"{name}-gpu", f"{name}-skinny"):
        try:
            return f"{version(distribution)} ({distribution})"
        except PackageNotFoundError:
            continue
    return ""


def home_permissions(home: Path) -> Check:
    """HOME is its owner's alone: keys and models lie in it."""
    try:
        facts = home.stat()
    except FileNotFoundError:
        return Check("home", State.OK, f"{home} does not exist yet; `clary serve` makes it")
    except OSError as error:
        return Check("home", State.PROBLEM, f"{home}: {error.strerror}", "Choose another with --home.")
    if facts.st_uid != os.getuid():
        return Check("home", State.PROBLEM, f"{home} belongs to user {facts.st_uid}", "Choose another with --home.")
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        return Check("home", State.PROBLEM, f"{home} has mode {mode:04o}", f"chmod 700 {home}")
    return Check("home", State.OK, f"{home}, mode {mode:04o}")


def private_files(home: Path) -> Iterator[Check]:
    """Secrets and the routers' key table are readable by their owner only. Silent where all is well."""
    for path in (home / "secrets" / "kek", home / "secrets" / "root.json", home / "run" / "routes.json"):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            yield Check("secrets", State.PROBLEM, f"{path} has mode {mode:04o}", f"chmod 600 {path}")


def disk(home: Path) -> Check:
    """Room for artifacts and objects where HOME lies."""
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / 1024**3:.1f} GiB free at {place}"
    if free_bytes < FREE_BYTES_TOO_LOW:
        return Check("disk", State.PROBLEM, text, "Free some space, or put HOME on a larger disk with --home.")
    if free_bytes < FREE_BYTES_LOW:
        return Check("disk", State.WARNING, text, "Models are unpacked there; that may not be enough.")
    return Check("disk", State.OK, text)


def socket_folder(home: Path) -> Check:
    """The runtime folder exists or can be made, and its socket names fit into a Unix address of 107 bytes."""
    from clary.settings import runtime_dir

    folder = runtime_dir(home)
    longest = folder / f"w-{'0' * 26}.sock"
    if len(os.fsencode(longest)) > 107:
        return Check(
            "sockets", State.PROBLEM, f"{folder} is too long a name", "Set XDG_RUNTIME_DIR to a shorter folder."
        )
    if folder.exists() and (folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077):
        return Check(
            "sockets", State.PROBLEM, f"{folder} is open to others", f"Remove {folder}; `clary serve` makes it anew."
        )
    return Check("sockets", State.OK, str(folder))


def server_or_port(home: Path, host: str, port: int) -> Check:
    """A running server says its version; otherwise the port must be free."""
    for where in (_own_server(home), (host, port)):
        health = _health(*where) if where else None
        if where is None or health is None:
            continue
        found = f"version {health.get('version', 'unknown')} answers at {where[0]}:{where[1]}"
        if health.get("version") == __version__:
            return Check("server", State.OK, found)
        remedy = "Restart `clary serve` to run the installed version."
        return Check("server", State.WARNING, f"{found}; this command is {__version__}", remedy)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Check(
                "port",
                State.PROBLEM,
                f"{host}:{port} cannot be bound: {error.strerror}",
                f"End what holds it (ss -ltnp 'sport = :{port}'), or choose another with --port.",
            )
    return Check("port", State.OK, f"{host}:{port} is free; no server runs on {home}")


def fork_safety(home: Path) -> Iterator[Check]:
    """Verdicts of the fork probe: forked replicas start in milliseconds, fresh processes in seconds."""
    from clary.placement.forks import read_verdicts

    for verdict in read_verdicts(home / "run" / "forks.json").values():
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(verdict.libraries.items()))
        name = f"fork {verdict.runtime}"
        where = f"{verdict.python} ({libraries})" if libraries else verdict.python
        if verdict.fork == "safe":
            yield Check(name, State.OK, f"safe with {where}; replicas start by fork")
        else:
            yield Check(
                name,
                State.WARNING,
                f"{verdict.fork} with {where}: {verdict.detail}",
                "Its replicas start as fresh processes, which takes seconds; nothing else changes.",
            )


def _own_server(home: Path) -> tuple[str, int] | None:
    """Where HOME's server said that it listens; it may have ended since."""
    parts = urlsplit(read_json(home / "run" / "server.json").get("url", ""))
    return (parts.hostname, parts.port) if parts.hostname and parts.port else None


def _health(host: str, port: int) -> dict[str, Any] | None:
    import json
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, port, timeout=3)  # noqa: S104 - compared
    try:
        connection.request("GET", "/clary/health")
        document = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return document if isinstance(document, dict) else None
