"""Where OpenTelemetry data goes: the variables of its specification ("OpenTelemetry Protocol Exporter", "Environment
Variable Specification") that Clary honours. Pure: the environment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

TRACES, METRICS = "traces", "metrics"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_TEMPORALITIES = {"cumulative": False, "delta": True, "lowmemory": True}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Target:
    """Where one signal goes."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    gzip: bool = False
    timeout_s: float = 10.0
    """Of one request."""
    ca_file: str = ""
    """Certificates to trust instead of the system's, in PEM; empty for those."""
    client_files: tuple[str, str] | None = None
    """Certificate and key that this side shows, in PEM."""


@dataclass(frozen=True)
class OtlpOptions:
    """What is exported, and how."""

    traces: Target | None
    """None: spans are not recorded."""
    metrics: Target | None
    delta: bool = False
    """Counters and histograms tell of what was added since the last export, not since control began."""
    metrics_s: float = 60.0
    """Seconds between two exports of metrics."""
    spans_s: float = 5.0
    """Seconds that spans wait for others."""
    resource: Mapping[str, str] = field(default_factory=dict)
    """Attributes of everything: `service.name` is among them."""


def options_of(endpoint: str, environ: Mapping[str, str]) -> OtlpOptions | None:
    """The options, None where nothing is exported. ValueError names a variable that cannot be used.

    `endpoint`: the base address of all signals, empty where only the environment says. A signal's own variable goes
    before the one for all.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    temporality = environ.get(f"{_PREFIX}METRICS_TEMPORALITY_PREFERENCE", "").lower() or "cumulative"
    if temporality not in _TEMPORALITIES:
        raise _unusable(f"{_PREFIX}METRICS_TEMPORALITY_PREFERENCE", environ, "is none of cumulative, delta, lowmemory")
    traces, metrics = (_target(endpoint, environ, signal) for signal in (TRACES, METRICS))
    if traces is None and metrics is None:
        return None
    resource = {"service.name": "clary", **_pairs("OTEL_RESOURCE_ATTRIBUTES", environ)}
    if environ.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = environ["OTEL_SERVICE_NAME"]
    return OtlpOptions(
        traces,
        metrics,
        _TEMPORALITIES[temporality],
        _seconds("OTEL_METRIC_EXPORT_INTERVAL", environ, 60_000),
        _seconds("OTEL_BSP_SCHEDULE_DELAY", environ, 5_000),
        resource,
    )


def check_endpoint(url: str) -> str:
    """An http(s) address without credentials; ValueError for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an address such as http://127.0.0.1:4318")
    if parts.username or parts.password:
        raise ValueError("holds credentials, which would be shown; give them in OTEL_EXPORTER_OTLP_HEADERS")
    return url


def _target(endpoint: str, environ: Mapping[str, str], signal: str) -> Target | None:
    exporter = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").strip()
    if exporter == "none":
        return None
    if exporter != "otlp":
        raise _unusable(f"OTEL_{signal.upper()}_EXPORTER", environ, "is neither otlp nor none")

    def named(what: str) -> str:
        own = f"{_PREFIX}{signal.upper()}_{what}"
        return own if environ.get(own) else f"{_PREFIX}{what}"

    own_endpoint = environ.get(f"{_PREFIX}{signal.upper()}_ENDPOINT", "")
    base = endpoint or environ.get(f"{_PREFIX}ENDPOINT", "")
    if not own_endpoint and not base:
        return None
    url = own_endpoint or f"{base.rstrip('/')}/v1/{signal}"
    try:
        check_endpoint(url)
    except ValueError as error:
        raise _unusable(named("ENDPOINT"), environ, str(error)) from None
    protocol = environ.get(named("PROTOCOL"), "") or "http/protobuf"
    if protocol != "http/protobuf":
        raise _unusable(named("PROTOCOL"), environ, "is not served; http/protobuf is")
    compression = environ.get(named("COMPRESSION"), "") or "none"
    if compression not in ("none", "gzip"):
        raise _unusable(named("COMPRESSION"), environ, "is neither gzip nor none")
    client = environ.get(named("CLIENT_CERTIFICATE"), ""), environ.get(named("CLIENT_KEY"), "")
    if bool(client[0]) != bool(client[1]):
        raise ValueError(f"{named('CLIENT_CERTIFICATE')} and {named('CLIENT_KEY')} go together: give both or neither")
    return Target(
        url=url,
        headers=_pairs(named("HEADERS"), environ),
        gzip=compression == "gzip",
        timeout_s=_seconds(named("TIMEOUT"), environ, 10_000),
        ca_file=environ.get(named("CERTIFICATE"), ""),
        client_files=client if client[0] else None,
    )


def _pairs(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded as in W3C Baggage."""
    found: dict[str, str] = {}
    for one in environ.get(name, "").split(","):
        if not one.strip():
            continue
        key, given, value = one.partition("=")
        key = unquote(key.strip())
        value = unquote(value.strip())
        if not given or not key or "\n" in value or (name.endswith("HEADERS") and not _HEADER.fullmatch(key)):
            raise ValueError(f"{name} is not a list of NAME=VALUE, parted by commas")  # never shown: it holds secrets
        found[key] = value
    return found


def _seconds(name: str, environ: Mapping[str, str], default_ms: int) -> float:
    text = environ.get(name, "") or str(default_ms)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 86_400_000:
        raise _unusable(name, environ, "is not a number of milliseconds from 1 to 86400000")
    return int(text) / 1000


def _unusable(name: str, environ: Mapping[str, str], why: str) -> ValueError:
    return ValueError(f"{name} = {environ.get(name, '')!r} {why}")
