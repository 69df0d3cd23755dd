"""Logs are found by the endpoint's name, whatever its case, in its account only."""

from pathlib import Path

from sqlalchemy import Connection, insert

from clary.control import endpoint_logs
from clary.control.desk import Caller, Desk, head
from clary.domain.principal import Principal, Scope
from clary.kit.clock import VirtualClock
from clary.kit.ids import CountingIds
from clary.store.sqlite import SqliteStore
from clary.store.tables import endpoints


async def test_uids_by_region(tmp_path: Path) -> None:
    desk = Desk(SqliteStore(tmp_path / "clary.db"), VirtualClock(), CountingIds())

    def make(connection: Connection) -> None:
        for number, (account, region) in enumerate(
            [("1" * 12, "us-east-1"), ("1" * 12, "r2"), ("2" * 12, "us-east-1")]
        ):
            caller = Caller(Principal(account, "arn", ""), Scope(account, region), "r")
            connection.execute(insert(endpoints).values(**head(caller, "Churn", f"uid{number}", 1), generation=1))

    await desk.store.write(make)
    assert await endpoint_logs.uids_by_region(desk, "1" * 12, "churn") == {"us-east-1": "uid0", "r2": "uid1"}
    assert await endpoint_logs.uids_by_region(desk, "2" * 12, "CHURN") == {"us-east-1": "uid2"}
    assert await endpoint_logs.uids_by_region(desk, "1" * 12, "other") == {}
    desk.store.close()
