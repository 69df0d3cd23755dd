"""Scalable targets, what scales them, and what that did."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, UniqueConstraint

from clary.store.tables.base import metadata

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
