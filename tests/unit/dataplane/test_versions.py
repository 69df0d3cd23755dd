"""Versions of an endpoint on the hot path: by path, by TargetVariant, while one replaces another."""

from __future__ import annotations

import msgspec
import pytest

from clary.dataplane.routes import EndpointRoute, VariantRoute
from tests.support.hot_path import Rig, endpoint, invocation, parse_answers, snapshot, variant


def of_version(version: int, *variants: VariantRoute, **more: object) -> EndpointRoute:
    """Endpoint `ridge` with this version live, its variants under uids of their own."""
    own = tuple(msgspec.structs.replace(v, uid=f"{v.uid}-{version}") for v in variants or (variant(),))
    own = tuple(
        msgspec.structs.replace(v, replicas=tuple(msgspec.structs.replace(r, uid=f"{v.uid}-0") for r in v.replicas))
        for v in own
    )
    return msgspec.structs.replace(
        endpoint("ridge", *own, uid="e"), version=version, generation=version, **{"versions": version, **more}
    )


def at_path(path: str) -> bytes:
    return invocation().replace(b"/endpoints/ridge/invocations", path.encode())


def ask(rig: Rig, raw: bytes) -> tuple[int, str]:
    """Status and text of one request; a replica answers if it gets it."""
    connection, transport = rig.client()
    connection.data_received(raw)
    rig.turn()
    for wire in rig.wires.values():
        if wire.batches and wire.replica.inflight:
            wire.answer_last(wire.replica.uid.encode())
    (answer,) = parse_answers(transport.written)
    return answer.status, answer.body.decode() if answer.status == 200 else answer.json["Message"]


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (1, "Version 1 of endpoint ridge is retired; `clary rollback ridge --to 1` makes it live again. Version 3 is"),
        (2, "Version 2 of endpoint ridge is failed: it never came into service. Version 3 is live."),
        (4, "Version 4 of endpoint ridge is starting and takes no requests yet. Version 3 is live."),
        (5, "Version 5 of endpoint ridge not found. It has 1 to 4; 3 is live."),
    ],
)
def test_a_version_is_asked_by_path_and_by_target_variant(rig: Rig, version: int, text: str) -> None:
    rig.use(snapshot(of_version(3, versions=4, starting=4, failed=(2,))))
    by_variant = invocation(target_variant=f"v{version}")
    for raw in (at_path(f"/endpoints/ridge/versions/{version}/invocations"), by_variant):
        status, said = ask(rig, raw)
        assert status == 400
        assert said.startswith(text)
    for raw in (at_path("/endpoints/ridge/versions/3/invocations"), invocation(target_variant="v3"), invocation()):
        assert ask(rig, raw) == (200, "v-AllTraffic-3-0")


def test_version_zero_is_no_version_and_a_variant_keeps_its_name(rig: Rig) -> None:
    rig.use(snapshot(of_version(2, variant("v1"), variant("B"))))
    assert ask(rig, invocation(target_variant="v1")) == (200, "v-v1-2-0")
    assert ask(rig, invocation(target_variant="v0"))[1].startswith("Variant v0 of endpoint ridge not found.")
    status, said = ask(rig, at_path("/endpoints/ridge/versions/9/invocations"))
    assert (status, said) == (400, "Version 9 of endpoint ridge not found. It has 1 to 2; 2 is live.")


@pytest.mark.parametrize("text", ["0", "000", "-1", "v2", "latest", "9999999999", "2.0", ""])
def test_a_path_that_names_no_number_is_never_answered_by_what_is_live(rig: Rig, text: str) -> None:
    rig.use(snapshot(of_version(2)))
    said = ask(rig, at_path(f"/endpoints/ridge/versions/{text}/invocations"))
    assert said == (400, "Versions of endpoint ridge are numbers. It has 1 to 2; 2 is live.")


def test_a_version_with_several_variants_is_drawn_by_weight(rig: Rig) -> None:
    rig.use(snapshot(of_version(2, variant("A", 1), variant("B", 1))))
    rig.draws = [0.9, 0.1]
    assert ask(rig, invocation(target_variant="v2")) == (200, "v-B-2-0")
    assert ask(rig, invocation(target_variant="v2")) == (200, "v-A-2-0")


def test_what_waits_moves_to_the_new_version_unless_it_asked_for_the_old_one(rig: Rig) -> None:
    rig.use(snapshot(of_version(1, variant("A"), variant("B"))), up=False)
    asked = {
        raw: rig.client() for raw in (invocation(), invocation(target_variant="B"), invocation(target_variant="v1"))
    }
    for raw, (connection, _) in asked.items():
        connection.data_received(raw)
    rig.use(snapshot(of_version(2, variant("A"), variant("B"))))
    rig.turn()
    for uid in ("v-A-2-0", "v-B-2-0"):
        rig.wires[uid].answer_last(uid.encode())
    any_, named, first = (parse_answers(transport.written)[0] for _, transport in asked.values())
    assert (any_.body, named.body) == (b"v-A-2-0", b"v-B-2-0")
    assert (first.status, first.json["Message"][:32]) == (400, "Version 1 of endpoint ridge is r")


def test_a_variant_that_is_no_more_refuses_what_asked_for_it(rig: Rig) -> None:
    rig.use(snapshot(of_version(1, variant("A"), variant("B"))), up=False)
    connection, transport = rig.client()
    connection.data_received(invocation(target_variant="B"))
    rig.use(snapshot(of_version(2, variant("A"))))
    assert parse_answers(transport.written)[0].json["Message"] == "Variant B of endpoint ridge not found. It has: A."


def test_a_replica_that_dies_while_it_finishes_strands_no_call(rig: Rig) -> None:
    rig.use(snapshot(of_version(1)))
    client = rig.invoke()
    rig.use(snapshot(of_version(2)))
    old = rig.wires["v-AllTraffic-1-0"]
    assert old.requests
    assert not old.closed
    old.down()
    rig.hot.homeless(rig.fleet.stranded())
    rig.turn()
    rig.wires["v-AllTraffic-2-0"].answer_last(b"new")
    assert parse_answers(client.written)[0].body == b"new"
