"""Models, configurations and endpoints, with all that runs for them; their tags, and images of one's own."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, UniqueConstraint

from clary.store.tables.base import metadata, resource_table

models = resource_table("models", Column("spec", Text, nullable=False))

endpoint_configs = resource_table("endpoint_configs", Column("spec", Text, nullable=False))

endpoints = resource_table(
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

# Tags of a resource. Written by control.
tags = Table(
    "tags",
    metadata,
    Column("resource_uid", String(26), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("value", String(256), nullable=False),
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
