"""The only reader of os.environ and clary.toml.

Every option of `clary serve` is resolved here with the precedence flag > environment > clary.toml > default, and keeps
where its value came from, so that `clary config` can say so.
"""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clary.artifacts.foreign import Mount, parse_mount
from clary.store.address import Address, parse_address
from clary.telemetry.otlp_options import OtlpOptions, check_endpoint, options_of

ACCOUNT_DEFAULT = "123456789012"
PORT_DEFAULT = 8430
ROUTERS_MAX = 64
AUTH_MODES = ("none", "sigv4")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?")


class SettingError(ValueError):
    """An option has a value that cannot be used; the text names option, source, value and remedy."""


@dataclass(frozen=True)
class Settings:
    """What `clary serve` runs with."""

    home: Path
    """Everything Clary keeps; 0700. Two servers need two of them."""
    host: str
    """Address to bind. Loopback unless `auth` is sigv4: an open port would let anyone run a pickle."""
    port: int
    """8430 unless said otherwise: one port for every protocol."""
    routers: int
    """Processes on the hot path. One serves tens of thousands of requests a second; more pays on more cores."""
    auth: str
    """`none` (loopback only) or `sigv4`."""
    account: str
    """Twelve digits that stand in every ARN."""
    region: str
    """Region of requests whose signature does not name one."""
    long_poll: bool
    """Whether DescribeEndpoint waits for a transition to end: loops that sleep 30 s then finish in one round trip."""
    hosts: tuple[str, ...]
    """Host names that requests may carry besides loopback ones and `host`."""
    untrusted: bool = False
    """Run no code of models': pickles are held to a list of names, scripts and lists of packages are refused."""

    object_store: tuple[Mount, ...] = ()
    """Buckets that lie in other object stores: artifacts come from them, outputs go there."""
    model_roots: tuple[Path, ...] = ()
    """Folders below which `file:///` addresses of models may point. Empty: none may."""
    otlp_endpoint: str = ""
    """Where telemetry goes by OpenTelemetry's protocol over HTTP, as `http://127.0.0.1:4318`. Empty: nowhere."""
    store: Address | None = None
    """A PostgreSQL database that takes the place of HOME/clary.db, as `postgresql://USER@HOST/DATABASE`."""

    @property
    def url(self) -> str:
        """The address clients use."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else host}:{self.port}"  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class Origin:
    """One resolved option, for `clary config`."""

    option: str
    value: str
    source: str
    """`--port`, `CLARY_PORT`, the path of clary.toml, or `default`."""


@dataclass(frozen=True)
class _Option:
    name: str
    variables: tuple[str, ...]
    default: str
    check: Callable[[str], object]
    secret: bool = False
    """Its text may hold a password: never shown; its value says what may be."""


def _home(text: str) -> Path:
    if not text:
        raise ValueError("is empty; give a folder")
    return Path(text).expanduser().absolute()


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if text == "localhost":
            return "127.0.0.1"
        raise ValueError("is not an IP address; use 127.0.0.1, ::1 or 0.0.0.0") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return check


def _auth(text: str) -> str:
    if text not in AUTH_MODES:
        raise ValueError(f"is not one of {', '.join(AUTH_MODES)}")
    return text


def _account(text: str) -> str:
    if not re.fullmatch(r"\d{12}", text):
        raise ValueError("is not an account number of twelve digits")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("is not a region name; they look like us-east-1")
    return text


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("is neither true nor false")
    return text.lower() in ("true", "1", "yes")


def _hosts(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"holds {name!r}, which is not a host name; give names without a port, parted by commas")
    return names


def _mounts(text: str) -> tuple[Mount, ...]:
    if text and importlib.util.find_spec("obstore") is None:
        raise ValueError("needs the package obstore: pip install 'clary[s3]'")
    return tuple(parse_mount(one.strip()) for one in text.split(",") if one.strip())


def _folders(text: str) -> tuple[Path, ...]:
    folders = tuple(Path(one.strip()).expanduser() for one in text.split(",") if one.strip())
    for folder in folders:
        if not folder.is_absolute() or folder == Path("/"):
            raise ValueError(f"holds {str(folder)!r}; give absolute folders below the root, parted by commas")
    return folders


def _otlp_endpoint(text: str) -> str:
    return check_endpoint(text) if text else ""


def _store(text: str) -> Address | None:
    return parse_address(text) if text else None


OPTIONS = (
    _Option("home", ("CLARY_HOME",), "~/.clary", _home),
    _Option("host", ("CLARY_HOST",), "127.0.0.1", _host),
    _Option("port", ("CLARY_PORT",), str(PORT_DEFAULT), _whole(1, 65535)),
    _Option("routers", ("CLARY_ROUTERS",), "1", _whole(1, ROUTERS_MAX)),
    _Option("auth", ("CLARY_AUTH",), "none", _auth),
    _Option("account", ("CLARY_ACCOUNT",), ACCOUNT_DEFAULT, _account),
    _Option("region", ("CLARY_REGION", "AWS_REGION"), "us-east-1", _region),
    _Option("long_poll", ("CLARY_LONG_POLL",), "true", _flag),
    _Option("untrusted", ("CLARY_UNTRUSTED",), "false", _flag),
    _Option("hosts", ("CLARY_HOSTS",), "", _hosts),
    _Option("object_store", ("CLARY_OBJECT_STORE",), "", _mounts),
    _Option("model_roots", ("CLARY_MODEL_ROOTS",), "", _folders),
    _Option("otlp_endpoint", ("CLARY_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"), "", _otlp_endpoint),
    _Option("store", ("CLARY_STORE",), "", _store, secret=True),
)


def resolve(
    flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None, config: Path | None = None
) -> tuple[Settings, list[Origin]]:
    """Settings and where each came from. `flags` maps option names to what the command line gave, None for nothing.

    Raises SettingError for the first value that cannot be used.
    """
    env = os.environ if environ is None else environ
    path = config or Path(env.get("CLARY_CONFIG") or "clary.toml")
    file = _read_toml(path, required=config is not None or bool(env.get("CLARY_CONFIG")))
    values: dict[str, Any] = {}
    origins: list[Origin] = []
    for option in OPTIONS:
        text, source = _pick(option, flags.get(option.name), env, file, path)
        try:
            values[option.name] = option.check(text)
        except ValueError as error:
            given = "" if option.secret else f" = {text!r}"
            raise SettingError(f"{option.name}{given} (from {source}) {error}.") from None
        value = "" if values[option.name] is None else values[option.name]
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        origins.append(Origin(option.name, shown, source))
    settings = Settings(**values)
    if settings.auth == "none" and not ipaddress.ip_address(settings.host).is_loopback:
        raise SettingError(
            f"host = {settings.host!r} would open this server to the network without authentication."
            " Use --auth sigv4 with it, or bind 127.0.0.1."
        )
    return settings, origins


def otlp_options(settings: Settings, environ: Mapping[str, str] | None = None) -> OtlpOptions | None:
    """What is exported by OpenTelemetry's protocol: OTEL_... variables count. Raises SettingError."""
    try:
        options = options_of(settings.otlp_endpoint, os.environ if environ is None else environ)
    except ValueError as error:
        raise SettingError(f"{error}.") from None
    if options is not None and not _has_otlp():
        raise SettingError(
            "Exporting telemetry by OTLP needs the package opentelemetry-proto: pip install 'clary[otel]'."
        )
    return options


def _has_otlp() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.proto.trace") is not None
    except ModuleNotFoundError:
        return False


def _pick(
    option: _Option, flag: str | None, env: Mapping[str, str], file: Mapping[str, str], path: Path
) -> tuple[str, str]:
    if flag is not None:
        return flag, f"--{option.name.replace('_', '-')}"
    for variable in option.variables:
        if env.get(variable):
            return env[variable], variable
    if option.name in file:
        return file[option.name], str(path)
    return option.default, "default"


def _read_toml(path: Path, *, required: bool) -> dict[str, str]:
    """The `[serve]` table as text; unknown names are refused so that a typo never passes unnoticed."""
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise SettingError(f"The configuration file {path} does not exist.") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"The configuration file {path} is not valid TOML: {error}.") from None
    table = document.get("serve", {})
    known = [option.name for option in OPTIONS]
    unknown = sorted(set(document) - {"serve"} | set(table) - set(known))
    if unknown:
        raise SettingError(
            f"{path} holds {unknown[0]!r}, which is no option. The table [serve] takes: {', '.join(known)}."
        )
    return {name: ",".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in table.items()}


def runtime_dir(home: Path, environ: Mapping[str, str] | None = None) -> Path:
    """The short folder for this HOME's sockets (a Unix address holds 107 bytes); not created here."""
    env = os.environ if environ is None else environ
    name = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]
    base = env.get("XDG_RUNTIME_DIR", "")
    if base and len(base) <= 40 and Path(base).is_dir():
        return Path(base) / f"clary-{name}"
    return Path("/tmp") / f"clary-{os.getuid()}-{name}"  # noqa: S108 - 0700 and owner checked where it is made


def make_private_folder(path: Path) -> None:
    """Create `path` for its owner alone; refuse one that somebody else owns or can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if facts.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
        raise SettingError(f"{path} is not a folder of yours. Remove it, or choose another with --home.")
    if facts.st_mode & 0o077:
        path.chmod(0o700)
