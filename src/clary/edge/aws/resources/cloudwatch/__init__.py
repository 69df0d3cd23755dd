"""CloudWatch's operations on metrics. Alarms are in `resources.alarms`."""

from __future__ import annotations

from clary.control.metrics import MetricDesk
from clary.control.widget_images import Plotter
from clary.edge.aws.operation import Call, Members, Operation
from clary.edge.aws.resources.cloudwatch import data, image, listing, put, statistics


def operations(desk: MetricDesk) -> tuple[Operation, ...]:
    """What is served of CloudWatch's metrics."""
    plotter = Plotter(desk)

    async def put_metric_data(call: Call, members: Members) -> Members:
        return await put.put_metric_data(desk, call, members)

    async def get_metric_statistics(call: Call, members: Members) -> Members:
        return await statistics.get_metric_statistics(desk, call, members)

    async def get_metric_data(call: Call, members: Members) -> Members:
        return await data.get_metric_data(desk, call, members)

    async def list_metrics(call: Call, members: Members) -> Members:
        return await listing.list_metrics(desk, call, members)

    async def get_metric_widget_image(call: Call, members: Members) -> Members:
        return await image.get_metric_widget_image(plotter, call, members)

    return (
        Operation("cloudwatch", "PutMetricData", put_metric_data, put.FIELDS, put.NOTES),
        Operation("cloudwatch", "GetMetricStatistics", get_metric_statistics, statistics.FIELDS),
        Operation("cloudwatch", "GetMetricData", get_metric_data, data.FIELDS),
        Operation("cloudwatch", "ListMetrics", list_metrics, listing.FIELDS),
        Operation("cloudwatch", "GetMetricWidgetImage", get_metric_widget_image, image.FIELDS),
    )
