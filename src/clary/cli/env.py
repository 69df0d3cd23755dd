"""`clary env`: what unmodified AWS clients need to reach this server: endpoint, region, keys that work here only."""

from __future__ import annotations

import enum
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from clary.cli import options
from clary.cli.connect import Target, aws_files, find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json
from clary.cli.sdk_config import sdk_variables

MARK = "# written by `clary env`; changes are lost when it runs again"
_PROFILE_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,64}")


class Shell(enum.StrEnum):
    """Whose way to set a variable."""

    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"


def env(
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME", help="Write an AWS profile of this name instead of printing exports."
        ),
    ] = None,
    shell: Annotated[Shell, typer.Option("--shell", help="Syntax of the exports.")] = Shell.SH,
    as_json: options.AsJson = False,
) -> None:
    """Print what AWS clients need to reach this server: eval "$(clary env)"."""
    target = find(url, home, region, None)
    if target.keys.source == "none":
        note("# No keys found: these are placeholders, good for a server without --auth.")
    if profile is not None:
        written = write_profile(profile, target, os.environ)
        if as_json:
            print_json({"profile": profile, "files": [str(path) for path in written], "url": target.url})
        else:
            note(f"Wrote profile {profile} to {written[0]} and {written[1]}.")
            note(f"Use it with AWS_PROFILE={profile} or --profile {profile}.")
        return
    settings = variables(target, os.environ)
    removed = conflicting(os.environ)
    if as_json:
        print_json({"set": settings, "unset": removed})
        return
    print("\n".join(lines(shell, settings, removed)))


def variables(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """What to set. NO_PROXY only where a proxy is configured that would swallow requests to this server."""
    found = {
        "AWS_ENDPOINT_URL": target.url,
        "AWS_REGION": target.region,
        "AWS_DEFAULT_REGION": target.region,
        "AWS_ACCESS_KEY_ID": target.keys.key_id,
        "AWS_SECRET_ACCESS_KEY": target.keys.secret,
    }
    if target.keys.token:
        found["AWS_SESSION_TOKEN"] = target.keys.token
    found |= sdk_variables(target, environ)
    host = urlsplit(target.url).hostname or ""
    if any(environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY")):
        past = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
        names = [name for name in past.split(",") if name.strip()]
        found["NO_PROXY"] = found["no_proxy"] = ",".join(names if host in names else [*names, host])
    return found


def conflicting(environ: Mapping[str, str]) -> list[str]:
    """Variables that would send an SDK elsewhere, or sign with something else, and have to go."""
    fixed = {"AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"}
    fixed.add("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    return sorted(name for name in environ if name in fixed or name.startswith("AWS_ENDPOINT_URL_"))


def lines(shell: Shell, settings: Mapping[str, str], removed: Iterable[str]) -> list[str]:
    """The commands that a shell evaluates."""
    if shell is Shell.FISH:
        unset, export = "set -e {}", "set -gx {} {}"
    elif shell is Shell.POWERSHELL:
        unset, export = "Remove-Item Env:{}", "$env:{} = {}"
    else:
        unset, export = "unset {}", "export {}={}"
    return [unset.format(name) for name in removed] + [
        export.format(name, _quoted(shell, value)) for name, value in settings.items()
    ]


def _quoted(shell: Shell, value: str) -> str:
    if shell is Shell.FISH:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if shell is Shell.POWERSHELL:
        return "'" + value.replace("'", "''") + "'"
    return shlex.quote(value)


def write_profile(name: str, target: Target, environ: Mapping[str, str]) -> tuple[Path, Path]:
    """Write the profile into AWS's two files. One of that name that Clary did not write is left alone and refused."""
    if not _PROFILE_NAME.fullmatch(name):
        raise CliError(
            Exit.USAGE,
            f"--profile {name!r} is not a profile name.",
            "Use letters, digits and any of _ . @ + - (64 at most).",
        )
    config, credentials = aws_files(environ)
    header = "default" if name == "default" else f"profile {name}"
    texts = {
        config: _with_section(config, header, {"region": target.region, "endpoint_url": target.url}),
        credentials: _with_section(
            credentials,
            name,
            {"aws_access_key_id": target.keys.key_id, "aws_secret_access_key": target.keys.secret},
        ),
    }
    for path, text in texts.items():
        _replace_file(path, text)
    return config, credentials


def _with_section(path: Path, header: str, values: Mapping[str, str]) -> str:
    """The text of an AWS file with one section written anew at its end; every other line stays as it was."""
    try:
        old = path.read_text().splitlines()
    except FileNotFoundError:
        old = []
    kept: list[str] = []
    section: list[str] = []
    inside = False
    for line in old:
        if line.strip().startswith("["):
            inside = re.sub(r"\s+", " ", line.strip().split("]")[0].strip("[ ")) == header
        (section if inside else kept).append(line)
    if section and MARK not in section:
        raise CliError(
            Exit.REFUSED,
            f"{path} has a section [{header}] that Clary did not write; it stays as it is.",
            "Choose another name with --profile, or remove that section.",
        )
    while kept and not kept[-1].strip():
        kept.pop()
    lines_new = [f"[{header}]", MARK, *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join([*kept, *([""] if kept else []), *lines_new]) + "\n"


def _replace_file(path: Path, text: str) -> None:
    """Replace a file whole, for its owner's eyes only: keys stand in it. A link is followed, not replaced."""
    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.clary-{os.getpid()}")
    mode = 0o600 if path.name != "config" or not path.exists() else path.stat().st_mode & 0o777
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
