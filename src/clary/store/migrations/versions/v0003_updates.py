"""Updates: generations have a version and an outcome, endpoints a generation that serves, pins belong to a version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("served_generation", sa.Integer))
    op.execute("UPDATE endpoints SET served_generation = observed_generation WHERE observed_status = 'InService'")
    op.add_column("revisions", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("revisions", sa.Column("outcome", sa.String(16)))
    op.add_column("revisions", sa.Column("reason", sa.Text))
    # Until now every endpoint had one generation.
    op.execute(
        "UPDATE revisions SET outcome = 'served' WHERE endpoint_uid IN "
        "(SELECT uid FROM endpoints WHERE observed_status = 'InService')"
    )
    op.execute(
        "UPDATE revisions SET outcome = 'failed' WHERE endpoint_uid IN "
        "(SELECT uid FROM endpoints WHERE observed_status = 'Failed')"
    )
    op.create_table(
        "version_pins",
        sa.Column("endpoint_uid", sa.String(26), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("pinned_us", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO version_pins (endpoint_uid, version, url, digest, cause, remedy, pinned_us) "
        "SELECT endpoint_uid, 1, url, digest, cause, remedy, pinned_us FROM pins"
    )
    op.drop_table("pins")
