"""`clary alarms`: what is wrong, and how it is noticed."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import number, print_facts, print_json, print_table
from clary.domain.alarms import MetricAlarm, MetricQuery, MetricStat
from clary.domain.errors import Invalid
from clary.domain.objectives import EXAMPLES, Watched, alarm_of, parse_objective

app = typer.Typer(help="Alarms: what is wrong, and how it is noticed.", no_args_is_help=True)

LINES = 50
BOTH = ["MetricAlarm", "CompositeAlarm"]
AlarmName = Annotated[str, typer.Argument(metavar="ALARM", help="Name of the alarm.")]


class Value(enum.StrEnum):
    """States of an alarm."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@app.command()
def add(
    name: AlarmName,
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="NAME", help="The endpoint to watch.")],
    objective: Annotated[
        str, typer.Option("--objective", metavar="TEXT", help=f"What should hold; ALARM while it does not: {EXAMPLES}.")
    ],
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="NAME", help="Its variant. Default: the only one it has.")
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option("--action", metavar="NAME_OR_ARN", help="What is told when it goes into ALARM; may be repeated."),
    ] = None,
    ok_action: Annotated[
        list[str] | None,
        typer.Option("--ok-action", metavar="NAME_OR_ARN", help="What is told when it is OK again; may be repeated."),
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Watch an objective: make an alarm that is in ALARM while it is missed, or define one anew."""
    try:
        wanted = parse_objective(objective)
    except Invalid as error:
        raise CliError(Exit.USAGE, error.message) from None
    api = Api(find(url, home, region, profile))
    try:
        alarm = alarm_of(wanted, Watched(endpoint, variant or _only_variant(api, endpoint)))
    except Invalid as error:
        raise CliError(Exit.USAGE, error.message) from None
    ask(
        api,
        "PutMetricAlarm",
        AlarmName=name,
        **members_of(alarm),
        AlarmActions=[action_arn(api, text) for text in action or []],
        OKActions=[action_arn(api, text) for text in ok_action or []],
    )
    _show(_found(api, name), as_json=as_json)


@app.command("list")
def list_(
    state: Annotated[Value | None, typer.Option("--state", help="Only alarms in this state.")] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="TEXT", help="Only alarms whose names begin so.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List alarms with their states."""
    api = Api(find(url, home, region, profile))
    asked: dict[str, Any] = {"StateValue": state.value} if state else {}
    if prefix:
        asked["AlarmNamePrefix"] = prefix
    found = sorted((_described(alarm) for alarm in alarms_of(api, **asked)), key=lambda alarm: str(alarm["name"]))
    if as_json:
        print_json({"alarms": found})
        return
    rows = [[alarm[column] for column in ("name", "state", "since", "watches")] for alarm in found]
    print_table(["NAME", "STATE", "SINCE (UTC)", "WATCHES"], rows, empty="No alarms: `clary alarms add` makes one.")


@app.command()
def describe(
    name: AlarmName,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show an alarm: its state and why, what it watches, whom it tells."""
    _show(_found(Api(find(url, home, region, profile)), name), as_json=as_json)


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="[ALARM]", help="Only this alarm's.")] = None,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, max=10_000, help="How many, the newest first. [50]")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List what became of alarms in the last two weeks, also of those that are deleted."""
    api = Api(find(url, home, region, profile))
    asked: dict[str, Any] = {"AlarmTypes": BOTH, "MaxRecords": 100, **({"AlarmName": name} if name else {})}
    found: list[dict[str, Any]] = []
    for item in _pages(api, "DescribeAlarmHistory", ("AlarmHistoryItems",), asked):
        at, kind = _instant(item["Timestamp"]), item["HistoryItemType"]
        found.append({"time": at, "alarm": item["AlarmName"], "kind": kind, "summary": item["HistorySummary"]})
        if len(found) == (lines or LINES):
            break
    if as_json:
        print_json({"history": found})
        return
    rows = [[item[column] for column in ("time", "alarm", "summary")] for item in found]
    print_table(["TIME (UTC)", "ALARM", "WHAT"], rows, empty="Nothing happened.")


@app.command("set-state")
def set_state(
    name: AlarmName,
    state: Annotated[Value, typer.Argument(help="The state.")],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why. [Set by clary alarms set-state]")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Put an alarm into a state until it is evaluated the next time: a drill for its actions."""
    api = Api(find(url, home, region, profile))
    why = reason or "Set by clary alarms set-state"
    ask(api, "SetAlarmState", AlarmName=name, StateValue=state.value, StateReason=why)
    _show(_found(api, name), as_json=as_json)


@app.command()
def delete(
    name: AlarmName,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete an alarm; its history stays for two weeks."""
    api = Api(find(url, home, region, profile))
    _found(api, name)
    ask(api, "DeleteAlarms", AlarmNames=[name])
    if as_json:
        print_json({"deleted": name})
    else:
        print(f"deleted {name}")


def ask(api: Api, operation: str, **members: Any) -> dict[str, Any]:
    """An operation of CloudWatch; the members of its answer."""
    return api.json("monitoring", f"GraniteServiceVersion20100801.{operation}", members)


def _pages(api: Api, operation: str, lists: tuple[str, ...], members: dict[str, Any]) -> Iterator[dict[str, Any]]:
    token: str | None = None
    while True:
        page = ask(api, operation, **members, **({"NextToken": token} if token else {}))
        for key in lists:
            yield from page.get(key, [])
        token = page.get("NextToken")
        if not token:
            return


def alarms_of(api: Api, **members: Any) -> Iterator[dict[str, Any]]:
    """Alarms as DescribeAlarms has them; `members`: which."""
    lists = ("MetricAlarms", "CompositeAlarms")
    return _pages(api, "DescribeAlarms", lists, {"AlarmTypes": BOTH, "MaxRecords": 100, **members})


def _found(api: Api, name: str) -> dict[str, Any]:
    alarm = next(alarms_of(api, AlarmNames=[name]), None)
    if alarm is None:
        raise CliError(Exit.NOT_FOUND, f"There is no alarm {name}.", "`clary alarms list` shows those that there are.")
    return _described(alarm)


def _described(alarm: dict[str, Any]) -> dict[str, Any]:
    """What `describe --json` prints; docs/reference/json.md holds the shape."""
    return {
        "name": alarm["AlarmName"],
        "state": alarm["StateValue"],
        "since": _instant(alarm["StateTransitionedTimestamp"]),
        "reason": alarm["StateReason"],
        "evaluation": alarm.get("EvaluationState"),
        "description": alarm.get("AlarmDescription"),
        "watches": watches(alarm),
        "actions_enabled": alarm["ActionsEnabled"],
        "alarm_actions": alarm["AlarmActions"],
        "ok_actions": alarm["OKActions"],
        "insufficient_data_actions": alarm["InsufficientDataActions"],
        "arn": alarm["AlarmArn"],
    }


def watches(alarm: dict[str, Any]) -> str:
    """One line: `p99 of ModelLatency (EndpointName=e) >= 50000 for 3 of 5 x 60 s`."""
    if "AlarmRule" in alarm:
        return str(alarm["AlarmRule"])
    signs = {"GreaterThanThreshold": ">", "GreaterThanOrEqualToThreshold": ">=", "LessThanThreshold": "<"}
    sign = signs.get(alarm["ComparisonOperator"], "<=")
    periods = alarm["EvaluationPeriods"]
    if "MetricName" in alarm:
        pairs = ", ".join(f"{pair['Name']}={pair['Value']}" for pair in alarm["Dimensions"])
        subject = f"{alarm.get('Statistic') or alarm['ExtendedStatistic']} of {alarm['MetricName']} ({pairs})"
        span = f" x {alarm['Period']} s"
    else:
        watched = next(query for query in alarm["Metrics"] if query.get("ReturnData", True))
        subject, span = str(watched.get("Label") or watched.get("Expression") or watched["Id"]), " periods"
    least = alarm.get("DatapointsToAlarm", periods)
    return f"{subject} {sign} {number(alarm['Threshold'])} for {least} of {periods}{span}"


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    shown = {name.replace("_", " "): ", ".join(v) if isinstance(v, list) else v for name, v in found.items()}
    print_facts(shown)


def members_of(alarm: MetricAlarm) -> dict[str, Any]:
    """PutMetricAlarm's members of an alarm on an objective."""
    watched = alarm.watched.stat
    queries = [_query(query) for query in alarm.queries]
    return {
        **({"Metrics": queries} if watched is None else _single(watched)),
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.breaching_min,
        "Threshold": alarm.threshold,
        "ComparisonOperator": alarm.comparison.value,
        "TreatMissingData": alarm.missing.value if alarm.missing else "missing",
        "AlarmDescription": alarm.description or "",
    }


def _metric(stat: MetricStat) -> dict[str, Any]:
    pairs = [{"Name": name, "Value": value} for name, value in stat.dimensions]
    return {"Namespace": stat.namespace, "MetricName": stat.metric, "Dimensions": pairs}


def _single(stat: MetricStat) -> dict[str, Any]:
    name = "ExtendedStatistic" if stat.stat.startswith("p") else "Statistic"
    return {**_metric(stat), name: stat.stat, "Period": stat.period_s}


def _query(query: MetricQuery) -> dict[str, Any]:
    members: dict[str, Any] = {"Id": query.id, "ReturnData": query.returned}
    if query.stat is None:
        return {**members, "Expression": query.expression, "Label": query.label}
    return {
        **members,
        "MetricStat": {"Metric": _metric(query.stat), "Period": query.stat.period_s, "Stat": query.stat.stat},
    }


def _only_variant(api: Api, endpoint: str) -> str:
    found = api.sagemaker("DescribeEndpoint", EndpointName=endpoint).get("ProductionVariants", [])
    names = [variant["VariantName"] for variant in found]
    if len(names) != 1:
        raise CliError(Exit.USAGE, f"{endpoint} has the variants {', '.join(names) or 'none yet'}: give --variant.")
    return str(names[0])


def action_arn(api: Api, text: str) -> str:
    """An ARN as it is; a name as the ARN of the action of that name."""
    if text.startswith("arn:"):
        return text
    return f"arn:aws:lambda:{api.target.region}:{api.account()}:function:{text}"


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
