"""Roles and policies of IAM; images that `clary images add` registers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "iam_entities",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("name_key", sa.String(128), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "kind", "name_key", name="iam_entities_one_name"),
    )
    op.create_table(
        "images",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tag", sa.String(16), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("removed_us", sa.BigInteger),
        sa.Column("spec", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "name", "tag", name="images_one_tag"),
    )
