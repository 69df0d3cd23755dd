"""Metrics of one's own on a real server, through real clients: put, asked for with expressions, listed, drawn, kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.server import Server

SPAN = timedelta(minutes=10)


def clary(server: Server, *argv: str) -> str:
    """What `clary metrics` prints for a user of that server's machine."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    done = subprocess.run(
        [sys.executable, "-m", "clary.cli.main", "metrics", *argv],
        env={**environ, "CLARY_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout


def test_what_is_published_is_there_for_every_client(server: Server) -> None:
    boto = server.client("cloudwatch")
    now = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    for name, value in (("Errors", 1.0), ("Requests", 4.0)):
        data: list[Any] = [
            {"MetricName": name, "Dimensions": [{"Name": "Job", "Value": job}], "Timestamp": now, "Value": value}
            for job in ("a", "b")
        ]
        boto.put_metric_data(Namespace="Mine", MetricData=data)
    found = "SEARCH('{Mine,Job} MetricName=\"%s\"', 'Sum', 60)"
    rate = f"SUM({found % 'Errors'}) / SUM({found % 'Requests'}) * 100"
    got = boto.get_metric_data(
        MetricDataQueries=[{"Id": "rate", "Expression": rate, "Label": "rate, now ${LAST}"}],
        StartTime=now - SPAN,
        EndTime=now + SPAN,
    )["MetricDataResults"]
    assert [(one["Label"], one["Timestamps"], one["Values"]) for one in got] == [("rate, now 25", [now], [25.0])]

    widget = json.dumps({"metrics": [["Mine", "Errors", "Job", "a"], ["...", "b"]], "width": 200, "height": 150})
    assert boto.get_metric_widget_image(MetricWidget=widget)["MetricWidgetImage"].startswith(b"\x89PNG")

    body = json.dumps({"widgets": [{"type": "text", "properties": {"markdown": "# mine"}}]})
    boto.put_dashboard(DashboardName="mine", DashboardBody=body)
    assert boto.get_dashboard(DashboardName="mine")["DashboardBody"] == body

    listed = clary(server, "list", "--namespace", "Mine", "--json")
    assert [one["metric"] for one in json.loads(listed)["metrics"]] == ["Errors", "Errors", "Requests", "Requests"]
    shown = clary(server, "get", "Errors", "--namespace", "Mine", "--dimension", "Job=a", "--stat", "Maximum")
    assert shown.splitlines()[1].split()[:5] == ["Job=a", "1", "1", "1", "1"]
