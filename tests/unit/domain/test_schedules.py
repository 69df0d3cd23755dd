"""Schedules of scheduled actions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.errors import Invalid
from clary.domain.schedules import Times, check, next_due, parse
from clary.kit.instants import MICROS


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MICROS


def due(schedule: str, after: str, count: int = 1, zone: str = "", **more: int) -> list[str]:
    times, at_us, found = Times(schedule, zone, **more), us(after), []
    for _ in range(count):
        at = next_due(times, us("2031-01-01T00:00:00"), at_us)
        if at is None:
            break
        at_us = at
        found.append(datetime.fromtimestamp(at_us / MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cron(0 8 ? * MON-FRI *)", ["2031-01-03T08:00:00", "2031-01-06T08:00:00"]),
        ("cron(*/20 9-10 * * ? *)", ["2031-01-03T09:00:00", "2031-01-03T09:20:00"]),
        ("cron(30 6 1,15 * ? *)", ["2031-01-15T06:30:00", "2031-02-01T06:30:00"]),
        ("cron(0 0 L * ? *)", ["2031-01-31T00:00:00", "2031-02-28T00:00:00"]),
        ("cron(0 0 L-3 * ? *)", ["2031-01-28T00:00:00", "2031-02-25T00:00:00"]),
        ("cron(0 0 LW * ? *)", ["2031-01-31T00:00:00", "2031-02-28T00:00:00"]),
        ("cron(0 0 15W * ? *)", ["2031-01-15T00:00:00", "2031-02-14T00:00:00"]),
        ("cron(0 0 1W * ? *)", ["2031-02-03T00:00:00", "2031-03-03T00:00:00"]),
        ("cron(0 0 ? * 6#3 *)", ["2031-01-17T00:00:00", "2031-02-21T00:00:00"]),
        ("cron(0 0 ? * 6L *)", ["2031-01-31T00:00:00", "2031-02-28T00:00:00"]),
        ("cron(0 0 ? * L *)", ["2031-01-04T00:00:00", "2031-01-11T00:00:00"]),
        ("cron(0 0 ? * FRI-SUN *)", ["2031-01-04T00:00:00", "2031-01-05T00:00:00"]),
        ("cron(0 12 1 JAN ? 2032-2033)", ["2032-01-01T12:00:00", "2033-01-01T12:00:00"]),
        ("cron(0 0 29 2 ? *)", ["2032-02-29T00:00:00", "2036-02-29T00:00:00"]),
        ("cron(5/30 0 * * ? *)", ["2031-01-03T00:05:00", "2031-01-03T00:35:00"]),
        ("rate(2 hours)", ["2031-01-03T02:00:00", "2031-01-03T04:00:00"]),
        ("rate(1 day)", ["2031-01-04T00:00:00", "2031-01-05T00:00:00"]),
        ("at(2031-01-05T08:00:00)", ["2031-01-05T08:00:00"]),
        ("at(2030-01-05T08:00:00)", []),
        ("cron(0 0 1 1 ? 2020)", []),
    ],
)
def test_when_it_comes(schedule: str, expected: list[str]) -> None:
    assert due(schedule, "2031-01-03T00:00:00", 2) == expected


def test_time_zones_and_their_clock_changes() -> None:
    berlin = "Europe/Berlin"
    assert due("at(2031-07-01T08:00:00)", "2031-01-01T00:00:00", zone=berlin) == ["2031-07-01T06:00:00"]
    # 30 March 2031: 02:00 becomes 03:00. 26 October: 03:00 becomes 02:00, and half past two is twice.
    daily = "cron(30 2 * * ? *)"
    assert due(daily, "2031-03-29T12:00:00", 2, berlin) == ["2031-03-30T01:30:00", "2031-03-31T00:30:00"]
    assert due(daily, "2031-10-25T12:00:00", 2, berlin) == ["2031-10-26T00:30:00", "2031-10-27T01:30:00"]
    # The evening before in UTC is this day in Auckland.
    assert due("cron(0 1 1 1 ? *)", "2031-06-01T00:00:00", zone="Pacific/Auckland") == ["2031-12-31T12:00:00"]


def test_start_and_end_bound_it_and_a_rate_counts_from_the_start() -> None:
    start, end = us("2031-02-01T00:30:00"), us("2031-02-01T03:00:00")
    expected = ["2031-02-01T01:30:00", "2031-02-01T02:30:00"]
    assert due("rate(1 hour)", "2031-01-01T00:00:00", 5, start_us=start, end_us=end) == expected
    assert due("cron(0 * * * ? *)", "2031-01-01T00:00:00", 5, start_us=start, end_us=end) == [
        "2031-02-01T01:00:00", "2031-02-01T02:00:00", "2031-02-01T03:00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (Times("every day"), "none of"),
        (Times("at(2031-02-30T00:00:00)"), "not a date"),
        (Times("rate(0 minutes)"), "none of"),
        (Times("rate(5 weeks)"), "none of"),
        (Times("cron(0 8 * * *)"), "5 fields"),
        (Times("cron(0 8 * * * *)"), "exactly one"),
        (Times("cron(0 8 ? * ? *)"), "exactly one"),
        (Times("cron(60 8 * * ? *)"), "not within"),
        (Times("cron(0 8 * FOO ? *)"), "not within"),
        (Times("cron(0 8 32 * ? *)"), "not within"),
        (Times("cron(0 8 ? * 2#6 *)"), "not within"),
        (Times("cron(0 20-8 * * ? *)"), "backwards"),
        (Times("rate(1 day)", "Mars/Olympus"), "not a time zone"),
        (Times("rate(1 day)", "../../etc/passwd"), "not a time zone"),
        (Times("rate(1 day)", "", 10, 5), "before StartTime"),
    ],
)
def test_what_cannot_be_read_is_refused(times: Times, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check(times)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for schedule in (text, f"cron({text})", f"cron(0 0 {text} * ? *)", f"cron(0 0 ? * {text} *)"):
        try:
            parse(schedule)
        except Invalid:
            continue
        next_due(Times(schedule), 0, us("2031-01-01T00:00:00"))


@given(st.integers(0, 4 * 10**15), st.sampled_from(["cron(7 */5 ? * 2 *)", "rate(7 minutes)", "cron(0 0 31 * ? *)"]))
def test_the_next_is_later_and_nothing_lies_between(after_us: int, schedule: str) -> None:
    found = next_due(Times(schedule), 0, after_us)
    assert found is not None
    assert found > after_us
    assert next_due(Times(schedule), 0, found - 1) == found
    assert next_due(Times(schedule), 0, (after_us + found) // 2) == found
