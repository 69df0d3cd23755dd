"""The snapshot: all that a router knows. Written by reconcile, read by routers, a 0600 JSON file between them.

A router keeps the last good snapshot in memory and on disk and serves from it while control is down.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from clary.kit.durable import replace_file

FORMAT = 1
RANDOM = "RANDOM"
"""RoutingStrategy (API reference, ProductionVariantRoutingConfig)."""


class ReplicaRoute(msgspec.Struct, frozen=True):
    """One replica that answers."""

    uid: str
    address: str
    """`unix:/path` or `tcp:host:port`."""


class VariantRoute(msgspec.Struct, frozen=True):
    """One production variant of an endpoint."""

    name: str
    uid: str
    weight: float
    """Share of traffic relative to the other variants' weights; 0 takes none but a TargetVariant's."""
    replicas: tuple[ReplicaRoute, ...]
    instances: int
    """What InvocationsPerInstance divides by."""
    routing: str = ""
    """RoutingStrategy as given: `RANDOM`; everything else is to the replica with the least outstanding."""
    config: str = ""
    """Name of the endpoint configuration that these replicas are of: metrics are counted under it as well."""
    enhanced: bool = False
    """MetricsConfig.EnableEnhancedMetrics: metrics are counted by replica as well."""
    version: int = 0
    """The version that this fleet is of; 0: the endpoint's."""
    share: float = 1.0
    """Of the traffic of its name, 0 to 1: two fleets have it while an update moves traffic from one to the other."""
    trial: bool = False
    """On trial: calls that it cannot serve, or loses in a crash, go to a fleet that is not."""


class EndpointRoute(msgspec.Struct, frozen=True):
    """One endpoint that is in service (or updating)."""

    account: str
    region: str
    name: str
    """In the case it was created with; looked up without regard to case."""
    uid: str
    generation: int
    variants: tuple[VariantRoute, ...]
    version: int = 1
    """Number of the version that serves (domain/versions.py); of two, the one that still has the last word."""
    versions: int = 1
    """The highest number; every version up to it that is not named here was live once."""
    starting: int = 0
    """The version that is on its way into service; 0 for none."""
    failed: tuple[int, ...] = ()
    """Versions that never came into service."""


class KeyRoute(msgspec.Struct, frozen=True):
    """One access key that may sign requests."""

    key_id: str
    secret: str
    account: str
    arn: str


class Snapshot(msgspec.Struct, frozen=True):
    """Everything, at one moment. Replaced whole, never patched."""

    format: int
    revision: int
    """Grows with each write; for logs and tests."""
    account: str
    """The account of unsigned requests."""
    region: str
    """The region of unsigned requests whose endpoint name is not unique across regions."""
    auth: bool
    """Whether invocations must be signed."""
    hosts: tuple[str, ...]
    """Host names answered besides loopback ones, lower case, without port."""
    endpoints: tuple[EndpointRoute, ...] = ()
    keys: tuple[KeyRoute, ...] = ()
    sessions: str = ""
    """The key that opens session tokens, 32 bytes in hex; empty in a file of an older Clary."""
    recorded: tuple[str, ...] = ()
    """`ACCOUNT/REGION` whose invocations a trail wants to be told of."""
    tracing: bool = False
    """Whether somebody takes spans: those of requests whose caller's trace is sampled are then recorded."""


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Replace the file durably, readable by its owner only."""
    replace_file(path, msgspec.json.encode(snapshot), 0o600)


def read_snapshot(path: Path) -> Snapshot:
    """The snapshot; FileNotFoundError where there is none, ValueError for a broken or newer one."""
    snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    if snapshot.format > FORMAT:
        raise ValueError(f"{path} has format {snapshot.format}; this Clary reads up to {FORMAT}")
    return snapshot
