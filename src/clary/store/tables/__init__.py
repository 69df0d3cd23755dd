"""The tables. Beside each column stands who writes it: one writer per column.

Conventions: `uid` is a ULID and never changes; `*_us` are UTC microseconds; `name_key` is the name as compared
(lower case); `spec` is a versioned JSON document (store/documents.py), never a pickle. A room for each subject; all of
them are imported from here, so that `metadata` knows every table.
"""

from __future__ import annotations

from clary.store.tables.access import iam_entities, keys
from clary.store.tables.base import metadata
from clary.store.tables.events import action_runs, actions, event_rules, events_out, subscriptions, topics
from clary.store.tables.hosting import (
    endpoint_configs,
    endpoints,
    images,
    models,
    pins,
    replicas,
    revisions,
    rollouts,
    tags,
)
from clary.store.tables.jobs import training_jobs, tuning_jobs
from clary.store.tables.monitoring import alarm_history, alarms, dashboards
from clary.store.tables.records import audit, audit_checkpoints, changes, trails
from clary.store.tables.scaling import (
    auto_scales,
    scalable_targets,
    scaling_activities,
    scaling_policies,
    scheduled_actions,
    variant_scales,
)

__all__ = (
    "action_runs",
    "actions",
    "alarm_history",
    "alarms",
    "audit",
    "audit_checkpoints",
    "auto_scales",
    "changes",
    "dashboards",
    "endpoint_configs",
    "endpoints",
    "event_rules",
    "events_out",
    "iam_entities",
    "images",
    "keys",
    "metadata",
    "models",
    "pins",
    "replicas",
    "revisions",
    "rollouts",
    "scalable_targets",
    "scaling_activities",
    "scaling_policies",
    "scheduled_actions",
    "subscriptions",
    "tags",
    "topics",
    "trails",
    "training_jobs",
    "tuning_jobs",
    "variant_scales",
)
