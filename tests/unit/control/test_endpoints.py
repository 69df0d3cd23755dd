"""Use cases of endpoints, configurations and models, on a real store; nobody reconciles unless a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from clary.control import endpoint_configs, endpoints, models
from clary.domain.endpoint import EndpointConfigSpec, VariantSpec
from clary.domain.errors import AlreadyExists, InTransition, Invalid, NotFound
from clary.domain.principal import Scope
from clary.domain.states import EndpointStatus
from clary.store.endpoints import endpoint_record
from clary.store.named import ListQuery
from clary.store.tables import audit
from clary.store.tables import endpoints as table
from tests.support.hosting import CALLER, Host

ELSEWHERE = replace(CALLER, scope=Scope(CALLER.scope.account, "eu-west-1"))
SETTLED = {"observed_generation": 1, "observed_status": "InService", "observed_us": 1}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


async def settle(host: Host, **columns: object) -> None:
    """What reconcile would note, for every endpoint."""
    await host.store.write(lambda connection: connection.execute(update(table).values(**{**SETTLED, **columns})))


async def test_of_fifty_parallel_creates_exactly_one_wins(host: Host) -> None:
    await host.endpoint("first")
    names = ["e", "E"] * 25
    answers = await asyncio.gather(
        *(endpoints.create(host.desk, CALLER, name, "first", {}) for name in names), return_exceptions=True
    )
    arns = [answer for answer in answers if isinstance(answer, str)]
    assert arns == ["arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"]
    refusals = [answer for answer in answers if isinstance(answer, AlreadyExists)]
    assert len(refusals) == 49
    assert {refusal.arn for refusal in refusals} == set(arns)


async def test_the_name_keeps_its_case_and_the_arn_does_not(host: Host) -> None:
    await host.endpoint("MyEndpoint")
    found = await endpoints.describe(host.desk, CALLER, "MYENDPOINT")
    assert found.record.name == "MyEndpoint"
    assert endpoints.arn(found.record) == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/myendpoint"


async def test_regions_do_not_see_each_other(host: Host) -> None:
    await host.endpoint("e")
    with pytest.raises(NotFound) as refused:
        await endpoints.describe(host.desk, ELSEWHERE, "e")
    assert refused.value.arn == "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/e"
    assert (await models.list_models(host.desk, ELSEWHERE, ListQuery()))[0] == []


async def test_what_is_named_must_exist(host: Host) -> None:
    with pytest.raises(NotFound) as refused:
        await endpoints.create(host.desk, CALLER, "e", "Absent", {})
    assert (refused.value.kind, refused.value.arn) == (
        "endpoint-config", "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/absent",
    )  # fmt: skip
    spec = EndpointConfigSpec((VariantSpec("A", "Absent", 1, "ml.m5.large"),))
    with pytest.raises(NotFound) as refused:
        await endpoint_configs.create(host.desk, CALLER, "c", spec, {})
    assert (refused.value.kind, refused.value.name) == ("model", "Absent")


async def test_a_model_deleted_after_the_configuration_is_missed_by_create_endpoint(host: Host) -> None:
    await host.endpoint("e")
    await models.remove(host.desk, CALLER, "e")
    with pytest.raises(NotFound) as refused:
        await endpoints.create(host.desk, CALLER, "other", "e", {})
    assert refused.value.kind == "model"


async def test_the_revision_is_frozen(host: Host) -> None:
    await host.endpoint("e")
    before = (await endpoints.describe(host.desk, CALLER, "e")).revision
    await endpoint_configs.remove(host.desk, CALLER, "e")
    await models.remove(host.desk, CALLER, "e")
    await host.model("e", "s3://other/model.tar.gz")
    assert (await endpoints.describe(host.desk, CALLER, "e")).revision == before
    assert before.artifact_urls == ("s3://models/e.tar.gz",)


async def test_delete_is_refused_in_transition_and_served_after(host: Host) -> None:
    await host.endpoint("e")
    with pytest.raises(InTransition):
        await endpoints.remove(host.desk, CALLER, "e")
    await settle(host)
    await endpoints.remove(host.desk, CALLER, "E")
    assert (await endpoints.describe(host.desk, CALLER, "e")).record.status is EndpointStatus.DELETING
    with pytest.raises(InTransition):
        await endpoints.remove(host.desk, CALLER, "e")
    with pytest.raises(AlreadyExists):
        await endpoints.create(host.desk, CALLER, "e", "e", {})


async def test_describe_is_held_until_the_transition_ends(host: Host) -> None:
    await host.endpoint("e")
    held = asyncio.ensure_future(endpoints.describe(host.desk, CALLER, "e", hold_s=5))
    await asyncio.to_thread(lambda: None)
    assert not held.done()
    await settle(host)
    assert (await held).record.status is EndpointStatus.IN_SERVICE
    assert host.clock.monotonic_s() == 0


async def test_describe_is_held_no_longer_than_asked(host: Host) -> None:
    await host.endpoint("e")
    held = asyncio.ensure_future(endpoints.describe(host.desk, CALLER, "e", hold_s=5))
    await host.until(held.done, step_s=0.5)
    assert held.result().record.status is EndpointStatus.CREATING
    assert host.clock.monotonic_s() >= 5


async def test_describe_of_a_deletion_ends_as_not_found(host: Host) -> None:
    await host.endpoint("e")
    async with host.reconciling():
        await host.until_status("e", "InService")
        await endpoints.remove(host.desk, CALLER, "e")
        held = asyncio.ensure_future(endpoints.describe(host.desk, CALLER, "e", hold_s=25))
        await host.until(held.done)
        assert isinstance(held.exception(), NotFound)


async def test_every_deed_is_in_the_audit(host: Host) -> None:
    await host.endpoint("e")
    await settle(host)
    await endpoints.remove(host.desk, CALLER, "e")
    rows = await host.store.read(lambda connection: connection.execute(select(audit)).all())
    assert [(row.action, row.kind) for row in rows] == [
        ("CreateModel", "model"),
        ("CreateEndpointConfig", "endpoint-config"),
        ("CreateEndpoint", "endpoint"),
        ("DeleteEndpoint", "endpoint"),
    ]
    assert {(row.principal_arn, row.key_id, row.request_id) for row in rows} == {
        ("arn:aws:iam::123456789012:root", "CLARYTEST", "request-1")
    }


async def test_a_refused_create_leaves_no_trace(host: Host) -> None:
    await host.endpoint("e")
    before = await host.store.read(lambda connection: len(connection.execute(select(audit)).all()))
    with pytest.raises(AlreadyExists):
        await endpoints.create(host.desk, CALLER, "e", "e", {})
    with pytest.raises(Invalid):
        await endpoints.create(host.desk, CALLER, "f", "e", {"aws:x": "reserved"})
    assert len((await endpoints.list_endpoints(host.desk, CALLER, ListQuery()))[0]) == 1
    assert await host.store.read(lambda connection: len(connection.execute(select(audit)).all())) == before


# -- Lists -------------------------------------------------------------------------------------------------------------


async def names(host: Host, **query: object) -> list[str]:
    found, _ = await endpoints.list_endpoints(host.desk, CALLER, ListQuery(**query))  # type: ignore[arg-type]
    return [record.name for record in found]


async def three(host: Host) -> None:
    """Endpoints b, A and c, made in this order, a second apart."""
    await host.endpoint("b")
    for name in ("A", "c"):
        await host.clock.advance(1)
        await endpoints.create(host.desk, CALLER, name, "b", {})


async def test_lists_sort_and_filter(host: Host) -> None:
    await three(host)
    await host.store.write(
        lambda c: c.execute(update(table).where(table.c.name == "A").values(**SETTLED, failure_reason=None))
    )
    start = host.clock.now_us() - 2_000_000
    assert await names(host) == ["c", "A", "b"]
    assert await names(host, descending=False) == ["b", "A", "c"]
    assert await names(host, sort_by="Name", descending=False) == ["A", "b", "c"]
    assert await names(host, sort_by="Status", descending=False) == ["b", "c", "A"]
    assert await names(host, name_contains="a") == ["A"]
    assert await names(host, name_contains="%") == []
    assert await names(host, status="InService") == ["A"]
    assert await names(host, status="Creating") == ["c", "b"]
    assert await names(host, created_from_us=start + 1_000_000) == ["c", "A"]
    assert await names(host, created_before_us=start + 1_000_000) == ["b"]
    assert await names(host, modified_after_us=start + 1_000_000) == ["c"]
    assert await names(host, modified_before_us=start + 1) == ["b"]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort_by", ["Name", "CreationTime", "Status"])
async def test_pages_neither_repeat_nor_skip_while_rows_come_and_go(host: Host, sort_by: str, descending: bool) -> None:
    await host.endpoint("m0")
    for index in range(1, 9):
        await endpoints.create(host.desk, CALLER, f"m{index}", "m0", {})
    query, seen = ListQuery(sort_by=sort_by, descending=descending, limit=2), []
    for turn in range(20):
        page, more = await endpoints.list_endpoints(host.desk, CALLER, query)
        seen += [record.name for record in page]
        # By name it sorts before all, by time and status wherever it falls: those who were there stay as they were.
        await endpoints.create(host.desk, CALLER, f"{'z' if descending else 'a'}{turn}", "m0", {})
        if more is None:
            break
        query = replace(query, after=more)
    old = [name for name in seen if name.startswith("m")]
    assert sorted(old) == [f"m{index}" for index in range(9)]


async def test_the_status_in_sql_is_the_status_in_python(host: Host) -> None:
    await host.endpoint("e")
    for deleting in (None, 1):
        for generation in (1, 2):
            for observed in (None, (1, "InService"), (1, "Failed"), (2, "InService")):
                columns = {
                    "delete_requested_us": deleting,
                    "generation": generation,
                    "observed_generation": observed[0] if observed else None,
                    "observed_status": observed[1] if observed else None,
                }
                await host.store.write(lambda c, columns=columns: c.execute(update(table).values(**columns)))
                row = await host.store.read(lambda c: c.execute(select(table)).one())
                status = endpoint_record(row).status.value
                for asked in EndpointStatus:
                    assert bool(await names(host, status=asked.value)) == (asked.value == status), columns
