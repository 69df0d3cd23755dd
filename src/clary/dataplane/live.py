"""The snapshot come alive: endpoints to look up, variants with their queues, replicas with their links."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

    __slots__ = ("endpoint", "prefixes", "queue", "route", "series")

    def __init__(self, endpoint: LiveEndpoint, route: VariantRoute, queue: VariantQueue, series: Series) -> None:
        self.endpoint = endpoint
        self.route = route
        self.queue = queue
        self.series = series
        self.prefixes: dict[bytes, tuple[int, bytes]] = {}
        """Header of a replica's answer -> (status, first lines of the response), for answers seen before."""


class LiveEndpoint:
    """One endpoint of one snapshot."""

    __slots__ = ("by_name", "route", "sums", "variants")

    def __init__(self, route: EndpointRoute) -> None:
        self.route = route
        self.variants: list[LiveVariant] = []
        self.by_name: dict[str, LiveVariant] = {}
        self.sums = cumulative([variant.weight for variant in route.variants])

    def choose(self, draw: float) -> LiveVariant | None:
        """The variant for a uniform draw from [0, 1); None where none has weight."""
        index = pick(self.sums, draw)
        return self.variants[index] if index >= 0 else None


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
                endpoint.by_name[variant.name] = live
                self._match(queue, {replica.uid: replica.address for replica in variant.replicas})
                routed += self._count_replicas(route, variant, queue)
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
