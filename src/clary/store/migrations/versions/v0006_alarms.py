"""Alarms with their history, and events for targets outside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("wish", sa.Integer, nullable=False),
        sa.Column("set_state", sa.Text),
        sa.Column("seen", sa.Integer, nullable=False, server_default="0"),
        sa.Column("state", sa.String(20)),
        sa.Column("state_reason", sa.Text),
        sa.Column("state_reason_data", sa.Text),
        sa.Column("state_updated_us", sa.BigInteger),
        sa.Column("transitioned_us", sa.BigInteger),
        sa.Column("evaluated_us", sa.BigInteger),
        sa.Column("evaluation_state", sa.String(20)),
        sa.Column("suppressed_by", sa.String(16)),
        sa.Column("suppressed_until_us", sa.BigInteger),
        sa.Column("acted", sa.String(20)),
        sa.UniqueConstraint("account", "region", "name", name="alarms_one_name"),
    )
    op.create_table(
        "alarm_history",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("item", sa.String(24), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("alarm_history_by_name", "alarm_history", ["account", "region", "name", "at_us"])
    op.create_table(
        "events_out",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("uid", sa.String(26), nullable=False, unique=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("target_arn", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_us", sa.BigInteger, nullable=False),
        sa.Column("done_us", sa.BigInteger),
        sa.Column("outcome", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("events_out_by_next", "events_out", ["done_us", "next_us"])
