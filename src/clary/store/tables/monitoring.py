"""Alarms, their history, and dashboards."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, UniqueConstraint

from clary.store.tables.base import metadata

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

# Dashboards of CloudWatch: an account's, in all regions. The body is the user's JSON as it came. Written by control.
dashboards = Table(
    "dashboards",
    metadata,
    Column("account", String(12), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("modified_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
