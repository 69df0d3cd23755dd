"""Which metrics a router's delta stands for, and under which dimensions."""

from __future__ import annotations

import msgspec

from clary.telemetry.delta import Delta, Latency, VariantDelta
from clary.telemetry.points import Cell, Dimensions, samples_of

LATENCY = Latency(2, 30, 10, 20, {1: 2})
BUSY = VariantDelta("1", "r", "Churn", "u", "A", 2, 1.0, 1, 0, 1, LATENCY, LATENCY, 1, 3, 1, 4, config="blue")
TWO = (("EndpointName", "Churn"), ("VariantName", "A"))
OF_BLUE = (("EndpointConfigName", "blue"), *TWO)
OF_GREEN = (("EndpointConfigName", "green"), *TWO)
INVOCATIONS = {
    "Invocations",
    "InvocationsPerInstance",
    "Invocation4XXErrors",
    "Invocation5XXErrors",
    "InvocationModelErrors",
    "ModelLatency",
    "OverheadLatency",
}


def cells(*variants: VariantDelta) -> dict[tuple[str, Dimensions], list[Cell]]:
    found: dict[tuple[str, Dimensions], list[Cell]] = {}
    for sample in samples_of(Delta("router-0", "b", 1, 5_000_000, variants)):
        assert sample.at_s == 5
        found.setdefault((sample.key.metric, sample.key.dimensions), []).append(sample.cell)
    return found


def test_a_fleet_is_counted_by_variant_and_by_configuration() -> None:
    found = cells(BUSY)
    every = INVOCATIONS | {"ConcurrentRequestsPerModel"}
    assert {metric for metric, dimensions in found if dimensions == TWO} == every
    assert {metric for metric, dimensions in found if dimensions == OF_BLUE} == every
    for metric in every:
        assert found[metric, TWO] == found[metric, OF_BLUE]


def test_without_a_configuration_there_are_two_dimensions_only() -> None:
    assert {dimensions for _, dimensions in cells(msgspec.structs.replace(BUSY, config=""))} == {TWO}


def test_two_fleets_of_a_variant_are_one_metric_whose_concurrency_adds_up() -> None:
    green = msgspec.structs.replace(BUSY, config="green", ticks=9, concurrent_sum=2, concurrent_min=0, concurrent_max=2)
    found = cells(BUSY, green)
    assert [cell.sum for cell in found["Invocations", TWO]] == [2, 2]
    # One sample of this second: the eight idle seconds of the newer fleet are no samples of the whole.
    assert found["ConcurrentRequestsPerModel", TWO] == [Cell(1, 5, 1, 6)]
    assert found["ConcurrentRequestsPerModel", OF_BLUE] == [Cell(1, 3, 1, 4)]
    assert found["ConcurrentRequestsPerModel", OF_GREEN] == [Cell(9, 2, 0, 2)]


def test_a_replica_is_counted_by_instance_beside_its_variant() -> None:
    of_replica = msgspec.structs.replace(BUSY, config="", replica="r1")
    found = cells(of_replica)
    assert {dimensions for _, dimensions in found} == {(TWO[0], ("InstanceId", "r1"), TWO[1])}
    assert {metric for metric, _ in found} == INVOCATIONS - {"InvocationsPerInstance"}


def test_streams_have_their_own_metrics() -> None:
    streamed = msgspec.structs.replace(
        BUSY, config="", first_chunk=LATENCY, first_chunk_model=LATENCY, streams=4, streams_broken=1
    )
    found = cells(streamed)
    assert found["MidStreamErrors", TWO] == [Cell(4, 1, 0, 1)]
    (first,) = found["FirstChunkLatency", TWO]
    assert (first.count, first.sum, first.min, first.max) == (2, 30, 10, 20)
    assert ("FirstChunkModelLatency", TWO) in found
    assert ("FirstChunkOverheadLatency", TWO) not in found, "what an older router does not tell is not made up"


def test_a_delta_of_an_older_router_is_read() -> None:
    class Older(msgspec.Struct, array_like=True):
        router: str
        boot_id: str
        sequence: int
        at_us: int
        variants: tuple[tuple[object, ...], ...]

    row = msgspec.structs.astuple(BUSY)[:16]
    older = Older("router-0", "b", 1, 5, (row,))
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(older), type=Delta)
    assert read.variants == (msgspec.structs.replace(BUSY, config=""),)
    assert read.spans == ()
