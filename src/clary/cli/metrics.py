"""`clary metrics`: which metrics there are, and how they went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import print_json, print_table
from clary.domain.durations import seconds_of
from clary.domain.errors import Invalid

app = typer.Typer(help="What is measured, and how it went.", no_args_is_help=True)

TARGET = "GraniteServiceVersion20100801"
OWN = "AWS/SageMaker"
SHOWN_MAX = 50
"""Metrics of one `get`."""
BARS = "▁▂▃▄▅▆▇█"
SPARK_CHARS = 40
SPAN_S_MAX = 455 * 86_400
"""As far back as any point is kept."""

Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="Only metrics of this endpoint.")]
Dimension = Annotated[
    list[str] | None,
    typer.Option("--dimension", metavar="NAME=VALUE", help="Only metrics with this dimension; may be repeated."),
]


@app.command("list")
def list_(
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAME", help="Only metrics of this namespace.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", metavar="NAME", help="Only metrics of this name.")] = None,
    endpoint: Endpoint = None,
    dimension: Dimension = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List metrics with a point in the last two weeks."""
    api = Api(find(url, home, region, profile))
    found = list(_listed(api, namespace, metric, _dimensions(endpoint, dimension)))
    if as_json:
        print_json({"metrics": [_identity(one) for one in found]})
        return
    rows = [[one["Namespace"], one["MetricName"], _words(one)] for one in found]
    print_table(["NAMESPACE", "METRIC", "DIMENSIONS"], rows, empty="No metrics.")


@app.command()
def get(
    metric: Annotated[str, typer.Argument(metavar="METRIC", help="Name of the metric, such as ModelLatency.")],
    endpoint: Endpoint = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAME", help="Its namespace. [AWS/SageMaker]")
    ] = None,
    dimension: Dimension = None,
    stat: Annotated[
        str | None,
        typer.Option(
            "--stat",
            metavar="NAME",
            help="Sum, Average, Minimum, Maximum, SampleCount or p99. [Sum of counts, Average]",
        ),
    ] = None,
    period: Annotated[
        str | None, typer.Option("--period", metavar="TIME", help="Of one point: 10s, 1m, 1h. [1m]")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="How far back: 10m, 3h, 2d. [1h]")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show how a metric went: a line for each set of dimensions that it has."""
    api = Api(find(url, home, region, profile))
    asked = _Asked(stat or _usual(metric), _seconds(period or "1m", "--period"), _seconds(since or "1h", "--since"))
    found = list(_listed(api, namespace or OWN, metric, _dimensions(endpoint, dimension)))
    if not found:
        raise CliError(
            Exit.NOT_FOUND,
            f"No metric {metric} is found in {namespace or OWN}.",
            "See what there is: clary metrics list",
        )
    if len(found) > SHOWN_MAX:
        raise CliError(Exit.USAGE, f"{len(found)} metrics are found. Name fewer with --endpoint or --dimension.")
    lines = _points(api, found, asked)
    if as_json:
        print_json(
            {
                "metrics": [
                    {
                        **_identity(one),
                        "stat": asked.stat,
                        "period_s": asked.period_s,
                        "points": [{"time": datetime.fromtimestamp(at, UTC), "value": value} for at, value in points],
                    }
                    for one, points in zip(found, lines, strict=True)
                ]
            }
        )
        return
    rows = [_row(one, points, asked) for one, points in zip(found, lines, strict=True)]
    columns = ["DIMENSIONS", asked.stat.upper(), "LEAST", "MEAN", "MOST", f"LAST {since or '1h'}"]
    print_table(columns, rows, empty="No points.")


@dataclass(frozen=True)
class _Asked:
    stat: str
    period_s: int
    since_s: int


Points = list[tuple[float, float]]


def _listed(
    api: Api, namespace: str | None, metric: str | None, dimensions: Sequence[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    members: dict[str, Any] = {"Dimensions": list(dimensions)} if dimensions else {}
    members |= {name: value for name, value in (("Namespace", namespace), ("MetricName", metric)) if value}
    token = None
    while True:
        page = _ask(api, "ListMetrics", **members, **({"NextToken": token} if token else {}))
        yield from page["Metrics"]
        token = page.get("NextToken")
        if not token:
            return


def _points(api: Api, found: Sequence[dict[str, Any]], asked: _Asked) -> list[Points]:
    """The points of each metric, the oldest first, over as many pages as there are."""
    end_s = int(time.time()) + 1
    members = {
        "StartTime": end_s - asked.since_s,
        "EndTime": end_s,
        "ScanBy": "TimestampAscending",
        "MetricDataQueries": [
            {"Id": f"m{number}", "MetricStat": {"Metric": one, "Period": asked.period_s, "Stat": asked.stat}}
            for number, one in enumerate(found)
        ],
    }
    lines: list[Points] = [[] for _ in found]
    token = None
    while True:
        page = _ask(api, "GetMetricData", **members, **({"NextToken": token} if token else {}))
        for into, result in zip(lines, page["MetricDataResults"], strict=True):
            into.extend(zip(result["Timestamps"], result["Values"], strict=True))
        token = page.get("NextToken")
        if not token:
            return lines


def _ask(api: Api, operation: str, **members: Any) -> dict[str, Any]:
    return api.json("monitoring", f"{TARGET}.{operation}", members)


def _dimensions(endpoint: str | None, given: Sequence[str] | None) -> list[dict[str, str]]:
    pairs = [("EndpointName", endpoint)] if endpoint else []
    for text in given or []:
        name, sign, value = text.partition("=")
        if not name or not sign or not value:
            raise CliError(Exit.USAGE, f"--dimension {text!r} must be NAME=VALUE.")
        pairs.append((name, value))
    return [{"Name": name, "Value": value} for name, value in pairs]


def _usual(metric: str) -> str:
    """The statistic that says most of a metric: counters are summed."""
    return "Sum" if metric.startswith("Invocation") else "Average"


def _seconds(text: str, option: str) -> int:
    try:
        seconds = seconds_of(text)
    except Invalid:
        seconds = 0.0
    if not (seconds >= 1 and seconds.is_integer() and seconds <= SPAN_S_MAX):
        raise CliError(Exit.USAGE, f"{option} {text!r} must be a number with s, m, h or d, such as 10m; at most 455d.")
    return int(seconds)


def _identity(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "namespace": one["Namespace"],
        "metric": one["MetricName"],
        "dimensions": {pair["Name"]: pair["Value"] for pair in one["Dimensions"]},
    }


def _words(one: dict[str, Any]) -> str:
    return " ".join(f"{pair['Name']}={pair['Value']}" for pair in one["Dimensions"]) or "-"


def _row(one: dict[str, Any], points: Points, asked: _Asked) -> list[object]:
    values = [value for _, value in points]
    if not values:
        return [_words(one), None, None, None, None, ""]
    facts = (values[-1], min(values), sum(values) / len(values), max(values))
    return [_words(one), *(f"{fact:.6g}" for fact in facts), sparkline(points, asked.period_s)]


def sparkline(points: Points, period_s: int) -> str:
    """The newest SPARK_CHARS periods, a bar each; a blank where there is no point."""
    by_time = dict(points)
    newest = max(by_time)
    shown = [by_time.get(newest - period_s * back) for back in reversed(range(SPARK_CHARS))]
    values = [value for value in shown if value is not None]
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0
    bars = (" " if value is None else BARS[round((value - low) / span * (len(BARS) - 1))] for value in shown)
    return "".join(bars).lstrip()
