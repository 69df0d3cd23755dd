"""Which replicas stand for the variants of one or two fleets, and the route that follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from clary.dataplane.routes import EndpointRoute, ReplicaRoute, VariantRoute
from clary.domain.endpoint import RevisionVariant
from clary.domain.versions import Fleet
from clary.placement.base import ReplicaPhase
from clary.reconcile.facts import ReplicaHave, Want


@dataclass(frozen=True)
class Place:
    """A variant that replicas are wanted for."""

    variant: RevisionVariant
    fleet: Fleet
    """The newest that has it: new replicas are of its generation."""
    count: int
    """Replicas: the most that any of the fleets wants."""


@dataclass(frozen=True)
class Standing:
    """Places and who stands in them, by variant uid; the best first, so that a smaller fleet takes the first ones."""

    places: Mapping[str, Place]
    kept: Mapping[str, Sequence[ReplicaHave]]

    @staticmethod
    def of(fleets: Iterable[Fleet], replicas: Iterable[ReplicaHave]) -> Standing:
        """The places of all `fleets`, the newest last. Ready replicas stand first, then those that were, then the
        oldest."""
        places: dict[str, Place] = {}
        for fleet in fleets:
            for variant in fleet.revision.variants:
                older = places.get(variant.uid)
                count = max(variant.instance_count, older.count if older else 0)
                places[variant.uid] = Place(variant, fleet, count)
        live: dict[str, list[ReplicaHave]] = {uid: [] for uid in places}
        for replica in replicas:
            if replica.live and replica.variant_uid in live:
                live[replica.variant_uid].append(replica)
        for found in live.values():
            found.sort(key=lambda r: (r.phase is not ReplicaPhase.READY, not r.was_ready, r.started_us, r.uid))
        return Standing(places, {uid: found[: places[uid].count] for uid, found in live.items()})

    def complete(self, fleet: Fleet, *, ready_now: bool) -> bool:
        """Whether every variant of `fleet` has its replicas, each ready: now, or at least once."""
        for variant in fleet.revision.variants:
            chosen = self.kept[variant.uid][: variant.instance_count]
            if len(chosen) < variant.instance_count or not all(replica.was_ready for replica in chosen):
                return False
            if ready_now and any(replica.phase is not ReplicaPhase.READY for replica in chosen):
                return False
        return True


def route_of(want: Want, fleet: Fleet, standing: Standing) -> EndpointRoute:
    """The route to `fleet`, with those of its replicas that are or were ready."""
    return EndpointRoute(
        account=want.scope.account,
        region=want.scope.region,
        name=want.name,
        uid=want.uid,
        generation=fleet.generation,
        variants=tuple(_variant(fleet, variant, standing.kept[variant.uid]) for variant in fleet.revision.variants),
        version=fleet.version,
        versions=want.lineage.newest,
        starting=want.lineage.starting if want.lineage.starting != fleet.version else 0,
        failed=want.lineage.failed,
    )


def _variant(fleet: Fleet, variant: RevisionVariant, kept: Sequence[ReplicaHave]) -> VariantRoute:
    chosen = sorted(kept[: variant.instance_count], key=lambda replica: replica.uid)
    return VariantRoute(
        name=variant.name,
        uid=variant.uid,
        weight=variant.weight,
        replicas=tuple(ReplicaRoute(replica.uid, replica.routed_address) for replica in chosen if replica.was_ready),
        instances=variant.instance_count,
        routing=variant.routing,
        config=fleet.revision.config_name,
        enhanced=fleet.revision.metrics.enhanced is True,
    )


def without_dead(route: EndpointRoute | None, replicas: Iterable[ReplicaHave]) -> EndpointRoute | None:
    """The route as it is, without replicas that will not come back: routers would keep requests for them."""
    if route is None:
        return None
    dead = {replica.uid for replica in replicas if replica.dead}
    variants = tuple(
        msgspec.structs.replace(variant, replicas=tuple(r for r in variant.replicas if r.uid not in dead))
        for variant in route.variants
    )
    return msgspec.structs.replace(route, variants=variants)
