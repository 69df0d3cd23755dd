"""What was wished and what was done: changes, the audit, and the trails that deliver it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, UniqueConstraint

from clary.store.tables.base import metadata

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
