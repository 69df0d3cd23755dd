"""Events of training jobs for the rules of EventBridge, appended in the transaction of what they tell of.

Shape: developer guide, "Events that Amazon SageMaker AI sends to Amazon EventBridge", training job state change; its
`detail` holds the members that tell of the change, not the whole of the request.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from clary.kit.clock import MICROS
from clary.kit.ids import encode_ulid
from clary.store.endpoint_events import SOURCE
from clary.store.outbox import Event, append, bus_arn
from clary.store.tables import tags
from clary.store.training import TrainingJob

STATE = "SageMaker Training Job State Change"
_MILLIS = 1_000


def tell(connection: Connection, job: TrainingJob, at_us: int) -> None:
    """The job has another secondary status now; `job` as it is with it."""
    labels = connection.execute(select(tags).where(tags.c.resource_uid == job.uid))
    detail = _detail(job, at_us) | {"Tags": {row.key: row.value for row in labels}}
    body = {
        "version": "0",
        "detail-type": STATE,
        "source": SOURCE,
        "account": job.scope.account,
        "time": datetime.fromtimestamp(at_us // MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": job.scope.region,
        "resources": [job.arn],
        "detail": detail,
    }
    # One event for each change of a job: its id follows from the two.
    what = f"{job.uid} {at_us} {detail['SecondaryStatus']}"
    uid = encode_ulid(at_us, hashlib.sha256(what.encode()).digest()[:10])
    append(connection, Event(uid, at_us, job.scope, SOURCE, bus_arn(job.scope), body))


def _detail(job: TrainingJob, at_us: int) -> dict[str, Any]:
    record = job.record
    detail: dict[str, Any] = {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "TrainingJobStatus": job.status.value,
        "SecondaryStatus": record.transitions[-1].status if record.transitions else job.phase.value,
        "RoleArn": job.spec.role_arn,
        "HyperParameters": job.spec.hyperparameters,
        "OutputDataConfig": {"S3OutputPath": job.spec.output_path},
        "CreationTime": job.created_us // _MILLIS,
        "LastModifiedTime": max(job.modified_us, at_us) // _MILLIS,
        "SecondaryStatusTransitions": [
            {
                "Status": one.status,
                "StartTime": one.started_us // _MILLIS,
                **({} if one.ended_us is None else {"EndTime": one.ended_us // _MILLIS}),
                "StatusMessage": one.message,
            }
            for one in record.transitions
        ],
    }
    if record.training_started_us is not None:
        detail["TrainingStartTime"] = record.training_started_us // _MILLIS
    if record.training_ended_us is not None:
        detail["TrainingEndTime"] = record.training_ended_us // _MILLIS
    if record.artifacts:
        detail["ModelArtifacts"] = {"S3ModelArtifacts": record.artifacts}
    if record.failure_reason:
        detail["FailureReason"] = record.failure_reason
    return detail
