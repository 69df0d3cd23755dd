"""Every AWS operation that is served, apart from S3 and the runtime's invocations."""

from __future__ import annotations

from dataclasses import dataclass

from clary.control.desk import Desk
from clary.control.log_groups import LogKeeper
from clary.control.metrics import MetricDesk
from clary.control.topics import SnsDesk
from clary.edge.aws.operation import Operation
from clary.edge.aws.resources import (
    alarms,
    autoscaling,
    autoscaling_policies,
    cloudtrail,
    cloudtrail_trails,
    cloudwatch,
    dashboards,
    endpoint_configs,
    endpoints,
    events,
    iam,
    logs,
    logs_filters,
    logs_groups,
    logs_put,
    logs_tail,
    models,
    runtime,
    sns,
    sns_subscriptions,
    sts,
    tags,
    training_jobs,
    tuning_jobs,
)
from clary.store.sessions import Sessions
from clary.store.sns_key import Signer


@dataclass(frozen=True)
class Desks:
    """Where the operations work."""

    desk: Desk
    metrics: MetricDesk
    sessions: Sessions
    keeper: LogKeeper
    signer: Signer
    long_poll: bool = True
    """Whether Describe waits a while for a change of status."""


def operations(at: Desks) -> tuple[Operation, ...]:
    """The operations, each with its handler and what becomes of each field."""
    hold = endpoints.HoldOptions(long_poll=at.long_poll)
    return (
        *models.operations(at.desk),
        *endpoint_configs.operations(at.desk),
        *endpoints.operations(at.desk, hold),
        *tags.operations(at.desk),
        *training_jobs.operations(at.desk, hold),
        *tuning_jobs.operations(at.desk, hold),
        *cloudwatch.operations(at.metrics),
        *dashboards.operations(at.desk),
        *alarms.operations(at.desk),
        *autoscaling.operations(at.desk),
        *autoscaling_policies.operations(at.desk),
        *events.operations(at.desk),
        *sns.operations(SnsDesk(at.desk, at.signer)),
        *sns_subscriptions.operations(SnsDesk(at.desk, at.signer)),
        *runtime.OPERATIONS,
        *sts.operations(at.desk, at.sessions),
        *iam.operations(at.desk),
        *cloudtrail.operations(at.desk),
        *cloudtrail_trails.operations(at.desk),
        *logs.operations(at.keeper),
        *logs_groups.operations(at.keeper),
        *logs_filters.operations(at.keeper),
        *logs_put.operations(at.keeper),
        *logs_tail.operations(at.keeper),
    )
