"""GetMetricWidgetImage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from clary.control.widget_images import Plotter
from clary.control.widgets import BODY_CHARS_MAX, read_widget
from clary.domain.errors import Invalid
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members
from clary.kit.clock import MICROS

FIELDS: Mapping[str, Field] = {"MetricWidget": Field.SERVED, "OutputFormat": Field.SERVED}


async def get_metric_widget_image(plotter: Plotter, call: Call, members: Members) -> Members:
    form = members.get("OutputFormat", "png")
    if form != "png":
        raise _wrong(f"The value {form[:64]} for parameter OutputFormat is not served by Clary; it must be png.")
    text = members["MetricWidget"]
    if len(text) > BODY_CHARS_MAX:
        raise _wrong(f"The parameter MetricWidget must not be longer than {BODY_CHARS_MAX} characters.")
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _wrong(f"The parameter MetricWidget is not JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(given, dict):
        raise _wrong("The parameter MetricWidget must be a JSON object.")
    now = datetime.fromtimestamp(plotter.desk.clock.now_us() / MICROS, UTC)
    try:
        widget = read_widget(given, now, call.scope.region)
        return {"MetricWidgetImage": await plotter.png(call.scope, widget)}
    except Invalid as error:
        raise _wrong(f"The parameter MetricWidget is not valid: {error.message}.") from None


def _wrong(text: str) -> AwsError:
    return AwsError("ValidationError", text)
