"""Training and tuning jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _jobs("training_jobs", sa.Column("tuning_uid", sa.String(26)))
    op.create_index("training_jobs_by_tuning", "training_jobs", ["tuning_uid"])
    _jobs("tuning_jobs")


def _jobs(name: str, *more: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("name_key", sa.String(63), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("stop_requested_us", sa.BigInteger),
        sa.Column("observed", sa.String(24)),
        sa.Column("observed_us", sa.BigInteger),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("record", sa.Text),
        *more,
        sa.UniqueConstraint("account", "region", "name_key", name=f"{name}_one_name"),
    )
    op.create_index(f"{name}_by_created", name, ["account", "region", "created_us", "uid"])
    op.create_index(f"{name}_by_end", name, ["ended_us"])
