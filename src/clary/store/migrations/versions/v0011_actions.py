"""Actions and their runs, topics and subscriptions, rules of the event bus."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "name", name="actions_one_name"),
    )
    op.create_table(
        "action_runs",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("event_uid", sa.String(26), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
    )
    op.create_index("action_runs_by_action", "action_runs", ["account", "name", "uid"])
    op.create_table(
        "topics",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "region", "name", name="topics_one_name"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("uid", sa.String(36), primary_key=True),
        sa.Column("topic_uid", sa.String(26), nullable=False),
        sa.Column("protocol", sa.String(16), nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("confirmed_us", sa.BigInteger),
        sa.Column("spec", sa.Text, nullable=False),
    )
    op.create_index("subscriptions_by_topic", "subscriptions", ["topic_uid"])
    op.create_table(
        "event_rules",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("ran_us", sa.BigInteger),
        sa.UniqueConstraint("account", "region", "name", name="event_rules_one_name"),
    )
