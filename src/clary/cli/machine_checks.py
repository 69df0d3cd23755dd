"""Checks of `clary doctor` that look at the machine, at what lies in HOME, and at this shell's environment."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from clary.agent.home import FORMAT
from clary.cli.checks import Check, State
from clary.store.address import Address

OPEN_FILES_LOW = 4096
"""Hard limit below which some thousand idle connections fill a router."""
MEMORY_BYTES_LOW = 1024**3
"""A server with one small model takes some 300 MB."""
SHARED_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs", "ceph"})
"""SQLite's write-ahead log needs shared memory on one machine (sqlite.org/wal.html)."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def open_files() -> Check:
    """The limit of descriptors; the agent raises the soft one for routers as far as the hard one allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = "no limit" if hard == resource.RLIM_INFINITY else f"{hard} at most"
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_LOW:
        return Check("open files", State.WARNING, text, f"Raise the hard limit (ulimit -Hn) above {OPEN_FILES_LOW}.")
    return Check("open files", State.OK, text)


def memory(available_bytes: int | None = None, limit: Path = _CGROUP_LIMIT) -> Check:
    """Memory that is free for models, within the control group's limit where there is one."""
    if available_bytes is None:
        available_bytes = _available_bytes()
    text = f"{available_bytes / 1024**3:.1f} GiB available"
    try:
        most = limit.read_text().strip()
    except OSError:
        most = "max"
    if most.isdigit():
        available_bytes = min(available_bytes, int(most))
        text += f", {int(most) / 1024**3:.1f} GiB allowed to this control group"
    if available_bytes < MEMORY_BYTES_LOW:
        return Check("memory", State.WARNING, text, "A replica that finds no memory fails with that reason.")
    return Check("memory", State.OK, text)


def _available_bytes(source: Path = Path("/proc/meminfo")) -> int:
    """MemAvailable of proc_meminfo(5)."""
    facts = dict(line.split(":", 1) for line in source.read_text().splitlines())
    return int(facts["MemAvailable"].split()[0]) * 1024


def builder() -> Check:
    """uv, which builds the environments of models that bring requirements."""
    try:
        import uv

        return Check("uv", State.OK, str(uv.find_uv_bin()))
    except (ImportError, FileNotFoundError):
        remedy = "Models that bring requirements or a conda.yaml need it: pip install uv."
        return Check("uv", State.WARNING, "not installed", remedy)


def home_contents(home: Path, mounts: Path = Path("/proc/mounts")) -> Iterator[Check]:
    """The kind of file system, the layout's number and the databases, of a HOME that exists."""
    if not home.is_dir():
        return
    kind = file_system(home.resolve(), mounts)
    if kind in SHARED_FILE_SYSTEMS:
        yield Check(
            "file system",
            State.PROBLEM,
            f"{home} lies on {kind}",
            "The store's database needs a disk of this machine: choose another folder with --home.",
        )
    try:
        number = (home / "format").read_text().strip()
    except OSError:
        number = ""
    if number and (not number.isdigit() or int(number) > FORMAT):
        found = f"{home} has format {number}; this version reads up to {FORMAT}"
        yield Check("format", State.PROBLEM, found, "Install the newer Clary that wrote it.")
    for name in ("clary.db", "telemetry.db"):
        if (home / name).is_file():
            yield database(home / name)


def file_system(folder: Path, mounts: Path) -> str:
    """The kind of the file system that a folder lies on; empty where that cannot be told."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        if len(point) >= len(best) and (folder == Path(point) or Path(point) in folder.parents):
            best, kind = point, fields[2]
    return kind


def database(path: Path) -> Check:
    """SQLite's own quick check, read-only, beside a server that runs."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict == "ok":
        return Check(path.name, State.OK, f"{path.stat().st_size / 1024**2:.1f} MiB, sound")
    remedy = (
        "Stop the server and remove it: only the history of metrics is lost."
        if path.name == "telemetry.db"
        else "Stop the server, keep a copy of HOME, and restore the file from a backup."
    )
    return Check(path.name, State.PROBLEM, f"{path} is damaged: {verdict}", remedy)


def store(address: Address) -> Check:
    """A store on PostgreSQL: whether it answers and is Clary's."""
    from clary.store.base import StoreFormatError, StoreUnavailableError
    from clary.store.transfer import facts_of

    try:
        return Check("store", State.OK, f"{address}: {facts_of(address)}")
    except (StoreFormatError, StoreUnavailableError) as error:
        return Check("store", State.PROBLEM, str(error), "Start or mend the database, or look at --store.")


def shell(environ: Mapping[str, str], url: str) -> Iterator[Check]:
    """Variables of this shell that would lead AWS clients past the server. Silent where all is well."""
    host = urlsplit(url).hostname or ""
    past = {name.strip() for name in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")}
    proxies = [name for name in _PROXIES if environ.get(name)]
    if proxies and not past & {host, "*"}:
        yield Check(
            "proxy",
            State.WARNING,
            f"{proxies[0]} is set and NO_PROXY does not name {host}",
            'Clients here would ask the proxy for this server: eval "$(clary env)" names it.',
        )
    if environ.get("AWS_ENDPOINT_URL", "").rstrip("/") != url:
        return
    own = sorted(name for name in environ if name.startswith("AWS_ENDPOINT_URL_") and environ[name].rstrip("/") != url)
    if own:
        found = f"{own[0]} leads one service elsewhere"
        yield Check("environment", State.WARNING, found, f"unset {own[0]}, unless you mean it.")
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        found = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS makes clients ignore AWS_ENDPOINT_URL"
        yield Check("environment", State.WARNING, found, "unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")


def clock(home: Path, now_s: float | None = None) -> Iterator[Check]:
    """A clock that stands before the last thing that HOME's server wrote makes signatures stale. Silent where well."""
    now_s = time.time() if now_s is None else now_s
    try:
        written_s = max(path.stat().st_mtime for path in (home / "clary.db", home / "run") if path.exists())
    except (OSError, ValueError):
        return
    behind_s = written_s - now_s
    if behind_s > 300:
        found = f"the clock is {behind_s / 60:.0f} minutes behind what HOME's server wrote last"
        yield Check("clock", State.WARNING, found, "Set it: signatures are good for 5 minutes.")


def own_url(host: str, port: int) -> str:
    """The address that clients of a server on this host and port are given."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown if host not in _ANY else '127.0.0.1'}:{port}"


_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, never bound
