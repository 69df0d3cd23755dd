"""Dashboards of CloudWatch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "dashboards",
        sa.Column("account", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
