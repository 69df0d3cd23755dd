"""Evaluation of metric alarms: the user guide's tables, cell by cell, and what must hold of any data.

Tables: CloudWatch user guide, "How alarm state is evaluated when data is missing".
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.alarms import (
    AlarmValue,
    Comparison,
    MetricAlarm,
    MetricQuery,
    MetricStat,
    Missing,
    check_alarm,
    samples_min,
)
from clary.domain.errors import Invalid, NotServed
from clary.reconcile.alarm_reasons import reason_data_of, reason_of
from clary.reconcile.alarms import Datapoint, Datapoints, judge, ticks

NOW_S = 1_924_992_060  # 2031-01-01T00:01:00Z
OK, ALARM, NO_DATA, KEEP = AlarmValue.OK, AlarmValue.ALARM, AlarmValue.INSUFFICIENT_DATA, None
TREATMENTS = (Missing.MISSING, Missing.IGNORE, Missing.BREACHING, Missing.NOT_BREACHING)

STAT = MetricStat("AWS/SageMaker", "ModelLatency", (("EndpointName", "e"), ("VariantName", "v")), 60, "Average")


def an_alarm(m: int | None = None, n: int = 3, missing: Missing | None = None, **more: object) -> MetricAlarm:
    alarm = MetricAlarm((MetricQuery("m1", STAT),), n, 5.0, Comparison.GREATER, m, missing)
    return replace(alarm, **more)  # type: ignore[arg-type]


def points(drawn: str, period_s: int = 60) -> Datapoints:
    """`0 - X`: the newest right, as the guide draws them."""
    values = {"0": 1.0, "X": 9.0}
    newest_first = drawn.split()[::-1]
    return [
        None if sign == "-" else Datapoint(NOW_S - number * period_s, values[sign], 1.0)
        for number, sign in enumerate(newest_first, 1)
    ]


@pytest.mark.parametrize(
    ("m", "drawn", "expected"),
    [
        (3, "0 - X - X", (OK, OK, OK, OK)),
        (3, "0 - - - -", (OK, OK, OK, OK)),
        (3, "- - - - -", (NO_DATA, KEEP, ALARM, OK)),
        (3, "0 X X - X", (ALARM, ALARM, ALARM, ALARM)),
        (3, "- - X - -", (ALARM, KEEP, ALARM, OK)),
        (2, "0 - X - X", (ALARM, ALARM, ALARM, ALARM)),
        (2, "0 0 X 0 X", (ALARM, ALARM, ALARM, ALARM)),
        (2, "0 - X - -", (OK, OK, ALARM, OK)),
        (2, "- - - - 0", (OK, OK, ALARM, OK)),
        (2, "- - - X -", (ALARM, KEEP, ALARM, OK)),
        # Premature: the next point may be fine.
        (3, "- - - - X", (NO_DATA, KEEP, ALARM, OK)),
        (3, "- - - X -", (NO_DATA, KEEP, ALARM, OK)),
        (3, "- - - X 0", (OK, OK, OK, OK)),
    ],
)
@pytest.mark.parametrize("treatment", range(4), ids=[missing.value for missing in TREATMENTS])
def test_the_documented_tables(m: int, drawn: str, expected: tuple[AlarmValue | None, ...], treatment: int) -> None:
    assert judge(an_alarm(m, 3, TREATMENTS[treatment]), points(drawn)).value is expected[treatment]


def test_without_a_rule_missing_is_missing_and_m_is_n() -> None:
    assert judge(an_alarm(), points("- - X - -")).value is ALARM
    assert judge(an_alarm(), points("- X 0 X X")).value is OK


drawings = st.lists(st.sampled_from("0X-"), min_size=5, max_size=5).map(" ".join)


@given(drawings, st.integers(1, 3), st.sampled_from(TREATMENTS))
def test_whatever_the_data(drawn: str, m: int, missing: Missing) -> None:
    verdict = judge(an_alarm(m, 3, missing), points(drawn))
    real = drawn.replace(" ", "").replace("-", "")
    used = real[-3:]
    assert len(verdict.used) + verdict.filled == 3
    assert len(verdict.used) == len(used)
    if len(used) == 3:  # Enough real data: the rule for missing data plays no part.
        assert verdict.value is (ALARM if used.count("X") >= m else OK)
    if used.count("X") >= m:
        assert verdict.value is ALARM
    if "X" not in used and missing is not Missing.BREACHING:
        assert verdict.value is not ALARM
    if "0" in used or missing in (Missing.BREACHING, Missing.NOT_BREACHING):
        assert verdict.value in (OK, ALARM)


@given(drawings, st.integers(1, 3), st.sampled_from(TREATMENTS))
def test_a_worse_point_never_ends_an_alarm(drawn: str, m: int, missing: Missing) -> None:
    alarm = an_alarm(m, 3, missing)
    if "0" in drawn and judge(alarm, points(drawn)).value is ALARM:
        assert judge(alarm, points(drawn.replace("0", "X", 1))).value is ALARM


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        (Comparison.GREATER, {6.0}),
        (Comparison.GREATER_OR_EQUAL, {5.0, 6.0}),
        (Comparison.LESS, {4.0}),
        (Comparison.LESS_OR_EQUAL, {4.0, 5.0}),
    ],
)
def test_comparisons(comparison: Comparison, breaching: set[float]) -> None:
    alarm = an_alarm(comparison=comparison)
    assert {value for value in (4.0, 5.0, 6.0) if alarm.breaches(value)} == breaching


@pytest.mark.parametrize(("stat", "least"), [("p99", 1000), ("p50", 20), ("p10", 100), ("p100", 0), ("Average", 0)])
def test_percentiles_need_samples(stat: str, least: int) -> None:
    assert samples_min(stat) == least


def test_a_percentile_of_few_samples_leaves_the_state() -> None:
    query = MetricQuery("m1", replace(STAT, stat="p90"))
    few = [Datapoint(NOW_S - 60, 9.0, 99.0)]
    enough = [Datapoint(NOW_S - 60, 9.0, 100.0)]
    alarm = an_alarm(n=1, queries=(query,), ignore_low_samples=True)
    assert judge(alarm, few).value is KEEP
    assert judge(alarm, enough).value is ALARM
    assert judge(replace(alarm, ignore_low_samples=False), few).value is ALARM


# -- reasons -----------------------------------------------------------------------------------------------------------


def reason(alarm: MetricAlarm, drawn: str) -> str:
    return reason_of(alarm, judge(alarm, points(drawn)))


def test_reasons_as_the_service_words_them() -> None:
    assert reason(an_alarm(2), "0 - 0 X X") == (
        "Threshold Crossed: 2 out of the last 3 datapoints [9.0 (01/01/31 00:00:00), 9.0 (31/12/30 23:59:00)] were "
        "greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )
    assert reason(an_alarm(1, 1), "0") == (
        "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (01/01/31 00:00:00)] was not greater than the "
        "threshold (5.0) (minimum 1 datapoint for ALARM -> OK transition)."
    )
    assert reason(an_alarm(n=1), "X") == (
        "Threshold Crossed: 1 datapoint [9.0 (01/01/31 00:00:00)] was greater than the threshold (5.0)."
    )
    assert reason(an_alarm(), "- - - - -") == "Insufficient Data: 3 datapoints were unknown."
    assert reason(an_alarm(n=1), "-") == "Insufficient Data: 1 datapoint was unknown."
    assert reason(an_alarm(n=1, missing=Missing.BREACHING), "-") == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as "
        "[Breaching]."
    )
    assert reason(an_alarm(1, 20, Missing.NOT_BREACHING), "X" + " -" * 21) == (
        "Threshold Crossed: 1 out of the last 20 datapoints [9.0 (31/12/30 23:39:00)] was greater than the threshold "
        "(5.0) and 19 missing datapoints were treated as [NonBreaching] (minimum 1 datapoint for OK -> ALARM "
        "transition)."
    )
    many = reason(an_alarm(n=7), " ".join("X" * 9))
    assert many.startswith("Threshold Crossed: 7 datapoints were greater than the threshold (5.0). The most recent ")
    assert many.count("9.0 (") == 5


def test_reason_data() -> None:
    alarm = an_alarm(2, queries=(MetricQuery("m1", replace(STAT, unit="Microseconds")),))
    data = json.loads(reason_data_of(alarm, judge(alarm, points("0 - X - X")), NOW_S * 1_000_000 + 985_000))
    assert data == {
        "version": "1.0",
        "queryDate": "2031-01-01T00:01:00.985+0000",
        "startDate": "2030-12-31T23:56:00.000+0000",
        "unit": "Microseconds",
        "statistic": "Average",
        "period": 60,
        "recentDatapoints": [1.0, 9.0, 9.0],
        "threshold": 5.0,
        "evaluatedDatapoints": [
            {"timestamp": "2031-01-01T00:00:00.000+0000", "sampleCount": 1.0, "value": 9.0},
            {"timestamp": "2030-12-31T23:58:00.000+0000", "sampleCount": 1.0, "value": 9.0},
            {"timestamp": "2030-12-31T23:56:00.000+0000", "sampleCount": 1.0, "value": 1.0},
        ],
    }


@given(st.integers(1, 8640), st.integers(1, 8640), st.sampled_from(TREATMENTS), st.randoms(use_true_random=False))
def test_texts_keep_their_limits(m: int, n: int, missing: Missing, random: object) -> None:
    m, n = min(m, n), max(m, n)
    choose = random.choice  # type: ignore[attr-defined]
    drawn = " ".join(choose("0X-") for _ in range(min(n, 200) + 2))
    alarm = an_alarm(m, n, missing)
    verdict = judge(alarm, points(drawn))
    if verdict.value is not None:
        assert len(reason_of(alarm, verdict)) <= 1023
        assert len(reason_data_of(alarm, verdict, NOW_S)) <= 4000


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period_s", "periods", "every_s"),
    [(10, 3, 10), (20, 1, 10), (30, 1, 10), (60, 5, 60), (3600, 24, 60), (3600, 48, 3600)],
)
def test_how_often(period_s: int, periods: int, every_s: int) -> None:
    assert an_alarm(n=periods, queries=(MetricQuery("m1", replace(STAT, period_s=period_s)),)).every_s == every_s


def test_ticks_since_the_last_evaluation() -> None:
    alarm = an_alarm()
    assert ticks(alarm, None, 1_000, 60) == [960]
    assert ticks(alarm, 960_000_000, 1_019, 60) == []
    assert ticks(alarm, 960_000_000, 1_020, 60) == [1_020]
    assert ticks(alarm, 960_000_000, 1_200, 60) == [1_020, 1_080, 1_140, 1_200]
    assert ticks(alarm, 960_000_000, 1_200, 2) == [1_140, 1_200]
    assert ticks(alarm, 1_200_000_000, 960, 60) == []


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period_s", "periods", "fine"),
    [(60, 1440, True), (60, 1441, False), (3600, 168, True), (3600, 169, False), (86_400, 7, True), (10, 8640, True),
     (10, 8641, False), (7, 1, False), (90, 1, False), (1, 1, False)],
)  # fmt: skip
def test_spans(period_s: int, periods: int, fine: bool) -> None:
    alarm = an_alarm(n=periods, queries=(MetricQuery("m1", replace(STAT, period_s=period_s)),))
    if fine:
        check_alarm(alarm)
    else:
        with pytest.raises(Invalid):
            check_alarm(alarm)


@pytest.mark.parametrize(
    ("arn", "refusal"),
    [
        ("arn:aws:lambda:us-east-1:123456789012:function:train-again", None),
        ("arn:aws:sns:us-east-1:123456789012:ops", None),
        ("arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:u:resource/sagemaker/e:policyName/p", None),
        ("arn:aws:automate:us-east-1:ec2:stop", NotServed),
        ("arn:aws:ssm:us-east-1:123456789012:opsitem:1", NotServed),
        ("arn:aws:lambda:us-east-1:123456789012:function:f:7", NotServed),
        ("ops", Invalid),
    ],
)
def test_actions(arn: str, refusal: type[Exception] | None) -> None:
    alarm = an_alarm()
    alarm = replace(alarm, actions=replace(alarm.actions, alarm=(arn,)))
    if refusal is None:
        check_alarm(alarm)
    else:
        with pytest.raises(refusal):
            check_alarm(alarm)
