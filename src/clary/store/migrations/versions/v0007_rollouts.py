"""Guarded rollouts: how an update is to go, how far it is, and a mix of fleets that a rollback could not undo."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("mixed_generation", sa.Integer))
    op.add_column("revisions", sa.Column("deployment", sa.Text))
    op.add_column("revisions", sa.Column("abort_us", sa.BigInteger))
    op.add_column("revisions", sa.Column("promoted_step", sa.Integer))
    op.create_table(
        "rollouts",
        sa.Column("endpoint_uid", sa.String(26), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("progress", sa.Text, nullable=False),
    )
