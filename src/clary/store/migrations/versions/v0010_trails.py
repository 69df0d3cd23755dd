"""Trails of CloudTrail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "trails",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("stopped_us", sa.BigInteger),
        sa.Column("start_seq", sa.Integer, nullable=False),
        sa.Column("delivered_seq", sa.Integer, nullable=False),
        sa.Column("delivered_us", sa.BigInteger),
        sa.Column("delivery_error", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "region", "name", name="trails_one_name"),
    )
