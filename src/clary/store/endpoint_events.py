"""Events of endpoints for the rules of EventBridge, appended in the transaction of what they tell of.

Shapes: developer guide, "Events that Amazon SageMaker AI sends to Amazon EventBridge": endpoint state change, endpoint
deployment state change.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, select

from clary.domain.endpoint import RevisionVariant
from clary.domain.names import arn_of
from clary.domain.rollout_stages import Stage, Way, new_stage, old_stage, scaling_stage
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet
from clary.kit.instants import stamp_s
from clary.store.endpoints import EndpointRecord, endpoint_by_uid, fleet_of, ready_of
from clary.store.outbox import Event, append, bus_arn
from clary.store.rollouts import progress_of
from clary.store.tables import tags

SOURCE = "aws.sagemaker"
STATE, DEPLOYMENT = "SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change"
_MILLIS = 1_000
_capitals = re.compile(r"(?<!^)(?=[A-Z])")


def note_state(connection: Connection, event_uid: str, endpoint_uid: str, now_us: int) -> None:
    """The endpoint has another status now."""
    _note(connection, event_uid, endpoint_uid, now_us, STATE)


def note_deployment(connection: Connection, event_uid: str, endpoint_uid: str, now_us: int) -> None:
    """An update of the endpoint has reached another stage."""
    _note(connection, event_uid, endpoint_uid, now_us, DEPLOYMENT)


def _note(connection: Connection, event_uid: str, endpoint_uid: str, now_us: int, what: str) -> None:
    record = endpoint_by_uid(connection, endpoint_uid)
    assert record is not None, "an event tells of an endpoint that is there"
    arn = arn_of("endpoint", record.scope, record.name)
    body = {
        "version": "0",
        "detail-type": what,
        "source": SOURCE,
        "account": record.scope.account,
        "time": stamp_s(now_us),
        "region": record.scope.region,
        "resources": [arn],
        "detail": {"EndpointName": record.name, "EndpointArn": arn, **_detail(connection, record, now_us)},
    }
    append(connection, Event(event_uid, now_us, record.scope, SOURCE, bus_arn(record.scope), body))


def _detail(connection: Connection, record: EndpointRecord, now_us: int) -> dict[str, Any]:
    target = fleet_of(connection, record.uid, record.generation)
    serves = target if record.served_generation is None else fleet_of(connection, record.uid, record.served_generation)
    labels = connection.execute(select(tags).where(tags.c.resource_uid == record.uid))
    detail: dict[str, Any] = {
        "EndpointConfigName": serves.revision.config_name,
        "EndpointStatus": _capitals.sub("_", record.status.value).upper(),
        "CreationTime": record.created_us // _MILLIS,
        "LastModifiedTime": max(record.modified_us, now_us) // _MILLIS,
        "Tags": {row.key: row.value for row in labels},
    }
    if record.failure_reason and record.status is not EndpointStatus.UPDATING:
        detail["FailureReason"] = record.failure_reason
    ready = ready_of(connection, record.uid, serves)
    if record.status is not EndpointStatus.UPDATING:
        detail["ProductionVariants"] = [_variant(v, v, ready, None) for v in serves.revision.variants]
        return detail
    progress = progress_of(connection, record.uid, record.generation)
    way = Way(target.revision, record.wished_us, target.deployment, progress)
    if target.version == serves.version:
        detail["ProductionVariants"] = [
            _variant(now, wanted, ready, scaling_stage(now, wanted, record.wished_us))
            for now, wanted in zip(serves.revision.variants, target.revision.variants, strict=True)
        ]
        return detail
    detail["ProductionVariants"] = [
        _variant(v, v, ready, old_stage(way, v, ready.get(v.name, 0))) for v in serves.revision.variants
    ]
    detail["PendingDeploymentSummary"] = _pending(connection, record, target, way)
    return detail


def _pending(connection: Connection, record: EndpointRecord, target: Fleet, way: Way) -> dict[str, Any]:
    coming = ready_of(connection, record.uid, target)
    return {
        "EndpointConfigName": target.revision.config_name,
        "StartTime": way.started_us // _MILLIS,
        "ProductionVariants": [
            _variant(v, v, coming, new_stage(way, v, coming.get(v.name, 0))) for v in target.revision.variants
        ],
    }


def _variant(
    now: RevisionVariant, wanted: RevisionVariant, ready: dict[str, int], stage: Stage | None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "VariantName": now.name,
        "CurrentWeight": now.weight,
        "DesiredWeight": wanted.weight,
        "CurrentInstanceCount": ready.get(now.name, 0),
        "DesiredInstanceCount": wanted.instance_count,
    }
    if stage is not None:
        since_ms = stage.since_us // _MILLIS
        found["VariantStatus"] = [{"Status": stage.status, "StatusMessage": stage.message, "StartTime": since_ms}]
    return found
