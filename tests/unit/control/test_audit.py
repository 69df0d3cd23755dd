"""The audit's use cases: the witness, look-ups, the verdict, pruning."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from clary.control import audit
from clary.control.audit import DAY_US, Auditor, Sought
from clary.control.desk import Caller, Deed
from clary.domain.errors import Invalid
from clary.domain.principal import Asked
from clary.store.audit import Entry
from clary.store.records import record
from tests.support.hosting import CALLER, SCOPE, Host

FOREVER = 1 << 62


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


def asking(operation: str, name: str = "") -> Caller:
    asked = Asked("logs.amazonaws.com", operation, "agent", "127.0.0.1", lambda: '{"a":1}', "log-group", name)
    return replace(CALLER, asked=asked)


async def found(host: Host, key: str = "", value: str = "", **more: int) -> list[Entry]:
    sought = Sought(SCOPE.account, SCOPE.region, more.get("start_us", 0), more.get("end_us", FOREVER), key, value)
    return (await audit.lookup(host.desk, sought, None, 50))[0]


async def test_the_witness_keeps_what_changes_and_what_failed(host: Host) -> None:
    auditor = Auditor(host.desk)
    for operation in ("DescribeLogGroups", "GetLogEvents", "PutLogEvents", "StartLiveTail"):
        auditor.witness(asking(operation), "", "")
    auditor.witness(asking("CreateLogGroup", "/mine"), "", "")
    auditor.witness(asking("CreateModel"), "ValidationException", "No.")
    await auditor.flush()
    failed, made = await found(host)
    assert (made.action, made.kind, made.resource_name, made.parameters) == (
        "CreateLogGroup", "log-group", "/mine", '{"a":1}',
    )  # fmt: skip
    assert (failed.error_code, failed.error_message) == ("ValidationException", "No.")


async def test_a_client_that_fails_in_a_loop_costs_one_write_a_second(host: Host) -> None:
    auditor = Auditor(host.desk)
    version = host.store.signal.version
    for _ in range(audit.WAITING_MAX + 5):
        auditor.witness(asking("CreateModel"), "Throttled", "")
    running = asyncio.create_task(auditor.run())
    await host.store.signal.wait_past(version)
    running.cancel()
    assert host.store.signal.version == version + 1
    verdict = await audit.verify(host.desk)
    assert (verdict.rows, verdict.broken_seq) == (audit.WAITING_MAX, None)


async def test_rows_are_looked_up_by_each_attribute(host: Host) -> None:
    def work(connection: object) -> None:
        for number, name in enumerate(("one", "Two")):
            deed = Deed("CreateModel", f"u{number}", f"arn:aws:sagemaker:r:a:model/{name}", number, "model")
            record(connection, CALLER, replace(deed, at_us=host.clock.now_us() + number))  # type: ignore[arg-type]

    await host.store.write(work)
    two, one = await found(host)
    assert (one.resource_name, two.resource_name) == ("one", "Two")
    for key, value in (
        ("EventId", one.event_id),
        ("ResourceName", "one"),
        ("ResourceName", "arn:aws:sagemaker:r:a:model/one"),
    ):
        assert await found(host, key, value) == [one], key
    assert await found(host, "ResourceName", "TWO") == [two]
    for key, value in (
        ("EventName", "CreateModel"),
        ("Username", "root"),
        ("ResourceType", "model"),
        ("EventSource", "clary"),
        ("AccessKeyId", "CLARYTEST"),
        ("ReadOnly", "false"),
    ):
        assert await found(host, key, value) == [two, one], key
    for key, value in (("ReadOnly", "true"), ("Username", "eve"), ("EventId", "0"), ("EventId", "%")):
        assert await found(host, key, value) == [], key
    assert await found(host, start_us=two.at_us) == [two]
    assert await found(host, end_us=one.at_us) == [one]
    sought = Sought(SCOPE.account, SCOPE.region, 0, FOREVER)
    assert await audit.lookup(host.desk, sought, None, 1) == ([two], True)
    assert await audit.lookup(host.desk, sought, two.seq, 1) == ([one], False)
    for stranger in (replace(sought, account="210987654321"), replace(sought, region="eu-west-3")):
        assert await audit.lookup(host.desk, stranger, None, 1) == ([], False)


async def test_a_look_up_sees_ninety_days(host: Host) -> None:
    await host.store.write(lambda connection: record(connection, CALLER, Deed("A", "", "", host.clock.now_us())))
    await host.clock.advance(audit.LOOKUP_DAYS * 86_400 + 1)
    assert await found(host) == []


async def test_the_verdict_knows_a_head_of_before(host: Host) -> None:
    await host.store.write(lambda connection: record(connection, CALLER, Deed("A", "", "", 1)))
    first = await audit.verify(host.desk)
    head = f"{first.head_seq}:{first.head_hash}"
    await host.store.write(lambda connection: record(connection, CALLER, Deed("B", "", "", 2)))
    assert (await audit.verify(host.desk, head)).known_is_right is True
    assert (await audit.verify(host.desk, f"7:{first.head_hash}")).known_is_right is False
    for wrong in ("x", "1:abc", f"-1:{first.head_hash}", f"{'9' * 30}:{first.head_hash}"):
        with pytest.raises(Invalid):
            await audit.verify(host.desk, wrong)


async def test_what_is_too_old_goes_in_steps(host: Host) -> None:
    def work(connection: object) -> None:
        for number in range(audit.rows.STEP_ROWS + 10):
            record(connection, CALLER, Deed("A", "", "", number))  # type: ignore[arg-type]

    await host.store.write(work)
    now_us = host.clock.now_us()
    assert now_us > audit.KEPT_DAYS * DAY_US
    await audit.prune(host.desk)
    assert await host.store.read(lambda c: c.execute(text("SELECT count(*) FROM audit")).scalar()) == 1
    verdict = await audit.verify(host.desk)
    assert (verdict.rows, verdict.pruned_rows, verdict.broken_seq) == (1, audit.rows.STEP_ROWS + 9, None)


async def test_rows_that_the_store_does_not_take_wait_and_the_last_ones_are_written_at_the_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = Auditor(host.desk)
    auditor.witness(asking("CreateModel"), "Throttled", "")

    async def full(_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(host.store, "write", full)
        running = asyncio.create_task(auditor.run())
        await host.clock.advance(3)
    auditor.witness(asking("DeleteModel"), "", "")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [row.action for row in await found(host)] == ["DeleteModel", "CreateModel"]
