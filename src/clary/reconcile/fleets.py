"""Which replicas stand for the variants of one or two fleets, and the route that follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import msgspec

from clary.dataplane.routes import EndpointRoute, ReplicaRoute, VariantRoute
from clary.domain.endpoint import RevisionVariant
from clary.domain.versions import Fleet
from clary.placement.base import ReplicaPhase
from clary.reconcile.facts import ReplicaHave, Want


@dataclass(frozen=True)
class Part:
    """A fleet, how much of it stands, and how much of the traffic it takes; without a word: all."""

    fleet: Fleet
    counts: Mapping[str, int] = field(default_factory=dict)
    """Replicas by variant name, where not as many as its revision says."""
    shares: Mapping[str, Fraction] = field(default_factory=dict)
    """Of a variant's traffic, 0 to 1, by variant name."""
    trial: bool = False
    """Not proven yet: what it cannot serve goes to the others."""

    def count(self, variant: RevisionVariant) -> int:
        """Replicas of a variant."""
        return self.counts.get(variant.name, variant.instance_count)

    def share(self, name: str) -> Fraction:
        """Of a variant's traffic."""
        return self.shares.get(name, Fraction(1))

    @property
    def idle(self) -> bool:
        """Takes no traffic."""
        return all(self.share(variant.name) == 0 for variant in self.fleet.revision.variants)


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
    def of(parts: Iterable[Part], replicas: Iterable[ReplicaHave]) -> Standing:
        """The places of all `parts`, the newest last. Ready replicas stand first, then those that were, then the
        oldest."""
        places: dict[str, Place] = {}
        for part in parts:
            for variant in part.fleet.revision.variants:
                older = places.get(variant.uid)
                count = max(part.count(variant), older.count if older else 0)
                places[variant.uid] = Place(variant, part.fleet, count)
        live: dict[str, list[ReplicaHave]] = {uid: [] for uid in places}
        for replica in replicas:
            if replica.live and replica.variant_uid in live:
                live[replica.variant_uid].append(replica)
        for found in live.values():
            found.sort(key=lambda r: (r.phase is not ReplicaPhase.READY, not r.was_ready, r.started_us, r.uid))
        return Standing(places, {uid: found[: places[uid].count] for uid, found in live.items()})

    def complete(self, part: Part, *, ready_now: bool) -> bool:
        """Whether every variant of `part` has its replicas, each ready: now, or at least once."""
        for variant in part.fleet.revision.variants:
            count = part.count(variant)
            chosen = self.kept[variant.uid][:count]
            if len(chosen) < count or not all(replica.was_ready for replica in chosen):
                return False
            if ready_now and any(replica.phase is not ReplicaPhase.READY for replica in chosen):
                return False
        return True


def route_of(want: Want, parts: Sequence[Part], standing: Standing) -> EndpointRoute:
    """The route to `parts`, with those of their replicas that are or were ready.

    Its version is that of the first part that takes traffic. Of several parts one on trial is left out as long as
    none of its replicas was ready.
    """
    lead = next((part.fleet for part in parts if not part.idle), parts[0].fleet)
    several = len(parts) > 1
    variants = [
        _variant(part, variant, standing.kept[variant.uid], several)
        for part in parts
        for variant in part.fleet.revision.variants
    ]
    return EndpointRoute(
        account=want.scope.account,
        region=want.scope.region,
        name=want.name,
        uid=want.uid,
        generation=lead.generation,
        variants=tuple(variant for variant in variants if variant.replicas or not variant.trial),
        version=lead.version,
        versions=want.lineage.newest,
        starting=want.lineage.starting if want.lineage.starting != lead.version else 0,
        failed=want.lineage.failed,
    )


def _variant(part: Part, variant: RevisionVariant, kept: Sequence[ReplicaHave], several: bool) -> VariantRoute:
    chosen = sorted(kept[: part.count(variant)], key=lambda replica: replica.uid)
    routed = tuple(ReplicaRoute(replica.uid, replica.routed_address) for replica in chosen if replica.was_ready)
    revision = part.fleet.revision
    return VariantRoute(
        name=variant.name,
        uid=variant.uid,
        weight=variant.weight,
        replicas=routed,
        # Those that bear the load, not those that are wanted: while a variant scales out, its first ones have more.
        instances=max(1, len(routed)),
        routing=variant.routing,
        config=revision.config_name,
        enhanced=revision.metrics.enhanced is True,
        version=part.fleet.version if several else 0,
        share=float(part.share(variant.name)),
        trial=part.trial,
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
