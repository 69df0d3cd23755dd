"""UpdateEndpoint and UpdateEndpointWeightsAndCapacities on the wire: whole answers, as snapshots.

Where a snapshot comes from: aws-docs (API reference), public-issue, ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clary.placement.base import ReplicaPhase
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from tests.support.hosting import IMAGE, Host
from tests.support.placement import failed, starting
from tests.support.wire import Wire, serving

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
ROLE = "arn:aws:iam::123456789012:role/Sage"
IN_PROGRESS = f'Cannot update in-progress endpoint "{ARN}".'


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    host = Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))
    async with serving(host) as wire:
        yield wire
    host.close()


async def good(wire: Wire, operation: str, **members: Any) -> Any:
    status, answer = await wire.send(operation, members)
    assert status == 200, answer
    return answer


async def refused(wire: Wire, operation: str, **members: Any) -> str:
    status, answer = await wire.send(operation, members)
    assert (status, answer["__type"]) == (400, "ValidationException")
    return str(answer["message"])


async def configure(wire: Wire, name: str, **variant: Any) -> None:
    """A model and a configuration of it, both `name`, with one variant `A`."""
    url = wire.host.source.put("models", f"{name}.tar.gz", name.encode())
    container = {"Image": IMAGE, "ModelDataUrl": url}
    await good(wire, "CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    base = {"VariantName": "A", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
    await good(wire, "CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[{**base, **variant}])


async def created(wire: Wire) -> None:
    await configure(wire, "one")
    await configure(wire, "two", InitialInstanceCount=2, InitialVariantWeight=3.0)
    await good(wire, "CreateEndpoint", EndpointName="e", EndpointConfigName="one")
    await wire.host.until_status("e", "InService")


def image(at: object) -> list[dict[str, object]]:
    return [{"SpecifiedImage": IMAGE, "ResolvedImage": IMAGE, "ResolutionTime": at}]


async def test_an_update_from_its_request_to_its_end(wire: Wire) -> None:
    async with wire.host.reconciling():
        await created(wire)
        wire.host.placement.become = starting
        answer = await good(wire, "UpdateEndpoint", EndpointName="E", EndpointConfigName="two")
        assert answer == {"EndpointArn": ARN}  # aws-docs
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        at, started = seen["CreationTime"], seen["PendingDeploymentSummary"]["StartTime"]
        # aws-docs: what serves under EndpointConfigName, what is on its way in PendingDeploymentSummary.
        old = {
            "VariantName": "A",
            "DeployedImages": image(at),
            "CurrentWeight": 1.0,
            "DesiredWeight": 1.0,
            "CurrentInstanceCount": 1,
            "DesiredInstanceCount": 1,
        }
        new = {
            "CurrentWeight": 3.0,
            "DesiredWeight": 3.0,
            "CurrentInstanceCount": 0,
            "DesiredInstanceCount": 2,
            "InstanceType": "ml.t3.medium",
            # aws-docs: messages of the guide's page on EventBridge.
            "VariantStatus": [
                {"Status": "Creating", "StatusMessage": "Launching 2 instance(s).", "StartTime": started}
            ],
        }
        assert seen == {
            "EndpointName": "e",
            "EndpointArn": ARN,
            "EndpointConfigName": "one",
            "EndpointStatus": "Updating",
            "CreationTime": at,
            "LastModifiedTime": started,
            "ProductionVariants": [old],
            "PendingDeploymentSummary": {
                "EndpointConfigName": "two",
                "ProductionVariants": [{**old, **new}],
                "StartTime": started,
            },
        }
        two = {"EndpointName": "e", "EndpointConfigName": "two"}
        assert await refused(wire, "UpdateEndpoint", **two) == IN_PROGRESS  # public-issue
        assert await refused(wire, "DeleteEndpoint", EndpointName="e") == IN_PROGRESS  # public-issue
        one = [{"VariantName": "A", "DesiredWeight": 2}]
        rescaling = {"EndpointName": "e", "DesiredWeightsAndCapacities": one}
        assert await refused(wire, "UpdateEndpointWeightsAndCapacities", **rescaling) == IN_PROGRESS  # public-issue
        placement = wire.host.placement
        await wire.host.until(lambda: len(placement.states) == 3)
        for uid in placement.states:
            placement.turn(uid, ReplicaPhase.READY)
        await wire.host.until_status("e", "InService")
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        assert (seen["EndpointConfigName"], seen["EndpointStatus"]) == ("two", "InService")
        assert "PendingDeploymentSummary" not in seen
        assert "FailureReason" not in seen


async def test_a_failed_update_is_in_service_with_its_reason(wire: Wire) -> None:
    async with wire.host.reconciling():
        await created(wire)
        wire.host.placement.become = failed("Bad model", "Mend it")
        await good(wire, "UpdateEndpoint", EndpointName="e", EndpointConfigName="two")
        await wire.host.until_status("e", "InService")
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        told = (seen["EndpointStatus"], seen["EndpointConfigName"], seen["FailureReason"])
        assert told == ("InService", "one", "Bad model. Mend it.")


async def test_weights_and_capacities_are_described_as_desired_until_they_are_current(wire: Wire) -> None:
    async with wire.host.reconciling():
        await created(wire)
        wire.host.placement.become = starting
        answer = await good(
            wire,
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="e",
            DesiredWeightsAndCapacities=[{"VariantName": "A", "DesiredWeight": 0.5, "DesiredInstanceCount": 2}],
        )
        assert answer == {"EndpointArn": ARN}
        seen = await good(wire, "DescribeEndpoint", EndpointName="e")
        (variant,) = seen["ProductionVariants"]
        assert (variant["CurrentWeight"], variant["DesiredWeight"]) == (1.0, 0.5)
        assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 2)
        (status,) = variant["VariantStatus"]
        assert (status["Status"], status["StatusMessage"]) == ("Updating", "Scaling out desired instance count to 2.")
        assert "PendingDeploymentSummary" not in seen


async def test_retained_properties(wire: Wire) -> None:
    async with wire.host.reconciling():
        await created(wire)
        await good(
            wire,
            "UpdateEndpoint",
            EndpointName="e",
            EndpointConfigName="two",
            RetainAllVariantProperties=True,
            ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
            RetainDeploymentConfig=False,
        )
        await wire.host.until_status("e", "InService")
        (variant,) = (await good(wire, "DescribeEndpoint", EndpointName="e"))["ProductionVariants"]
        assert (variant["CurrentWeight"], variant["CurrentInstanceCount"]) == (3.0, 1)


async def test_what_is_refused_is_named(wire: Wire) -> None:
    async with wire.host.reconciling():
        await created(wire)
    two = {"EndpointName": "e", "EndpointConfigName": "two"}
    said = await refused(wire, "UpdateEndpoint", **{**two, "EndpointConfigName": "three"})
    assert said.startswith('Could not find endpoint configuration "')
    said = await refused(wire, "UpdateEndpoint", **{**two, "EndpointName": "none"})
    assert said.startswith('Could not find endpoint "')
    operation = "UpdateEndpointWeightsAndCapacities"
    serverless = [{"VariantName": "A", "ServerlessUpdateConfig": {"MaxConcurrency": 1}}]
    said = await refused(wire, operation, EndpointName="e", DesiredWeightsAndCapacities=serverless)
    assert "serverlessUpdateConfig" in said
    unknown = [{"VariantName": "B", "DesiredWeight": 1.0}]
    said = await refused(wire, operation, EndpointName="e", DesiredWeightsAndCapacities=unknown)
    assert "the variant 'B', which the endpoint does not have" in said
