"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    for name in ("models", "endpoint_configs"):
        _resource(name, sa.Column("spec", sa.Text, nullable=False))
    _resource(
        "endpoints",
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("delete_requested_us", sa.BigInteger),
        sa.Column("observed_generation", sa.Integer),
        sa.Column("observed_status", sa.String(16)),
        sa.Column("failure_reason", sa.Text),
        sa.Column("observed_us", sa.BigInteger),
    )
    _hosting()
    _people()
    # An audit that can be edited is none.
    refusal = "BEGIN SELECT RAISE(ABORT, 'audit rows are append-only'); END"
    if op.get_bind().dialect.name == "postgresql":
        refusal = "FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()"
        op.execute(
            "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'audit rows are append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
    for verb in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit {refusal}")


def _resource(name: str, *more: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("name_key", sa.String(63), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("modified_us", sa.BigInteger, nullable=False),
        *more,
        sa.UniqueConstraint("account", "region", "name_key", name=f"{name}_one_name"),
    )
    op.create_index(f"{name}_by_created", name, ["account", "region", "created_us", "uid"])


def _hosting() -> None:
    op.create_table(
        "revisions",
        sa.Column("endpoint_uid", sa.String(26), primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
    )
    op.create_table(
        "pins",
        sa.Column("endpoint_uid", sa.String(26), primary_key=True),
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.Column("pinned_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("uid", sa.String(26), primary_key=True),
        sa.Column("endpoint_uid", sa.String(26), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("variant", sa.String(63), nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("ready_us", sa.BigInteger),
        sa.Column("draining_us", sa.BigInteger),
        sa.Column("stopping_us", sa.BigInteger),
    )
    op.create_index("replicas_by_endpoint", "replicas", ["endpoint_uid"])
    op.create_table(
        "changes",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("uid", sa.String(128), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )


def _people() -> None:
    op.create_table(
        "tags",
        sa.Column("resource_uid", sa.String(26), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("value", sa.String(256), nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(128), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("arn", sa.Text, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_us", sa.BigInteger),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("resource_uid", sa.String(128), nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("principal_arn", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(128), nullable=False),
        sa.Column("session", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sqlite_autoincrement=True,
    )
