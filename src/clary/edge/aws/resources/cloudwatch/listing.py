"""ListMetrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clary.control import metrics
from clary.control.metrics import MetricDesk
from clary.domain.errors import Invalid
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members
from clary.edge.aws.resources.cloudwatch.common import parameters as asked_of
from clary.telemetry.points import decode_dimensions, encode_dimensions
from clary.telemetry.query import Metric, MetricFilter

LIST_PAGE = 500

FIELDS: Mapping[str, Field] = dict.fromkeys(
    (
        "Namespace",
        "MetricName",
        "Dimensions",
        "NextToken",
        "RecentlyActive",
        "IncludeLinkedAccounts",
        "OwningAccount",
    ),
    Field.SERVED,
)


async def list_metrics(desk: MetricDesk, call: Call, members: Members) -> Members:
    after: Metric | None = None
    parameters = asked_of("ListMetrics", call, members)
    if token := members.get("NextToken"):
        try:
            namespace, name, dimensions = map(str, page.decode(token, parameters))
        except Invalid as error:
            raise AwsError("InvalidParameterValue", error.message) from None
        after = Metric(namespace, name, decode_dimensions(dimensions))
    linked = members.get("IncludeLinkedAccounts", False)
    owner = members.get("OwningAccount", call.scope.account)
    if owner != call.scope.account:
        if not linked:
            text = "The parameter OwningAccount needs the parameter IncludeLinkedAccounts to be true."
            raise AwsError("InvalidParameterValue", text)
        # No account is linked to another here, so another's metrics are none.
        return {"Metrics": [], "OwningAccounts": []}
    wanted = MetricFilter(
        members.get("Namespace"),
        members.get("MetricName"),
        [(pair["Name"], pair.get("Value")) for pair in members.get("Dimensions") or []],
    )
    recent = "RecentlyActive" in members
    found = await metrics.metrics(desk, call.scope, wanted, after, LIST_PAGE + 1, recent=recent)
    shown = found[:LIST_PAGE]
    answer: dict[str, Any] = {
        "Metrics": [
            {
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
            }
            for metric in shown
        ]
    }
    if linked:
        answer["OwningAccounts"] = [call.scope.account] * len(shown)
    if len(found) > LIST_PAGE:
        last = shown[-1]
        position = (last.namespace, last.name, encode_dimensions(last.dimensions))
        answer["NextToken"] = page.encode(position, parameters)
    return answer
