"""The tables. Beside each column stands who writes it: one writer per column.

Conventions: `uid` is a ULID and never changes; `*_us` are UTC microseconds; `name_key` is the name as compared
(lower case); `spec` is a versioned JSON document (store/documents.py), never a pickle.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()


def _resource(name: str, *more: Column[object]) -> Table:
    """A named resource of an account and region; every column of these written by control."""
    return Table(
        name,
        metadata,
        Column("uid", String(26), primary_key=True),
        Column("account", String(12), nullable=False),
        Column("region", String(32), nullable=False),
        Column("name", String(63), nullable=False),
        Column("name_key", String(63), nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("modified_us", BigInteger, nullable=False),
        *more,
        UniqueConstraint("account", "region", "name_key", name=f"{name}_one_name"),
        Index(f"{name}_by_created", "account", "region", "created_us", "uid"),
    )


models = _resource("models", Column("spec", Text, nullable=False))

endpoint_configs = _resource("endpoint_configs", Column("spec", Text, nullable=False))

endpoints = _resource(
    "endpoints",
    # control: what is wanted
    Column("generation", Integer, nullable=False),
    Column("delete_requested_us", BigInteger),
    # reconcile: what was observed; NULL until the first generation settled
    Column("observed_generation", Integer),
    Column("observed_status", String(16)),
    Column("failure_reason", Text),
    Column("observed_us", BigInteger),
    Column("served_generation", Integer, comment="the last that came into service; NULL until one did"),
    Column("mixed_generation", Integer, comment="serves beside it, where a rolling update could not be rolled back"),
)

# One row per generation of an endpoint: the configuration and models as they were, frozen.
revisions = Table(
    "revisions",
    metadata,
    Column("endpoint_uid", String(26), primary_key=True),
    Column("generation", Integer, primary_key=True),
    # control
    Column("created_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default="1", comment="domain/versions.py"),
    Column("deployment", Text, comment="domain/rollout.Deployment, as a document; NULL: none was given"),
    Column("abort_us", BigInteger, comment="since when its rollout is to go back"),
    Column("promoted_step", Integer, comment="the last step of its rollout whose bake is to end at once"),
    # reconcile: NULL until the generation ended
    Column("outcome", String(16), comment="served or failed"),
    Column("reason", Text, comment="why it failed"),
)

# How far a guarded rollout is (domain/rollout.Progress, as a document). Written by reconcile.
rollouts = Table(
    "rollouts",
    metadata,
    Column("endpoint_uid", String(26), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("progress", Text, nullable=False),
)

# What became of each artifact of a version of an endpoint: a digest, or why not. Written by reconcile.
pins = Table(
    "version_pins",
    metadata,
    Column("endpoint_uid", String(26), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("url", Text, primary_key=True),
    Column("digest", String(64), nullable=False, comment="empty where the fetch failed"),
    Column("cause", Text, nullable=False, comment="one sentence; empty where it worked"),
    Column("remedy", Text, nullable=False),
    Column("pinned_us", BigInteger, nullable=False),
)

# Replicas that run or should. Written by reconcile.
replicas = Table(
    "replicas",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("endpoint_uid", String(26), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("variant", String(63), nullable=False),
    Column("threads", Integer, nullable=False),
    Column("address", Text, nullable=False, comment="empty until it was ready once"),
    Column("started_us", BigInteger, nullable=False),
    Column("ready_us", BigInteger, comment="first seen ready"),
    Column("draining_us", BigInteger),
    Column("stopping_us", BigInteger, comment="taken off the wish; the row stays until the process is gone"),
    Index("replicas_by_endpoint", "endpoint_uid"),
)

_JOB = (
    # control: what is wanted
    ("spec", Text, False),
    ("stop_requested_us", BigInteger, True),
    # reconcile: what was observed; NULL until it looked at the job
    ("observed", String(24), True),
    ("observed_us", BigInteger, True),
    ("ended_us", BigInteger, True),
    ("record", Text, True),
)

# `observed`: a phase (domain/training.py). `tuning_uid`: the tuning job that made it, whose reconcile wrote its row.
training_jobs = _resource(
    "training_jobs",
    *(Column(name, kind, nullable=nullable) for name, kind, nullable in _JOB),
    Column("tuning_uid", String(26)),
)
Index("training_jobs_by_end", training_jobs.c.ended_us)
Index("training_jobs_by_tuning", training_jobs.c.tuning_uid)

# `observed`: a status (domain/tuning.py).
tuning_jobs = _resource("tuning_jobs", *(Column(name, kind, nullable=nullable) for name, kind, nullable in _JOB))
Index("tuning_jobs_by_end", tuning_jobs.c.ended_us)

# Tags of a resource. Written by control.
tags = Table(
    "tags",
    metadata,
    Column("resource_uid", String(26), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("value", String(256), nullable=False),
)

# Access keys. Written by control.
keys = Table(
    "keys",
    metadata,
    Column("key_id", String(128), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("arn", Text, nullable=False),
    Column("name", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False, comment="nonce and AES-256-GCM of the secret under HOME/secrets/kek"),
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
)

# Roles and policies of IAM. Written by control. Names of AWS's are up to 128 characters long, their paths in the spec.
iam_entities = Table(
    "iam_entities",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("kind", String(8), nullable=False, comment="role or policy"),
    Column("name", String(128), nullable=False),
    Column("name_key", String(128), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    UniqueConstraint("account", "kind", "name_key", name="iam_entities_one_name"),
)

# Images of `clary images add`: a command that serves. A row never changes; another command is another tag.
# Written by control.
images = Table(
    "images",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("name", String(64), nullable=False),
    Column("tag", String(16), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger, comment="no new model may name it from then on"),
    Column("spec", Text, nullable=False),
    UniqueConstraint("account", "name", "tag", name="images_one_tag"),
)

# The durable sequence of wishes: reconcile reads what lies past its cursor. Written by control, and by scaling for a
# count that it sets; oldest pruned.
changes = Table(
    "changes",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False, comment="endpoint or key"),
    Column("uid", String(128), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Who did what. Append-only (triggers refuse more), written in the transaction of the deed; each row's hash covers
# the one before it (store/audit.py). The oldest may go once a checkpoint covers them.
audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at_us", BigInteger, nullable=False),
    Column("action", String(64), nullable=False, comment="CreateEndpoint, ..."),
    Column("kind", String(32), nullable=False),
    Column("resource_uid", String(128), nullable=False),
    Column("resource", Text, nullable=False, comment="ARN or key id"),
    Column("account", String(12), nullable=False),
    Column("principal_arn", Text, nullable=False),
    Column("key_id", String(128), nullable=False),
    Column("session", String(128), nullable=False),
    Column("request_id", String(36), nullable=False),
    Column("region", String(32), nullable=False, server_default=""),
    Column("username", String(128), nullable=False, server_default=""),
    Column("resource_name", Text, nullable=False, server_default="", comment="the last part of the resource"),
    Column("source", String(64), nullable=False, server_default="", comment="sagemaker.amazonaws.com, ..."),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("source_ip", String(45), nullable=False, server_default=""),
    Column("parameters", Text, nullable=False, server_default="", comment="JSON, secrets hidden"),
    Column("error_code", String(128), nullable=False, server_default=""),
    Column("error_message", Text, nullable=False, server_default=""),
    Column("hash", String(64), nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

# Up to where the audit was pruned; the newest counts. Written with the deletion it allows.
audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False, comment="of the last row deleted"),
    Column("hash", String(64), nullable=False, comment="of that row"),
    Column("deleted_rows", BigInteger, nullable=False, comment="since the beginning"),
    Column("at_us", BigInteger, nullable=False),
)

# Alarms; names differ by case too. `spec`: MetricAlarm or CompositeAlarm of domain/alarms.py, by `kind`.
alarms = Table(
    "alarms",
    metadata,
    # control (and reconcile, for the pair of a target-tracking policy): what is wanted
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("kind", String(16), nullable=False, comment="metric or composite"),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    Column("wish", Integer, nullable=False, comment="counts definitions and states that were set"),
    Column("set_state", Text, comment="SetState, as a document; counts while wish is above seen"),
    # reconcile: what was observed; NULL until the first evaluation
    Column("seen", Integer, nullable=False, server_default="0", comment="the wish last looked at"),
    Column("state", String(20)),
    Column("state_reason", Text),
    Column("state_reason_data", Text),
    Column("state_updated_us", BigInteger),
    Column("transitioned_us", BigInteger),
    Column("evaluated_us", BigInteger, comment="when it could last be evaluated"),
    Column("evaluation_state", String(20)),
    Column("suppressed_by", String(16), comment="composite: WaitPeriod, ExtensionPeriod or Alarm"),
    Column("suppressed_until_us", BigInteger),
    Column("acted", String(20), comment="composite: the state whose actions were last performed"),
    UniqueConstraint("account", "region", "name", name="alarms_one_name"),
)

# What became of alarms, for two weeks, also of those that are deleted. Written with what it tells of.
alarm_history = Table(
    "alarm_history",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("kind", String(16), nullable=False, comment="metric or composite"),
    Column("at_us", BigInteger, nullable=False),
    Column("item", String(24), nullable=False, comment="ConfigurationUpdate, StateUpdate, Action"),
    Column("summary", Text, nullable=False),
    Column("data", Text, nullable=False, comment="JSON"),
    Index("alarm_history_by_name", "account", "region", "name", "at_us"),
    sqlite_autoincrement=True,
)

# Events for targets outside: appended in the transaction of what they tell of (store/outbox.py).
events_out = Table(
    "events_out",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True, comment="the order in which they came about"),
    Column("uid", String(26), nullable=False, unique=True),
    Column("at_us", BigInteger, nullable=False),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("source", String(64), nullable=False, comment="aws.cloudwatch, aws.sagemaker"),
    Column("target_arn", Text, nullable=False),
    Column("body", Text, nullable=False, comment="JSON"),
    # the deliverer
    Column("attempts", Integer, nullable=False),
    Column("next_us", BigInteger, nullable=False),
    Column("done_us", BigInteger),
    Column("outcome", Text),
    Index("events_out_by_next", "done_us", "next_us"),
    sqlite_autoincrement=True,
)

# Variants that are scaled (domain/scaling.py). One row a registered target.
scalable_targets = Table(
    "scalable_targets",
    metadata,
    # control
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("resource_id", String(160), nullable=False, comment="endpoint/NAME/variant/NAME as first given"),
    Column("resource_key", String(160), nullable=False, comment="the same in lower case"),
    Column("dimension", String(64), nullable=False),
    Column("endpoint_uid", String(26), nullable=False),
    Column("variant", String(63), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    # reconcile
    Column("memory", Text, comment="cooldowns, and bounds that a schedule set"),
    UniqueConstraint("account", "region", "resource_key", "dimension", name="scalable_targets_one_resource"),
    Index("scalable_targets_by_endpoint", "endpoint_uid"),
)

# Policies of a target. Written by control, with the alarm pair of target tracking.
scaling_policies = Table(
    "scaling_policies",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("target_uid", String(26), nullable=False),
    Column("name", String(256), nullable=False),
    Column("kind", String(32), nullable=False, comment="PolicyType: which specification it is"),
    Column("guid", String(36), nullable=False, comment="in its ARN"),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    Column("alarm_high", String(255), nullable=False, comment="name; empty where there is none"),
    Column("alarm_low", String(255), nullable=False),
    UniqueConstraint("target_uid", "name", name="scaling_policies_one_name"),
)

# Scheduled actions of a target.
scheduled_actions = Table(
    "scheduled_actions",
    metadata,
    # control
    Column("uid", String(26), primary_key=True),
    Column("target_uid", String(26), nullable=False),
    Column("name", String(256), nullable=False),
    Column("guid", String(36), nullable=False, comment="in its ARN"),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    # reconcile
    Column("ran_us", BigInteger, comment="nothing that was due up to then runs any more"),
    UniqueConstraint("target_uid", "name", name="scheduled_actions_one_name"),
)

# What scaling did; outlives its target by six weeks. Written by reconcile.
scaling_activities = Table(
    "scaling_activities",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("resource_id", String(160), nullable=False),
    Column("resource_key", String(160), nullable=False),
    Column("dimension", String(64), nullable=False),
    Column("target_uid", String(26), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("instances", Integer, comment="that was set; NULL where none was"),
    Column("status", String(16), nullable=False, comment="StatusCode, or NotScaled"),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("text", Text, nullable=False),
    Index("scaling_activities_by_start", "account", "region", "started_us", "uid"),
    Index("scaling_activities_by_target", "target_uid", "started_us"),
)

# The count that scaling gave a variant of a generation, over its revision's own. Written by reconcile.
variant_scales = Table(
    "variant_scales",
    metadata,
    Column("endpoint_uid", String(26), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("variant", String(63), primary_key=True),
    Column("instances", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# Variants that are scaled with no configuration. Written by control.
auto_scales = Table(
    "auto_scales",
    metadata,
    Column("endpoint_uid", String(26), primary_key=True),
    Column("variant", String(63), primary_key=True),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
)

# Dashboards of CloudWatch: an account's, in all regions. The body is the user's JSON as it came. Written by control.
dashboards = Table(
    "dashboards",
    metadata,
    Column("account", String(12), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("modified_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

# Trails of CloudTrail: what of the audit and of invocations is delivered to a bucket.
trails = Table(
    "trails",
    metadata,
    Column("uid", String(26), primary_key=True),
    # control
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(128), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    Column("started_us", BigInteger, comment="logging began; NULL until it did"),
    Column("stopped_us", BigInteger, comment="logging ended; NULL while it goes on"),
    Column("start_seq", Integer, nullable=False, comment="of the audit, when logging began"),
    # what delivers (control/trail_delivery.py)
    Column("delivered_seq", Integer, nullable=False, comment="of the last audit row delivered"),
    Column("delivered_us", BigInteger),
    Column("delivery_error", Text, nullable=False, comment="of the last attempt; empty where it worked"),
    UniqueConstraint("account", "region", "name", name="trails_one_name"),
)

# What an operator lets alarms, topics and rules call (domain/actions.py). Written by control.
actions = Table(
    "actions",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("name", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    UniqueConstraint("account", "name", name="actions_one_name"),
)

# Runs of actions, the newest of each. Written by reconcile.
action_runs = Table(
    "action_runs",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("name", String(64), nullable=False),
    Column("event_uid", String(26), nullable=False),
    Column("source", String(64), nullable=False, comment="of the event"),
    Column("attempt", Integer, nullable=False, comment="1 is the first"),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("outcome", String(16), nullable=False, comment="running, succeeded, failed, lost"),
    Column("reason", Text, nullable=False, comment="why it failed; empty where it did not"),
    Column("output", Text, nullable=False, comment="the end of what it said"),
    Index("action_runs_by_action", "account", "name", "uid"),
)

# Topics of SNS and who subscribed to them. Written by control.
topics = Table(
    "topics",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(256), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    UniqueConstraint("account", "region", "name", name="topics_one_name"),
)
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("uid", String(36), primary_key=True, comment="the last part of its ARN"),
    Column("topic_uid", String(26), nullable=False),
    Column("protocol", String(16), nullable=False, comment="http, https, lambda"),
    Column("endpoint", Text, nullable=False),
    Column("token", String(64), nullable=False, comment="that confirms it"),
    Column("created_us", BigInteger, nullable=False),
    Column("confirmed_us", BigInteger, comment="NULL while it is pending"),
    Column("spec", Text, nullable=False),
    Index("subscriptions_by_topic", "topic_uid"),
)

# Rules of the default event bus, with their targets.
event_rules = Table(
    "event_rules",
    metadata,
    # control
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    # reconcile
    Column("ran_us", BigInteger, comment="its schedule has run up to then"),
    UniqueConstraint("account", "region", "name", name="event_rules_one_name"),
)
