"""Which server a command talks to, and who it says it is.

Server: --url > CLARY_URL > AWS_ENDPOINT_URL > HOME/run/server.json (of `clary serve`) > configured host and port.
Keys: those of --profile; else, for a server named by option or environment, AWS_ACCESS_KEY_ID and its secret, then
AWS_PROFILE, then HOME's root key; for HOME's own server the root key first, because keys of a real account may stand in
the environment.
Region: --region > CLARY_REGION > AWS_REGION > AWS_DEFAULT_REGION > that of the profile > that of the server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clary.cli.exit_codes import CliError, Exit
from clary.settings import SettingError, Settings, resolve

ANONYMOUS = ("anonymous", "anonymous")
"""Signs where no key is known: a server without --auth checks the form of a signature only."""


@dataclass(frozen=True)
class Keys:
    """What requests are signed with, and where it was found."""

    key_id: str
    secret: str
    token: str
    source: str


@dataclass(frozen=True)
class Target:
    """A server, a region in it, and the caller."""

    url: str
    url_source: str
    region: str
    keys: Keys
    home: Path


def settings_of(home: Path | None, environ: Mapping[str, str]) -> Settings:
    """What `clary serve` would run with from here; a bad setting ends the command."""
    try:
        return resolve({"home": str(home) if home is not None else None}, environ)[0]
    except SettingError as error:
        raise CliError(Exit.USAGE, str(error)) from None


def find(
    url: str | None,
    home: Path | None,
    region: str | None,
    profile: str | None,
    environ: Mapping[str, str] | None = None,
) -> Target:
    """The target that options and environment name. Raises CliError for a URL, profile or setting that cannot be."""
    env = os.environ if environ is None else environ
    settings = settings_of(home, env)
    server = read_json(settings.home / "run" / "server.json")
    address, url_source = _address(url, env, settings, server)
    named = _profile(profile, env) if profile else {}
    keys = _keys(profile, named, env, settings.home, own=url_source in ("server.json", "default"))
    chosen = region or env.get("CLARY_REGION") or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    return Target(
        address,
        url_source,
        chosen or named.get("region") or server.get("region") or settings.region,
        keys,
        settings.home,
    )


def read_json(path: Path) -> dict[str, str]:
    """The members of a JSON file that are text; none where there is no such file or it is not ours to read."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    members = document.items() if isinstance(document, dict) else ()
    return {name: value for name, value in members if isinstance(value, str)}


def _address(url: str | None, env: Mapping[str, str], settings: Settings, server: Mapping[str, str]) -> tuple[str, str]:
    for text, source in (
        (url, "--url"),
        (env.get("CLARY_URL"), "CLARY_URL"),
        (env.get("AWS_ENDPOINT_URL"), "AWS_ENDPOINT_URL"),
        (server.get("url"), "server.json"),
        (settings.url, "default"),
    ):
        if text:
            if not text.startswith(("http://", "https://")) or len(text.split("://", 1)[1].strip("/")) == 0:
                raise CliError(Exit.USAGE, f"{source} = {text!r} is not a URL.", "Give one like http://127.0.0.1:8430.")
            return text.rstrip("/"), source
    raise AssertionError("the settings always give a URL")


def _keys(profile: str | None, named: Mapping[str, str], env: Mapping[str, str], home: Path, *, own: bool) -> Keys:
    if profile:
        keys = _profile_keys(profile, named)
        if keys is None:
            raise CliError(
                Exit.USAGE,
                f"The AWS profile {profile!r} has no access key.",
                f"`clary env --profile {profile}` writes one with keys of this server.",
            )
        return keys
    found = (_root_keys(home), _environment_keys(env)) if own else (_environment_keys(env), _root_keys(home))
    return next((keys for keys in found if keys), Keys(*ANONYMOUS, "", "none"))


def _profile_keys(name: str, members: Mapping[str, str]) -> Keys | None:
    if not members.get("aws_access_key_id"):
        return None
    secret, token = members.get("aws_secret_access_key", ""), members.get("aws_session_token", "")
    return Keys(members["aws_access_key_id"], secret, token, f"profile {name}")


def _root_keys(home: Path) -> Keys | None:
    root = read_json(home / "secrets" / "root.json")
    return Keys(root["key_id"], root["secret"], "", "root key") if {"key_id", "secret"} <= set(root) else None


def _environment_keys(env: Mapping[str, str]) -> Keys | None:
    key_id, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return Keys(key_id, secret, env.get("AWS_SESSION_TOKEN", ""), "AWS_ACCESS_KEY_ID")
    name = env.get("AWS_PROFILE")
    return _profile_keys(name, _profile(name, env)) if name else None


def _profile(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """What the AWS files say of a profile; keys of the credentials file win. Names are lower case."""
    import configparser

    merged: dict[str, str] = {}
    for path, section in zip(aws_files(env), (name if name == "default" else f"profile {name}", name), strict=True):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(path.read_text())
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if parser.has_section(section):
            merged.update(parser.items(section))
    return merged


def aws_files(env: Mapping[str, str]) -> tuple[Path, Path]:
    """The AWS configuration and credentials files, as the AWS SDKs find them."""
    folder = Path(env.get("HOME") or "~").expanduser() / ".aws"
    return (
        Path(env.get("AWS_CONFIG_FILE") or folder / "config").expanduser(),
        Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials").expanduser(),
    )
