"""Events on their way out: appended in the transaction of what they tell of, delivered by whoever owns the target.

`target_arn` says whose: `arn:aws:lambda:...` a command, `arn:aws:sns:...` a topic, `bus_arn(scope)` the rules of
EventBridge. The body is what the target is sent, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert

from clary.domain.principal import Scope
from clary.kit.instants import MICROS
from clary.store.tables import events_out

ALARMS, SNS, BUS, TRIAL = "aws.cloudwatch", "aws.sns", "aws.events", "clary.test"
"""Sources: of alarms; of what follows of other events, clients' own messages and what rules send; and of what
`clary actions test` sends, which is tried once."""
KEPT_US = 14 * 86_400 * MICROS
"""Events are kept so long, delivered or not, in microseconds."""


@dataclass(frozen=True)
class Event:
    """One message to one target."""

    uid: str
    """A ULID. Their order is that of `seq`, which the table gives: several may be of one millisecond."""
    at_us: int
    scope: Scope
    source: str
    """`aws.cloudwatch`, `aws.sagemaker`."""
    target_arn: str
    body: Any
    """A value of JSON; most are objects."""


def bus_arn(scope: Scope) -> str:
    """The event bus that EventBridge's rules of an account and region listen to."""
    return f"arn:aws:events:{scope.region}:{scope.account}:event-bus/default"


def append(connection: Connection, *events: Event) -> None:
    """Note events, in their order, in the transaction that made them."""
    rows = [
        {
            "uid": event.uid,
            "at_us": event.at_us,
            "account": event.scope.account,
            "region": event.scope.region,
            "source": event.source,
            "target_arn": event.target_arn,
            "body": json.dumps(event.body, separators=(",", ":"), ensure_ascii=False),
            "attempts": 0,
            "next_us": event.at_us,
        }
        for event in events
    ]
    if rows:
        connection.execute(insert(events_out), rows)


def prune(connection: Connection, now_us: int) -> None:
    """Forget what is older than KEPT_US."""
    connection.execute(delete(events_out).where(events_out.c.at_us < now_us - KEPT_US))
