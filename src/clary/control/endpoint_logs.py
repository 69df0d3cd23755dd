"""Whose log is asked for."""

from __future__ import annotations

from sqlalchemy import Connection, select

from clary.control.desk import Desk
from clary.domain.names import name_key
from clary.store.tables import endpoints


async def uids_by_region(desk: Desk, account: str, name: str) -> dict[str, str]:
    """Region to uid of the endpoints of that name, whatever its case, in an account; empty where there is none."""

    def work(connection: Connection) -> dict[str, str]:
        query = select(endpoints.c.region, endpoints.c.uid).where(
            endpoints.c.account == account, endpoints.c.name_key == name_key(name)
        )
        return {row.region: row.uid for row in connection.execute(query)}

    return await desk.store.read(work)
