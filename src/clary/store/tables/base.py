"""What tables are made with."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, UniqueConstraint

metadata = MetaData()


def resource_table(name: str, *more: Column[object]) -> Table:
    """A named resource of an account and region; every column of these written by control."""
    return Table(
        name,
        metadata,
        Column("uid", String(26), primary_key=True),
        Column("account", String(12), nullable=False),
        Column("region", String(32), nullable=False),
        Column("name", String(63), nullable=False),
        Column("name_key", String(63), nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("modified_us", BigInteger, nullable=False),
        *more,
        UniqueConstraint("account", "region", "name_key", name=f"{name}_one_name"),
        Index(f"{name}_by_created", "account", "region", "created_us", "uid"),
    )
