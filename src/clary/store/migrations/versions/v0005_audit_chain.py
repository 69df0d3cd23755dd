"""The audit becomes a chain of hashes, tells of the request, and may lose its oldest rows behind a checkpoint."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ADDED: dict[str, sa.types.TypeEngine[str]] = {
    "region": sa.String(32),
    "username": sa.String(128),
    "resource_name": sa.Text(),
    "source": sa.String(64),
    "user_agent": sa.Text(),
    "source_ip": sa.String(45),
    "parameters": sa.Text(),
    "error_code": sa.String(128),
    "error_message": sa.Text(),
    "hash": sa.String(64),
}


def upgrade() -> None:
    for name, kind in _ADDED.items():
        op.add_column("audit", sa.Column(name, kind, nullable=False, server_default=""))
    op.create_table(
        "audit_checkpoints",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("deleted_rows", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    postgres = op.get_bind().dialect.name == "postgresql"
    for verb in ("update", "delete"):
        op.execute(f"DROP TRIGGER audit_no_{verb}" + (" ON audit" if postgres else ""))
    _chain()
    if postgres:
        _guard_postgres()
    else:
        _guard_sqlite()


def _chain() -> None:
    """Hashes of the rows that are there, as store/audit.py makes them."""
    audit = sa.table("audit", sa.column("seq"), sa.column("hash"))
    connection = op.get_bind()
    previous = "0" * 64
    for row in connection.execute(sa.text("SELECT * FROM audit ORDER BY seq")).mappings().all():
        content = {
            name: value for name, value in row.items() if name not in ("seq", "hash") and value not in ("", None)
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
        connection.execute(audit.update().where(audit.c.seq == row["seq"]).values(hash=previous))


def _guard_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'audit rows are append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
        "WHEN OLD.seq > (SELECT coalesce(max(seq), 0) FROM audit_checkpoints) "
        "BEGIN SELECT RAISE(ABORT, 'audit rows are append-only'); END"
    )


def _guard_postgres() -> None:
    op.execute(
        "CREATE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'DELETE' AND OLD.seq <= (SELECT coalesce(max(seq), 0) FROM audit_checkpoints) THEN "
        "RETURN OLD; END IF; "
        "RAISE EXCEPTION 'audit rows are append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for verb in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER audit_no_{verb} BEFORE {verb.upper()} ON audit "
            "FOR EACH ROW EXECUTE FUNCTION audit_is_kept()"
        )
