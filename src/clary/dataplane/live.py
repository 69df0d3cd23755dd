"""The snapshot come alive: endpoints to look up, variants with their queues, replicas with their links."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from clary.dataplane.auth import Keyring
from clary.dataplane.batch import Call, Replica, VariantQueue, Wire
from clary.dataplane.choose import cumulative, pick
from clary.dataplane.routes import EndpointRoute, Snapshot, VariantRoute
from clary.domain.names import name_key
from clary.telemetry.recorder import Series


class Metrics(Protocol):
    """The part of a telemetry.recorder.Recorder that routes need."""

    def series(
        self,
        account: str,
        region: str,
        endpoint: str,
        endpoint_uid: str,
        variant: str,
        instances: int,
        *,
        config: str = "",
        replica: str = "",
    ) -> Series:
        """The series of a variant's fleet, or of one replica of it."""
        ...

    def retain(self, routed: Iterable[Series]) -> None:
        """Retire every other series."""
        ...


class LiveVariant:
    """One production variant."""

    __slots__ = ("endpoint", "prefixes", "proven", "queue", "route", "series")

    def __init__(self, endpoint: LiveEndpoint, route: VariantRoute, queue: VariantQueue, series: Series) -> None:
        self.endpoint = endpoint
        self.proven: Pool | None = None
        """Who takes the calls that it cannot serve, where it is on trial."""
        self.route = route
        self.queue = queue
        self.series = series
        self.prefixes: dict[bytes, tuple[int, bytes]] = {}
        """Header of a replica's answer -> (status, first lines of the response), for answers seen before."""


class Pool:
    """Variants that a request may go to, and how much of them each gets."""

    __slots__ = ("only", "sums", "variants", "version")

    def __init__(self, variants: Sequence[LiveVariant], weights: Sequence[float], version: int = 0) -> None:
        self.variants = variants
        self.version = version
        """The version that was asked for: no other one may answer; 0: any may."""
        self.sums = cumulative(weights)
        self.only = variants[0] if len(variants) == 1 else None
        """Where there is nothing to choose, whatever its weight."""

    def choose(self, draw: float) -> LiveVariant | None:
        """The variant for a uniform draw from [0, 1); None where none has weight."""
        index = pick(self.sums, draw)
        return self.variants[index] if index >= 0 else None


class LiveEndpoint:
    """One endpoint of one snapshot: a fleet or, while an update moves traffic, two.

    A fleet's weights count relative to each other, its share relative to the other fleet (dataplane/routes.py).
    """

    __slots__ = ("_pools", "names", "route", "variants", "versions")

    def __init__(self, route: EndpointRoute) -> None:
        self.route = route
        self.variants: list[LiveVariant] = []
        self.names = tuple(dict.fromkeys(variant.name for variant in route.variants))
        self.versions = frozenset(self.version_of(variant) for variant in route.variants) or {route.version}
        self._pools: dict[tuple[int, str], Pool] = {}

    def version_of(self, variant: VariantRoute) -> int:
        """The version that a variant is of."""
        return variant.version or self.route.version

    def pool(self, version: int = 0, name: str = "") -> Pool:
        """The variants of that version and name; 0 and empty: of any. Called once all are there."""
        pool = self._pools.get((version, name))
        if pool is None:
            pool = self._pools[version, name] = self._pool(version, name)
        return pool

    def _pool(self, version: int, name: str) -> Pool:
        found = [
            live
            for live in self.variants
            if version in (0, self.version_of(live.route)) and name in ("", live.route.name)
        ]
        if version:
            # Asked for by its version, a fleet answers whatever its share is.
            weights = [1.0 if name else live.route.weight for live in found]
        else:
            weights = [live.route.share * (1.0 if name else self._weight(live.route)) for live in found]
        return Pool(found, weights, version)

    def _weight(self, variant: VariantRoute) -> float:
        """Within its fleet, 0 to 1."""
        return variant.weight / (sum(v.weight for v in self.route.variants if v.version == variant.version) or 1.0)

    def settle(self) -> None:
        """All variants are there: say who stands in for those on trial."""
        proven = [live for live in self.variants if not live.route.trial]
        for live in self.variants:
            live.queue.spills = live.route.trial and bool(proven)
            if live.queue.spills:
                named = [other for other in proven if other.route.name == live.route.name] or proven
                live.proven = Pool(named, [other.route.weight for other in named])


class Table:
    """What one snapshot routes to. Replaced whole."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.keyring = Keyring(snapshot.keys, snapshot.sessions)
        self._endpoints: dict[tuple[str, str, str], LiveEndpoint] = {}
        self._by_name: dict[tuple[str, str], list[LiveEndpoint]] = {}

    def add(self, endpoint: LiveEndpoint) -> None:
        """Make an endpoint findable."""
        route = endpoint.route
        key = name_key(route.name)
        self._endpoints[route.account, route.region, key] = endpoint
        self._by_name.setdefault((route.account, key), []).append(endpoint)

    def find(self, account: str, region: str, name: str) -> LiveEndpoint | None:
        """By (account, region, name without case). `region` empty: the only one that holds the name, else the
        snapshot's."""
        key = name_key(name)
        if not region:
            held = self._by_name.get((account, key), ())
            if len(held) == 1:
                return held[0]
            region = self.snapshot.region
        return self._endpoints.get((account, region, key))

    def find_by_uid(self, uid: str) -> LiveEndpoint | None:
        """By immutable uid."""
        return next((e for e in self._endpoints.values() if e.route.uid == uid), None)

    def __iter__(self) -> Iterator[LiveEndpoint]:
        return iter(self._endpoints.values())


class Fleet:
    """Queues and links that live on from snapshot to snapshot, by uid."""

    def __init__(
        self,
        metrics: Metrics,
        make_queue: Callable[[str], VariantQueue],
        connect: Callable[[str, Replica], Wire],
    ) -> None:
        """`make_queue(routing)` makes the queue of a variant. `connect(address, replica)` makes and runs the link of a
        replica."""
        self._metrics = metrics
        self._make_queue = make_queue
        self._connect = connect
        self._queues: dict[str, VariantQueue] = {}
        self._retiring: list[VariantQueue] = []
        self._addresses: dict[Replica, str] = {}

    def swap(self, snapshot: Snapshot) -> tuple[Table, list[Call]]:
        """Make the routes of `snapshot` live: its table, and the calls whose variant is no more."""
        table = Table(snapshot)
        wanted: dict[str, VariantQueue] = {}
        routed: list[Series] = []
        for route in snapshot.endpoints:
            endpoint = LiveEndpoint(route)
            for variant in route.variants:
                queue = self._queues.get(variant.uid) or self._make_queue(variant.routing)
                wanted[variant.uid] = queue
                series = self._metrics.series(
                    route.account,
                    route.region,
                    route.name,
                    route.uid,
                    variant.name,
                    variant.instances,
                    config=variant.config,
                )
                routed.append(series)
                live = LiveVariant(endpoint, variant, queue, series)
                endpoint.variants.append(live)
                self._match(queue, {replica.uid: replica.address for replica in variant.replicas})
                routed += self._count_replicas(route, variant, queue)
            endpoint.settle()
            table.add(endpoint)
        homeless: list[Call] = []
        for uid, queue in self._queues.items():
            if uid not in wanted:
                self._match(queue, {})
                homeless += queue.take_waiting()
        # A queue that still has calls at replicas is kept by those replicas; its deadlines are swept until then.
        self._retiring = [q for q in (*self._retiring, *self._queues.values()) if q not in wanted.values()]
        self._queues = wanted
        self._metrics.retain(routed)
        return table, homeless

    def _count_replicas(self, route: EndpointRoute, variant: VariantRoute, queue: VariantQueue) -> list[Series]:
        """Give each replica of a variant a series of its own where enhanced metrics are wanted, else none."""
        counted = {replica.uid for replica in variant.replicas} if variant.enhanced else set()
        series: list[Series] = []
        for replica in queue.replicas:
            replica.series = None
            if replica.uid in counted:
                replica.series = self._metrics.series(
                    route.account, route.region, route.name, route.uid, variant.name, 1, replica=replica.uid
                )
                series.append(replica.series)
        return series

    def stranded(self) -> list[Call]:
        """Calls that came back to a queue that no route leads to any more: their replica died as it finished."""
        return [call for queue in self._retiring for call in queue.take_waiting()]

    def queues(self) -> list[VariantQueue]:
        """Every queue that has deadlines to keep."""
        self._retiring = [queue for queue in self._retiring if queue.replicas or queue.backlog]
        return [*self._queues.values(), *self._retiring]

    def _match(self, queue: VariantQueue, wanted: dict[str, str]) -> None:
        """Give a queue exactly these replicas, by uid and address."""
        have: set[str] = set()
        for replica in list(queue.replicas):
            if replica.retiring:
                continue
            if wanted.get(replica.uid) == self._addresses[replica]:
                have.add(replica.uid)
            else:
                del self._addresses[replica]
                replica.retire()
        for uid, address in wanted.items():
            if uid not in have:
                replica = Replica(uid, queue)
                queue.replicas.append(replica)
                self._addresses[replica] = address
                replica.wire = self._connect(address, replica)
