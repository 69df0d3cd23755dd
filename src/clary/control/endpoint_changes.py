"""Changes of an endpoint in service: other configuration, other weights and capacities, an older version again.

Each is a new generation: one transaction writes its revision and wakes reconcile, which brings it into service beside
the one that serves, or gives it up. While one is under way every other change is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, insert, select, update

from clary.control.desk import Caller, Deed, Desk, audit, not_found
from clary.control.endpoints import KIND, Endpoint, described, frozen
from clary.control.rollouts import PLAIN, Guard, Rollout, abort, deployment_for, rollout_of, under_way
from clary.control.scaling import admit_revision
from clary.domain.endpoint import Desired, Revision, VariantProperty, admit_update, awake, rescaled, retained
from clary.domain.errors import Invalid
from clary.domain.names import arn_of
from clary.domain.rollout import Deployment
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet, Outcome, Version, rollback_target, states_of
from clary.store.documents import pack, unpack
from clary.store.endpoint_events import note_deployment, note_state
from clary.store.endpoints import EndpointRecord, endpoint_record, fleet_of, wishes_of
from clary.store.named import find
from clary.store.records import announce
from clary.store.tables import endpoints, pins, revisions


@dataclass(frozen=True)
class Retain:
    """What UpdateEndpoint keeps of the endpoint as it is."""

    all: bool = False
    """RetainAllVariantProperties."""
    excluded: frozenset[VariantProperty] = field(default_factory=frozenset)
    """ExcludeRetainedVariantProperties; says nothing unless `all`."""


@dataclass(frozen=True)
class Following:
    """The next generation."""

    version: int
    revision: Revision
    deployment: Deployment | None = None
    """How the update to it goes; None: all at once, without a bake."""


Next = Callable[[Connection, EndpointRecord, Fleet], Following]
"""From an endpoint and what serves to what follows."""


async def update_endpoint(
    desk: Desk, caller: Caller, name: str, config_name: str, retain: Retain = Retain(), guard: Guard = PLAIN
) -> str:
    """Want the endpoint to serve another configuration, as a new version; its ARN.

    Raises NotFound for the endpoint, the configuration or a model, InTransition, and Invalid for a failed endpoint or
    a deployment configuration that does not fit.
    """
    now_us = desk.clock.now_us()

    def following(connection: Connection, record: EndpointRecord, serves: Fleet) -> Following:
        made = frozen(connection, desk, caller, config_name, now_us)
        newest = max(wish.version for wish in wishes_of(connection, record.uid))
        revision = retained(made, serves.revision, retain.excluded) if retain.all else made
        return Following(newest + 1, revision, deployment_for(connection, record, revision, guard))

    return (await _change(desk, caller, name, Deed("Update", "", "", now_us), following))[0]


async def rescale(desk: Desk, caller: Caller, name: str, desired: Sequence[Desired]) -> str:
    """Want other weights and instance counts; the version stays. Its ARN. Raises as update_endpoint, and Invalid."""

    def following(_: Connection, record: EndpointRecord, serves: Fleet) -> Following:
        if record.status is EndpointStatus.ROLLBACK_FAILED:
            raise Invalid(
                f"The endpoint {record.name} serves a mix of two configurations (UpdateRollbackFailed); its weights "
                "and capacities cannot change. Update it, to either configuration, or delete it."
            )
        return Following(serves.version, rescaled(serves.revision, desired))

    deed = Deed("Rescale", "", "", desk.clock.now_us())
    return (await _change(desk, caller, name, deed, following))[0]


async def roll_back(desk: Desk, caller: Caller, name: str, to: int | None = None) -> int:
    """Want version `to` again, or the one that was live before; its number. All at once, without a bake.

    While a guarded rollout is under way, without `to`: want the traffic back at the version that it began with; and
    so where one could not be taken back. Raises NotFound, InTransition, and Invalid where there is no such version or
    it is live already.
    """
    if to is None and await under_way(desk, caller, name) is not None:
        return await abort(desk, caller, name)

    def following(connection: Connection, record: EndpointRecord, serves: Fleet) -> Following:
        wishes = wishes_of(connection, record.uid)
        mixed = record.status is EndpointStatus.ROLLBACK_FAILED
        other = serves.version if mixed else rollback_target(wishes, serves.generation)
        number = to if to is not None else other
        if number is None:
            raise Invalid(f"The endpoint {record.name} never served another version: there is none to roll back to.")
        found = [wish for wish in wishes if wish.version == number]
        if not found:
            newest = max(wish.version for wish in wishes)
            raise Invalid(f"The endpoint {record.name} has no version {number}; it has 1 to {newest}.")
        if number == serves.version and not mixed:
            raise Invalid(f"Version {number} of the endpoint {record.name} is live already.")
        # Weights and capacities as it last served with.
        good = [wish for wish in found if wish.outcome is Outcome.SERVED] or found
        return Following(number, fleet_of(connection, record.uid, good[-1].generation).revision)

    deed = Deed("Rollback", "", "", desk.clock.now_us())
    return (await _change(desk, caller, name, deed, following))[1]


async def versions(desk: Desk, caller: Caller, name: str) -> list[Version]:
    """Every version of an endpoint, the newest first; NotFound."""
    return await desk.store.read(lambda connection: _versions_of(connection, caller, name))


async def standing(desk: Desk, caller: Caller, name: str) -> tuple[Endpoint, Rollout | None, list[Version]]:
    """An endpoint, its rollout and its versions, all of one instant; NotFound."""
    return await desk.store.read(
        lambda connection: (
            described(connection, caller, name),
            rollout_of(connection, caller, name),
            _versions_of(connection, caller, name),
        )
    )


async def version_of(desk: Desk, caller: Caller, name: str, number: int) -> Version:
    """One version; NotFound for the endpoint, Invalid for the version."""
    found = await versions(desk, caller, name)
    for version in found:
        if version.number == number:
            return version
    raise Invalid(f"The endpoint {name} has no version {number}; it has 1 to {found[0].number}.")


async def _change(desk: Desk, caller: Caller, name: str, deed: Deed, following: Next) -> tuple[str, int]:
    """Write the next generation; the endpoint's ARN and the version it is of."""
    now_us = deed.at_us

    def work(connection: Connection) -> tuple[str, int]:
        row = find(connection, endpoints, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        record = endpoint_record(row)
        arn = arn_of(KIND.noun, caller.scope, row.name)
        admit_update(record.status, row.name, arn)
        assert record.served_generation is not None, "only an endpoint in service may be updated"
        fleet = fleet_of(connection, row.uid, record.served_generation)
        serves = replace(fleet, revision=awake(fleet.revision))
        made = following(connection, record, serves)
        admit_revision(connection, row.uid, serves.revision, made.revision)
        generation = row.generation + 1
        connection.execute(
            insert(revisions).values(
                endpoint_uid=row.uid,
                generation=generation,
                created_us=now_us,
                spec=pack(awake(made.revision)),
                version=made.version,
                deployment=None if made.deployment is None else pack(made.deployment),
            )
        )
        connection.execute(
            update(endpoints).where(endpoints.c.uid == row.uid).values(generation=generation, modified_us=now_us)
        )
        announce(connection, KIND.noun, row.uid, now_us)
        audit(connection, caller, KIND, Deed(deed.action, row.uid, arn, now_us))
        note_state(connection, desk.ids.ulid(now_us), row.uid, now_us)
        note_deployment(connection, desk.ids.ulid(now_us), row.uid, now_us)
        return arn, made.version

    return await desk.store.write(work)


def _versions_of(connection: Connection, caller: Caller, name: str) -> list[Version]:
    row = find(connection, endpoints, caller.scope, name)
    if row is None:
        raise not_found(KIND, caller, name)
    return _versions(connection, endpoint_record(row))


def _versions(connection: Connection, record: EndpointRecord) -> list[Version]:
    wishes = wishes_of(connection, record.uid)
    states = states_of(wishes, record.served_generation)
    first = {wish.version: wish.generation for wish in reversed(wishes)}
    latest = {wish.version: wish for wish in wishes}
    shown = {
        number: max(
            (w.generation for w in wishes if w.version == number and w.outcome is Outcome.SERVED), default=generation
        )
        for number, generation in first.items()
    }
    wanted = {*first.values(), *shown.values()}
    rows = {
        row.generation: row
        for row in connection.execute(
            select(revisions.c.generation, revisions.c.created_us, revisions.c.spec).where(
                revisions.c.endpoint_uid == record.uid, revisions.c.generation.in_(wanted)
            )
        )
    }
    digests: dict[int, dict[str, str]] = {}
    for pin in connection.execute(select(pins).where(pins.c.endpoint_uid == record.uid, pins.c.digest != "")):
        digests.setdefault(pin.version, {})[pin.url] = pin.digest
    return [
        Version(
            number=number,
            state=states[number],
            created_us=rows[first[number]].created_us,
            revision=unpack(rows[shown[number]].spec, Revision),
            reason=latest[number].reason,
            digests=digests.get(number, {}),
        )
        for number in sorted(states, reverse=True)
    ]
