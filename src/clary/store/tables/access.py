"""Keys, roles and policies."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, Text, UniqueConstraint

from clary.store.tables.base import metadata

# Access keys. Written by control.
keys = Table(
    "keys",
    metadata,
    Column("key_id", String(128), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("arn", Text, nullable=False),
    Column("name", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False, comment="nonce and AES-256-GCM of the secret under HOME/secrets/kek"),
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
)

# Roles and policies of IAM. Written by control. Names of AWS's are up to 128 characters long, their paths in the spec.
iam_entities = Table(
    "iam_entities",
    metadata,
    Column("uid", String(26), primary_key=True),
    Column("account", String(12), nullable=False),
    Column("kind", String(8), nullable=False, comment="role or policy"),
    Column("name", String(128), nullable=False),
    Column("name_key", String(128), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("spec", Text, nullable=False),
    UniqueConstraint("account", "kind", "name_key", name="iam_entities_one_name"),
)
