"""CloudWatch's dashboards: PutDashboard, GetDashboard, ListDashboards, DeleteDashboards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from clary.control import dashboards
from clary.control.desk import Desk
from clary.domain.dashboards import NAME, Fault, faults
from clary.domain.errors import Invalid, NotFound
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.members import caller_of, instant

DELETED_MAX = 100

_SERVED = Field.SERVED
PUT_FIELDS: Mapping[str, Field] = {"DashboardName": _SERVED, "DashboardBody": _SERVED, "Tags": Field.REFUSED}
PUT_NOTES = {"Tags": "Dashboards have no tags in Clary; leave them out."}
GET_FIELDS: Mapping[str, Field] = {"DashboardName": _SERVED}
LIST_FIELDS: Mapping[str, Field] = {"DashboardNamePrefix": _SERVED, "NextToken": _SERVED}
DELETE_FIELDS: Mapping[str, Field] = {"DashboardNames": _SERVED}


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of dashboards."""

    async def put(call: Call, members: Members) -> Members:
        name, body = _name(members), members["DashboardBody"]
        found = faults(body)
        if any(fault.error for fault in found):
            raise AwsError(
                "InvalidParameterInput",
                "The dashboard body is invalid, there are validation errors: "
                + "; ".join(f"{fault.path}: {fault.message}".removeprefix(": ") for fault in found if fault.error)[
                    :2000
                ],
                members={"dashboardValidationMessages": _messages(found)},
            )
        await dashboards.put(desk, caller_of(call), name, body)
        return {"DashboardValidationMessages": _messages(found)}

    async def get(call: Call, members: Members) -> Members:
        name = _name(members)
        try:
            found = await dashboards.get(desk, caller_of(call), name)
        except NotFound:
            _missing(name)
        return {"DashboardName": found.name, "DashboardArn": found.arn, "DashboardBody": found.body}

    async def list_(call: Call, members: Members) -> Members:
        return await _list(desk, call, members)

    async def delete(call: Call, members: Members) -> Members:
        names = members["DashboardNames"]
        if not 1 <= len(names) <= DELETED_MAX:
            text = f"The parameter DashboardNames must hold 1 to {DELETED_MAX} names."
            raise AwsError("InvalidParameterValue", text)
        try:
            await dashboards.remove(desk, caller_of(call), names)
        except NotFound as error:
            _missing(error.name)
        return {}

    return (
        Operation("cloudwatch", "PutDashboard", put, PUT_FIELDS, PUT_NOTES),
        Operation("cloudwatch", "GetDashboard", get, GET_FIELDS),
        Operation("cloudwatch", "ListDashboards", list_, LIST_FIELDS),
        Operation("cloudwatch", "DeleteDashboards", delete, DELETE_FIELDS),
    )


async def _list(desk: Desk, call: Call, members: Members) -> Members:
    prefix = members.get("DashboardNamePrefix", "")
    parameters = {"operation": "ListDashboards", "account": call.scope.account, "prefix": prefix}
    after = ""
    if token := members.get("NextToken"):
        try:
            after = str(page.decode(token, parameters)[0])
        except Invalid as error:
            raise AwsError("InvalidParameterValue", error.message) from None
    found = await dashboards.list_entries(desk, caller_of(call), prefix, after)
    shown = found[: dashboards.PAGE]
    answer: dict[str, Any] = {
        "DashboardEntries": [
            {
                "DashboardName": entry.name,
                "DashboardArn": entry.arn,
                "LastModified": instant(entry.modified_us),
                "Size": entry.size_bytes,
            }
            for entry in shown
        ]
    }
    if len(found) > len(shown):
        answer["NextToken"] = page.encode((shown[-1].name,), parameters)
    return answer


def _messages(found: list[Fault]) -> list[dict[str, str]]:
    return [{"DataPath": fault.path, "Message": fault.message} for fault in found]


def _name(members: Members) -> str:
    name: str = members["DashboardName"]
    if not NAME.fullmatch(name):
        text = f"The value {name[:255]} for field DashboardName contains invalid characters. "
        raise AwsError(
            "InvalidParameterValue", text + "It can only contain alphanumerics, dash (-) and underscore (_)."
        )
    return name


def _missing(name: str) -> NoReturn:
    raise AwsError("ResourceNotFound", f"Dashboard {name} does not exist", 404)
