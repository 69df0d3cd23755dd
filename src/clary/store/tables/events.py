"""Events on their way out, and what they go to: actions, topics, rules."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, UniqueConstraint

from clary.store.tables.base import metadata

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
