"""`clary images add | list | remove`: commands of one's own that serve, under names that CreateModel takes."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from clary.cli import images as catalogue
from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_facts, print_json, print_table

app = typer.Typer(invoke_without_command=True)


@app.callback()
def images(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the container images that are served, with the library that answers for each in this environment.

    A model that brings requirements has an environment, and so a library version, of its own.
    """
    if context.invoked_subcommand is None:
        catalogue.images(as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The image is called clary/NAME.")],
    command: Annotated[
        str,
        typer.Option(help="What serves, as typed in a shell; {port} is the port (also in SAGEMAKER_BIND_TO_PORT)."),
    ],
    route: Annotated[str, typer.Option("--route", metavar="PATH", help="Where it takes requests.")] = "/invocations",
    ping: Annotated[str, typer.Option("--ping", metavar="PATH", help="What it answers while it is healthy.")] = "/ping",
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="K=V", help="A variable for it; may be repeated.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Its working folder; the current one where not given.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Name a command that answers HTTP. Use the printed URI as Image of a model."""
    place = (folder or Path()).resolve()
    if not place.is_dir():
        raise CliError(Exit.USAGE, f"--dir {str(folder)!r} is no folder.", "Give the one that the command runs in.")
    members = {
        "name": name,
        "command": _words(command, place),
        "folder": str(place),
        "route": route,
        "ping": ping,
        "env": dict(_pair(pair) for pair in env or ()),
    }
    made = Api(find(url, home, region, profile)).admin("POST", "/images", members)
    if as_json:
        print_json(made)
        return
    print_facts({"image": made["uri"], "command": shlex.join(made["command"]), "folder": made["folder"]})
    note("Use it as Image of CreateModel; ModelDataUrl may be left out.")


@app.command("list")
def list_(
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List the images, the newest of a name first."""
    found = Api(find(url, home, region, profile)).admin("GET", "/images")
    if as_json:
        print_json(found)
        return
    rows = [[image["uri"], image["route"], shlex.join(image["command"]), image["created"]] for image in found["images"]]
    print_table(["IMAGE", "ROUTE", "COMMAND", "CREATED (UTC)"], rows, empty="No images.")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name, without clary/ and tag.")],
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Let no new model name the image. Models that have it go on serving."""
    gone: dict[str, Any] = Api(find(url, home, region, profile)).admin("DELETE", f"/images/{quote(name, safe='')}")
    if as_json:
        print_json(gone)
    else:
        print(f"removed clary/{name}")


def _words(command: str, folder: Path) -> list[str]:
    """The command's words, the first one as the full path of the program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CliError(Exit.USAGE, f"The command cannot be read: {error}.", "Quote it as for a shell.") from None
    if not words:
        raise CliError(Exit.USAGE, "The command is empty.", "Give one: --command 'gunicorn -b :{port} app:app'.")
    program = shutil.which(words[0]) or shutil.which(str(folder / words[0]))
    if program is None:
        raise CliError(Exit.USAGE, f"There is no program {words[0]!r}.", "Give its path, or install it.")
    return [str(Path(program).absolute()), *words[1:]]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise CliError(Exit.USAGE, f"--env {text!r} is not of the form NAME=VALUE.", "")
    return name, value
