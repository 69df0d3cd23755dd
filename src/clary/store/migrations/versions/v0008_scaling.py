"""Autoscaling: targets, policies, scheduled actions, activities, and the counts that variants were given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "scalable_targets",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("resource_id", sa.String(160), nullable=False),
        sa.Column("resource_key", sa.String(160), nullable=False),
        sa.Column("dimension", sa.String(64), nullable=False),
        sa.Column("endpoint_uid", sa.String(26), nullable=False),
        sa.Column("variant", sa.String(63), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("memory", sa.Text),
        sa.UniqueConstraint("account", "region", "resource_key", "dimension", name="scalable_targets_one_resource"),
    )
    op.create_index("scalable_targets_by_endpoint", "scalable_targets", ["endpoint_uid"])
    op.create_table(
        "scaling_policies",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("target_uid", sa.String(26), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("guid", sa.String(36), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("alarm_high", sa.String(255), nullable=False),
        sa.Column("alarm_low", sa.String(255), nullable=False),
        sa.UniqueConstraint("target_uid", "name", name="scaling_policies_one_name"),
    )
    op.create_table(
        "scheduled_actions",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("target_uid", sa.String(26), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("guid", sa.String(36), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("ran_us", sa.BigInteger),
        sa.UniqueConstraint("target_uid", "name", name="scheduled_actions_one_name"),
    )
    op.create_table(
        "scaling_activities",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("resource_id", sa.String(160), nullable=False),
        sa.Column("resource_key", sa.String(160), nullable=False),
        sa.Column("dimension", sa.String(64), nullable=False),
        sa.Column("target_uid", sa.String(26), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("instances", sa.Integer),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("scaling_activities_by_start", "scaling_activities", ["account", "region", "started_us", "uid"])
    op.create_index("scaling_activities_by_target", "scaling_activities", ["target_uid", "started_us"])
    op.create_table(
        "variant_scales",
        sa.Column("endpoint_uid", sa.String(26), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("variant", sa.String(63), primary_key=True),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
