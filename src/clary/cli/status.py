"""`clary status`: what an endpoint does now - fleets, traffic, rollout, alarms, scaling."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clary.cli import alarms, options, scale, scaling
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.output import print_json, print_table
from clary.cli.versions import path_of

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY_S = 1.0


def status(
    name: options.EndpointName,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it, each second, until Ctrl-C; in a pipe each change.")
    ] = False,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what an endpoint does now: fleets and their share, a rollout's stage, alarms, replicas, scaling."""
    api = Api(find(url, home, region, profile))
    if not watch:
        found = document_of(api, name)
        if as_json:
            print_json(found)
        else:
            for number, (title, (columns, rows)) in enumerate(sections(found).items()):
                print(f"\n{title}" if number else title)
                if rows:
                    print_table(columns, rows, empty="")
        return
    if as_json:
        for found in looks(api, name):
            print(json.dumps(found), flush=True)
    elif sys.stdout.isatty():
        _live(api, name)
    else:
        told = ""
        for found in looks(api, name):
            line = line_of(found)
            if line != told:
                print(f"{time.strftime('%H:%M:%S', time.gmtime())}  {line}", flush=True)
                told = line


def seen_of(api: Api, name: str) -> dict[str, Any]:
    """Fleets and rollout, as Clary's own API has them now; DescribeEndpoint would be held while they change."""
    return api.admin("GET", f"{path_of(name)}/status")


def document_of(api: Api, name: str) -> dict[str, Any]:
    """What `status --json` prints; docs/reference/json.md holds the shape."""
    seen = seen_of(api, name)
    guards = [alarm["name"] for alarm in (seen["rollout"] or {}).get("alarms", [])]
    variants = sorted({v["variant"] for fleet in seen["fleets"] for v in fleet["variants"]})
    return {
        **seen,
        "alarms": [_alarm(alarm, guards) for alarm in alarms.alarms_of(api) if _about(alarm, seen["name"], guards)],
        "scaling": scaling.scaling_of(api, seen["name"], variants),
        "load": [one for one in scale.show(api, seen["name"])["variants"] if one["by"] == "load"],
    }


def looks(api: Api, name: str) -> Iterator[dict[str, Any]]:
    """The document again and again, a second apart; endless."""
    while True:
        yield document_of(api, name)
        time.sleep(EVERY_S)


def head(found: dict[str, Any]) -> str:
    """The endpoint in one line."""
    why = f": {found['failure_reason']}" if found["failure_reason"] else ""
    return f"{found['name']} is {found['status']}{why}"


def stage_line(seen: dict[str, Any]) -> str:
    """How far an update is, in one line."""
    rollout = seen["rollout"]
    if rollout is None:
        return head(seen)
    new = f"version {rollout['new']['version']}"
    at = f"step {rollout['step']} of {rollout['steps']}"
    shares = ", ".join(sorted({f"{100 * share:.4g}%" for share in rollout["shares"].values()}))
    if rollout["stage"] == "returning":
        return f"{seen['name']} goes back to version {rollout['old']['version']}: {rollout['reason']}"
    if rollout["stage"] == "starting":
        return f"{seen['name']}: {new} starts ({at}), it has {shares} of the traffic"
    return f"{seen['name']}: {new} has {shares} of the traffic and bakes ({at})"


def line_of(found: dict[str, Any]) -> str:
    """All that changes but the countdown, in one line: for a pipe."""
    ready = "; ".join(
        f"v{fleet['version']} {v['variant']} {v['ready']}/{v['wanted']}"
        for fleet in found["fleets"]
        for v in fleet["variants"]
    )
    ringing = [alarm["name"] for alarm in found["alarms"] if alarm["state"] == "ALARM"]
    return f"{stage_line(found)}; replicas {ready}" + (f"; in ALARM: {', '.join(ringing)}" if ringing else "")


Section = tuple[list[str], list[list[object]]]


def sections(found: dict[str, Any]) -> dict[str, Section]:
    """Title to a table's columns and rows, in the order to show them."""
    shown: dict[str, Section] = {
        head(found): (
            ["VERSION", "VARIANT", "TRAFFIC", "WEIGHT", "READY", "CONFIGURATION"],
            [
                [fleet["version"], v["variant"], f"{100 * v['share']:.4g}%", f"{v['weight']:g}",
                 f"{v['ready']} of {v['wanted']}", fleet["config"]]
                for fleet in found["fleets"]
                for v in fleet["variants"]
            ],
        )
    }  # fmt: skip
    if found["rollout"]:
        shown[f"{stage_line(found)}{_countdown(found['rollout'])}"] = ([], [])
    if found["alarms"]:
        rows: list[list[object]] = [
            [a["name"] + (" (guard)" if a["guards"] else ""), a["state"], _number(a["value"]), a["watches"]]
            for a in found["alarms"]
        ]
        shown["Alarms"] = (["ALARM", "STATE", "LATEST", "WATCHES"], rows)
    if found["scaling"] or found["load"]:
        shown["Scaling"] = (["VARIANT", "BY", ""], _scaling_rows(found))
    return shown


def _scaling_rows(found: dict[str, Any]) -> list[list[object]]:
    last = [{**one, "schedule": [], "activities": one["activities"][:1]} for one in found["scaling"]]
    return [
        *(list(row) for row in scaling.rows(last)),
        *([one["variant"], "load", _load_words(one)] for one in found["load"]),
    ]


def _load_words(one: dict[str, Any]) -> str:
    each = f"one for each {one['concurrency']} requests at once"
    return f"{one['min']} to {one['max']}, {each}; {one['load']:.1f} now"


def _countdown(rollout: dict[str, Any]) -> str:
    if rollout["stage"] != "baking":
        return ""
    left_s = round(rollout["bake_left_s"])
    held = "" if rollout["counting"] else ", which stands still: alarms are not evaluated or replicas not ready"
    return f"; {left_s // 60}:{left_s % 60:02d} left{held}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def _alarm(alarm: dict[str, Any], guards: list[str]) -> dict[str, Any]:
    return {
        "name": alarm["AlarmName"],
        "state": alarm["StateValue"],
        "value": _latest(alarm),
        "watches": alarms.watches(alarm),
        "guards": alarm["AlarmName"] in guards,
    }


def _latest(alarm: dict[str, Any]) -> float | None:
    """The newest value that its evaluation went by; None where it had none."""
    try:
        recent = json.loads(alarm.get("StateReasonData") or "{}").get("recentDatapoints") or []
    except (ValueError, AttributeError):
        return None
    return float(recent[-1]) if recent and recent[-1] is not None else None


def _about(alarm: dict[str, Any], endpoint: str, guards: list[str]) -> bool:
    """Whether an alarm watches the endpoint, or guards its rollout; those of earlier rollouts do neither."""
    if alarm["AlarmName"] in guards:
        return True
    metrics = [alarm, *(query.get("MetricStat", {}).get("Metric", {}) for query in alarm.get("Metrics", []))]
    pairs = [(pair["Name"], pair["Value"]) for metric in metrics for pair in metric.get("Dimensions", [])]
    return ("EndpointName", endpoint) in pairs and all(name != "EndpointConfigName" for name, _ in pairs)


def _live(api: Api, name: str) -> None:
    """The same place of the terminal, each second."""
    from rich.live import Live

    with Live(auto_refresh=False) as screen:
        for found in looks(api, name):
            screen.update(_picture(found), refresh=True)


def _picture(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for title, (columns, rows) in sections(found).items():
        parts.append(Text(title, style="bold"))
        if not columns and found["rollout"]:
            share = min(found["rollout"]["shares"].values(), default=0.0)
            parts.append(ProgressBar(total=1.0, completed=share, width=40))
        elif rows:
            table = Table(box=None, header_style="dim", pad_edge=False)
            for column in columns:
                table.add_column(column)
            for row in rows:
                cells = ["-" if cell is None else str(cell) for cell in row]
                table.add_row(*(Text(cell, style="bold red" if cell == "ALARM" else "") for cell in cells))
            parts.append(table)
        parts.append(Text())
    return Group(*parts)
