"""Endpoint statuses and the legal steps between them (API reference: DescribeEndpoint, EndpointStatus)."""

from __future__ import annotations

import enum


class EndpointStatus(enum.Enum):
    """What DescribeEndpoint says."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    FAILED = "Failed"
    ROLLBACK_FAILED = "UpdateRollbackFailed"
    """A rolling update failed and could not be taken back: the old and the new fleet both serve."""
    DELETING = "Deleting"


IN_TRANSITION = frozenset({EndpointStatus.CREATING, EndpointStatus.UPDATING, EndpointStatus.DELETING})

STEPS = frozenset(
    {
        (EndpointStatus.CREATING, EndpointStatus.IN_SERVICE),
        (EndpointStatus.CREATING, EndpointStatus.FAILED),
        (EndpointStatus.CREATING, EndpointStatus.DELETING),
        (EndpointStatus.IN_SERVICE, EndpointStatus.UPDATING),
        (EndpointStatus.IN_SERVICE, EndpointStatus.DELETING),
        # A failed update, too: the last good generation goes on (DescribeEndpoint then has a FailureReason).
        (EndpointStatus.UPDATING, EndpointStatus.IN_SERVICE),
        (EndpointStatus.UPDATING, EndpointStatus.ROLLBACK_FAILED),
        (EndpointStatus.ROLLBACK_FAILED, EndpointStatus.UPDATING),
        (EndpointStatus.ROLLBACK_FAILED, EndpointStatus.DELETING),
        (EndpointStatus.FAILED, EndpointStatus.DELETING),
    }
)


class IllegalStepError(RuntimeError):
    """A step between statuses that the table does not hold: a bug, never a user's fault."""


def step(old: EndpointStatus, new: EndpointStatus) -> EndpointStatus:
    """`new`, if the table allows it from `old`; staying is always allowed."""
    if old is not new and (old, new) not in STEPS:
        raise IllegalStepError(f"an endpoint cannot go from {old.value} to {new.value}")
    return new
