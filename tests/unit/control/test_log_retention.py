"""Retention: what is too old is neither seen nor kept, and nothing that is still written to is deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from clary.control.log_groups import DAY_MS, ENDPOINTS, LogKeeper
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.store.tables import endpoints, replicas
from clary.telemetry.log_groups_own import PutEvent, read_events
from tests.support.hosting import SCOPE, Host

PLACE = (SCOPE.account, SCOPE.region)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


def keeper_of(host: Host, folder: Path) -> LogKeeper:
    return LogKeeper(host.desk, folder / "logs", Threads("test", 2), host.clock)


async def test_events_that_users_put_go_with_age(host: Host, tmp_path: Path) -> None:
    keeper = keeper_of(host, tmp_path)
    now_ms = host.clock.now_us() // 1000
    path = keeper.own.path_of(*PLACE, "/mine", "s")
    keeper.own.change(*PLACE, "/mine", 1, lambda own: own.streams.update(s=1))
    keeper.own.put(path, [PutEvent(now_ms - day * DAY_MS, now_ms, "x") for day in (9, 8)])
    await keeper.sweep()
    assert len(read_events(path)) == 2
    keeper.own.change(*PLACE, "/mine", 1, lambda own: setattr(own, "retention_days", 7))
    (group,) = await keeper.groups(SCOPE, "/mine")
    assert group.kept_from_ms(now_ms * 1000) == now_ms - 7 * DAY_MS
    await keeper.sweep()
    assert read_events(path) == []


async def test_files_of_what_ended_go_and_those_of_what_runs_stay(host: Host, tmp_path: Path) -> None:
    keeper = keeper_of(host, tmp_path)
    ids = SystemIds()
    endpoint, alive, ended = (ids.ulid(host.clock.now_us()) for _ in range(3))
    row = {"account": PLACE[0], "region": PLACE[1], "name": "e", "name_key": "e", "created_us": 1, "modified_us": 1}
    await host.store.write(lambda c: c.execute(insert(endpoints).values(uid=endpoint, generation=1, **row)))
    running = {"uid": alive, "endpoint_uid": endpoint, "generation": 1, "variant": "v", "threads": 1, "address": ""}
    await host.store.write(lambda c: c.execute(insert(replicas).values(started_us=1, **running)))
    folder = tmp_path / "logs" / "endpoints" / endpoint / "v"
    folder.mkdir(parents=True)
    old_s = host.clock.now_us() / 1e6 - 30 * 86_400
    for name in (f"{alive}.log", f"{ended}.log", f"{ended}.times"):
        (folder / name).write_text("x\n")
        os.utime(folder / name, (old_s, old_s))
    (folder / "environment.log").write_text("new\n")
    keeper.own.change(*PLACE, f"{ENDPOINTS}e", 1, lambda own: setattr(own, "retention_days", 7))
    await keeper.sweep()
    assert sorted(path.name for path in folder.glob("*.log")) == sorted([f"{alive}.log", "environment.log"])
    assert not (folder / f"{ended}.times").exists()
