"""Use cases of autoscaling: what is kept when something is given anew, limits, pages, and what goes with what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from clary.control import endpoints, scaling, scaling_tags
from clary.control.desk import Caller
from clary.control.scaling import Registration, Resource
from clary.domain.alarms import MetricQuery
from clary.domain.errors import DomainError, Invalid, LimitExceeded, NotFound
from clary.domain.principal import Scope
from clary.domain.scaling import ScheduledSpec, StepAdjustment, StepScaling, Suspended, TargetTracking
from clary.domain.schedules import Times
from clary.store.alarms import alarms_of
from clary.store.scaling import Target, policies_of
from clary.store.scaling_pages import Page
from tests.support.hosting import CALLER, Host

AT = Resource("endpoint/e/variant/AllTraffic")
RULE = TargetTracking(70.0, "SageMakerVariantInvocationsPerInstance")
STEPS = StepScaling("ChangeInCapacity", (StepAdjustment(1, 0.0, None),))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path)
    await host.endpoint("e")
    yield host
    host.close()


async def target(host: Host) -> Target:
    found, _ = await scaling.targets(host.desk, CALLER, Page(50))
    (one,) = found
    return one


async def test_what_is_not_given_anew_stays(host: Host) -> None:
    arn = await scaling.register(host.desk, CALLER, AT, Registration(1, 4, "arn:mine", scale_in_suspended=True))
    again = Registration(max_capacity=6, scheduled_suspended=True)
    assert await scaling.register(host.desk, CALLER, Resource("endpoint/E/variant/alltraffic"), again) == arn
    spec = (await target(host)).spec
    assert (spec.min_capacity, spec.max_capacity, spec.role_arn, spec.revision) == (1, 6, "arn:mine", 2)
    assert spec.suspended == Suspended(scale_in=True, scale_out=False, scheduled=True)
    await scaling.register(host.desk, CALLER, AT, Registration(scale_in_suspended=False))
    spec = (await target(host)).spec
    assert (spec.suspended.scale_in, spec.revision) == (False, 2)
    with pytest.raises(Invalid, match="cannot be less"):
        await scaling.register(host.desk, CALLER, AT, Registration(min_capacity=7))
    with pytest.raises(Invalid, match="already exists"):
        await scaling.register(host.desk, CALLER, AT, Registration(tags={"a": "b"}))


@pytest.mark.parametrize("resource", ["endpoint/none/variant/AllTraffic", "endpoint/e/variant/Other", "table/e"])
async def test_only_variants_that_there_are_can_be_registered(host: Host, resource: str) -> None:
    with pytest.raises(DomainError):
        await scaling.register(host.desk, CALLER, Resource(resource), Registration(1, 2))
    with pytest.raises(NotFound):
        await scaling.put_policy(host.desk, CALLER, Resource(resource), "p", RULE)
    with pytest.raises(NotFound):
        await scaling.put_action(host.desk, CALLER, Resource(resource), "a", ScheduledSpec(Times("rate(1 day)"), 1))


async def test_a_policy_put_anew_keeps_its_alarms_and_its_type(host: Host) -> None:
    await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
    first, arn = await scaling.put_policy(host.desk, CALLER, AT, "p", RULE)
    again, same = await scaling.put_policy(host.desk, CALLER, AT, "p", replace(RULE, target=100.0))
    assert (again.alarm_high, again.alarm_low, same) == (first.alarm_high, first.alarm_low, arn)
    alarms = {alarm.name: alarm.spec.threshold for alarm in await host.store.read(alarms_of)}  # type: ignore[union-attr]
    assert alarms == {first.alarm_high: 100.0, first.alarm_low: 90.0}
    with pytest.raises(Invalid, match="cannot change"):
        await scaling.put_policy(host.desk, CALLER, AT, "p", STEPS)
    out_only, _ = await scaling.put_policy(host.desk, CALLER, AT, "p", replace(RULE, disable_scale_in=True))
    assert out_only.alarm_low == ""
    assert [alarm.name for alarm in await host.store.read(alarms_of)] == [first.alarm_high]
    await scaling.delete_policy(host.desk, CALLER, AT, "p")
    assert await host.store.read(alarms_of) == []
    with pytest.raises(NotFound):
        await scaling.delete_policy(host.desk, CALLER, AT, "p")


async def test_a_metric_that_cannot_be_computed_is_refused_and_nothing_is_kept(host: Host) -> None:
    await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
    wrong = TargetTracking(5.0, queries=(MetricQuery("e1", None, "m1 +* 2", "", 60),))
    with pytest.raises(DomainError):
        await scaling.put_policy(host.desk, CALLER, AT, "p", wrong)
    assert await host.store.read(alarms_of) == []
    assert (await scaling.policies(host.desk, CALLER, Page(10)))[0] == []


async def test_an_action_put_anew_loses_its_start_and_end_only(host: Host) -> None:
    await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
    times = Times("cron(0 8 * * ? *)", "Europe/Berlin", 10, 20)
    await scaling.put_action(host.desk, CALLER, AT, "a", ScheduledSpec(times, 2, 3))
    await scaling.put_action(host.desk, CALLER, AT, "a", ScheduledSpec(Times(""), 1))
    found, _ = await scaling.actions(host.desk, CALLER, Page(50))
    assert found[0][0].spec == ScheduledSpec(Times("cron(0 8 * * ? *)", "Europe/Berlin"), 1, None)
    await scaling.put_action(host.desk, CALLER, AT, "a", ScheduledSpec(Times("rate(1 day)")))
    found, _ = await scaling.actions(host.desk, CALLER, Page(50))
    assert found[0][0].spec == ScheduledSpec(Times("rate(1 day)", "Europe/Berlin"), 1, None)
    with pytest.raises(Invalid, match="Schedule is required"):
        await scaling.put_action(host.desk, CALLER, AT, "new", ScheduledSpec(Times(""), 1))
    with pytest.raises(Invalid, match="ScalableTargetAction"):
        await scaling.put_action(host.desk, CALLER, AT, "new", ScheduledSpec(Times("rate(1 day)")))


async def test_pages_go_on_where_they_ended_and_names_are_filters(host: Host) -> None:
    await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
    for number in range(5):
        await scaling.put_policy(host.desk, CALLER, AT, f"p{number}", STEPS)
    seen, after = [], None
    while True:
        found, after = await scaling.policies(host.desk, CALLER, Page(2, after))
        seen += [policy.name for policy, _ in found]
        if after is None:
            break
    # Of one instant: in the order of uids.
    assert sorted(seen) == [f"p{number}" for number in range(5)]
    found, _ = await scaling.policies(host.desk, CALLER, Page(10, names=["p3", "none"]))
    assert [policy.name for policy, _ in found] == ["p3"]
    assert (await scaling.policies(host.desk, CALLER, Page(10, resource_ids=["endpoint/x/variant/y"])))[0] == []


async def test_limits(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "POLICIES_MAX", 1)
    monkeypatch.setattr(scaling, "ACTIONS_MAX", 0)
    await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
    await scaling.put_policy(host.desk, CALLER, AT, "p", STEPS)
    await scaling.put_policy(host.desk, CALLER, AT, "p", STEPS)
    for call in (
        scaling.put_policy(host.desk, CALLER, AT, "q", STEPS),
        scaling.put_action(host.desk, CALLER, AT, "a", ScheduledSpec(Times("rate(1 day)"), 1)),
    ):
        with pytest.raises(LimitExceeded):
            await call
    monkeypatch.setattr(scaling, "TARGETS_MAX", 1)
    with pytest.raises(LimitExceeded):
        await scaling.register(host.desk, CALLER, Resource("endpoint/e/variant/Other"), Registration(1, 4))


async def test_tags_are_of_ones_own_targets(host: Host) -> None:
    arn = await scaling.register(host.desk, CALLER, AT, Registration(1, 4, tags={"a": "1"}))
    await scaling_tags.tag(host.desk, CALLER, arn, {"a": "2", "b": "3"})
    await scaling_tags.untag(host.desk, CALLER, arn, ["b", "none"])
    assert await scaling_tags.list_tags(host.desk, CALLER, arn) == {"a": "2"}
    elsewhere = Caller(CALLER.principal, Scope(CALLER.scope.account, "eu-west-1"), "r")
    for caller, asked in ((CALLER, arn[:-1] + ("1" if arn.endswith("0") else "0")), (elsewhere, arn)):
        with pytest.raises(NotFound):
            await scaling_tags.list_tags(host.desk, caller, asked)


async def test_a_deleted_endpoint_is_scaled_no_more(host: Host) -> None:
    async with host.reconciling():
        await host.until_status("e", "InService")
        await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
        await scaling.put_policy(host.desk, CALLER, AT, "p", RULE)
        uid = (await target(host)).uid
        await endpoints.remove(host.desk, CALLER, "e")
        assert (await scaling.targets(host.desk, CALLER, Page(50)))[0] == []
        assert await host.store.read(lambda connection: policies_of(connection, [uid])) == []
        assert await host.store.read(alarms_of) == []
        with pytest.raises(Invalid, match="doesn't exist"):
            await scaling.register(host.desk, CALLER, AT, Registration(1, 4))
        await host.until_gone("e")
