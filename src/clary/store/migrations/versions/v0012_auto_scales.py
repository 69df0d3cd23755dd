"""Variants that are scaled with no configuration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "auto_scales",
        sa.Column("endpoint_uid", sa.String(26), primary_key=True),
        sa.Column("variant", sa.String(63), primary_key=True),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
    )
