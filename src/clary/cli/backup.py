"""`clary backup` and `clary restore`: a whole HOME in one file, and back."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clary import __version__
from clary.cli import options
from clary.cli.connect import settings_of
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_facts
from clary.settings import runtime_dir
from clary.store.address import served_address

if TYPE_CHECKING:
    from clary.store.backup import Manifest

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup: a tar file.")]


def backup(
    file: File,
    secrets: Annotated[
        bool,
        typer.Option("--secrets", help="With the keys' secrets and what opens them: whoever has FILE has the keys."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE where it exists.")] = False,
    home: options.Home = None,
) -> None:
    """Write models, endpoints, objects and pinned artifacts to one file; the server may run meanwhile.

    Not in it: logs, metrics, environments (built anew), training that runs, and buckets of other object stores.
    """
    from clary.store.backup import write_backup

    settings = settings_of(home, os.environ)
    place, store = settings.home, served_address(settings.home, settings.store)
    _show(file, _done(lambda: write_backup(place, file, __version__, secrets=secrets, force=force, store=store)))
    if not secrets:
        note("Without --secrets: after a restore elsewhere, clients need new keys.")


def restore(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Replace what HOME holds.")] = False,
    home: options.Home = None,
) -> None:
    """Put a backup into HOME, all of it checked first; then `clary serve` brings its endpoints up.

    The server must be stopped.
    """
    from clary.store.restore import restore as restore_from

    settings = settings_of(home, os.environ)
    place, store = settings.home, served_address(settings.home, settings.store)
    if _control_runs(runtime_dir(place)):
        raise CliError(Exit.REFUSED, f"Clary serves {place}.", "Stop it first, or restore into another --home.")
    manifest = _done(lambda: restore_from(place, file, force=force, store=store))
    _show(place, manifest)
    if not manifest.secrets and not (place / "secrets" / "kek").exists():
        note("The backup has no secrets: the next start makes a new root key; create the others with `clary keys`.")


def _done(work: Callable[[], Manifest]) -> Manifest:
    from clary.store.backup import BackupError
    from clary.store.base import StoreFormatError, StoreUnavailableError

    try:
        return work()
    except (StoreFormatError, StoreUnavailableError) as error:
        raise CliError(Exit.REFUSED, str(error)) from None
    except BackupError as error:
        raise CliError(Exit.REFUSED, str(error), error.remedy) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        raise CliError(Exit.REFUSED, f"{name}{error.strerror or error}.", "Check the path and the disk.") from None


def _show(place: Path, manifest: Manifest) -> None:
    tops = [name.split("/", 2) for name in manifest.files]
    print_facts(
        {
            "place": place,
            "size": f"{manifest.total_bytes / 1024**2:.1f} MiB",
            "buckets": str(len({parts[1] for parts in tops if parts[0] == "buckets" and len(parts) == 3})),
            "artifacts": str(len({parts[1] for parts in tops if parts[0] == "artifacts"})),
            "secrets": "yes" if manifest.secrets else "no",
            "written by": f"Clary {manifest.version}",
        }
    )


def _control_runs(sockets: Path) -> bool:
    """Whether control answers: it serves on for a while when its agent, which holds HOME's lock, was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(sockets / "handoff.sock"))
        except OSError:
            return False
    return True
