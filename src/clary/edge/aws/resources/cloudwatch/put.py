"""PutMetricData: all of a request is stored before the answer, or nothing is.

Texts with `member`, `mutually exclusive`, `must specify a time` and `The collection` are the service's, from public
issues; the others are ours in its style.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NoReturn

from clary.control import metrics
from clary.control.metrics import MetricDesk
from clary.domain.errors import LimitExceeded
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members
from clary.edge.aws.resources.cloudwatch.common import metric_of
from clary.kit.clock import MICROS
from clary.telemetry.custom import VALUE_MAX, cell_of, cell_of_statistics, is_reserved
from clary.telemetry.points import Cell, Sample, SeriesKey
from clary.telemetry.store import FUTURE_S_MAX

METRICS_MAX = 1000
VALUES_MAX = 150
PAST_S_MAX = 14 * 86400

FIELDS: Mapping[str, Field] = {
    "Namespace": Field.SERVED,
    "MetricData": Field.SERVED,
    "EntityMetricData": Field.REFUSED,
    "StrictEntityValidation": Field.REFUSED,
}
NOTES = {
    "EntityMetricData": "Clary keeps no entities; send the metrics as MetricData.",
    "StrictEntityValidation": "It belongs to EntityMetricData, which Clary does not serve.",
}
_KINDS = ("Value", "Values", "StatisticValues")


async def put_metric_data(desk: MetricDesk, call: Call, members: Members) -> Members:
    namespace = members["Namespace"]
    if is_reserved(namespace):
        _wrong(f"The value {namespace} for parameter Namespace is invalid.")
    if not _is_plain(namespace):
        _wrong("The parameter Namespace must contain ASCII characters only, and no control characters.")
    given = members.get("MetricData") or []
    if not given:
        raise AwsError("MissingParameter", "The parameter MetricData is required.")
    if len(given) > METRICS_MAX:
        _wrong(f"The collection MetricData must not have a size greater than {METRICS_MAX}.")
    now_us = desk.clock.now_us()

    def samples() -> list[Sample]:
        return [
            _sample(call, namespace, datum, f"MetricData.member.{number}", now_us / MICROS)
            for number, datum in enumerate(given, 1)
        ]

    try:
        await metrics.put(desk, samples)
    except LimitExceeded as error:
        raise AwsError(
            "LimitExceeded",
            f"The limit of {error.limit} {error.unit} for {error.what} is reached, and nothing of this request was "
            "stored. Use fewer distinct values of dimensions: each set of them is a series of its own.",
        ) from None
    return {}


def _sample(call: Call, namespace: str, datum: Members, path: str, now_s: float) -> Sample:
    name = datum["MetricName"]
    if not _is_plain(name):
        _wrong(f"The parameter {path}.MetricName must contain ASCII characters only, and no control characters.")
    for problem in _dimension_problems(datum.get("Dimensions") or [], path):
        _wrong(problem)
    resolution_s = datum.get("StorageResolution", 60)
    if resolution_s not in (1, 60):
        _wrong(f"The parameter {path}.StorageResolution must be 1 or 60.")
    metric = metric_of(namespace, name, datum.get("Dimensions"))
    key = SeriesKey(
        call.scope.account, call.scope.region, namespace, name, metric.dimensions, datum.get("Unit", "None")
    )
    at_s = _time(datum.get("Timestamp"), path, now_s)
    return Sample(key, at_s, _cell(datum, path), resolution_s)


def _dimension_problems(dimensions: list[Members], path: str) -> Iterator[str]:
    for number, pair in enumerate(dimensions, 1):
        where = f"{path}.Dimensions.member.{number}"
        for part in ("Name", "Value"):
            text = pair[part]
            if not _is_plain(text) or not text.strip():
                rule = "must contain ASCII characters only, no control characters, and one that is no blank"
                yield f"The parameter {where}.{part} {rule}."
        if pair["Name"].startswith(":"):
            yield f"The parameter {where}.Name must not start with a colon."
    if len({pair["Name"] for pair in dimensions}) < len(dimensions):
        yield f"The parameter {path}.Dimensions names a dimension twice."


def _time(at: datetime | None, path: str, now_s: float) -> int:
    if at is None:
        return int(now_s)
    at_s = at.timestamp()
    if at_s < now_s - PAST_S_MAX:
        _wrong(f"The parameter {path}.Timestamp must specify a time within the past two weeks.")
    if at_s > now_s + FUTURE_S_MAX:
        _wrong(f"The parameter {path}.Timestamp must specify a time no more than two hours in the future.")
    return math.floor(at_s)


def _cell(datum: Members, path: str) -> Cell:
    given = [kind for kind in _KINDS if datum.get(kind) is not None]
    if not given:
        text = f"At least one of the parameters {', '.join(f'{path}.{kind}' for kind in _KINDS)} must be specified."
        raise AwsError("MissingParameter", text)
    if len(given) > 1:
        both = f"{path}.{given[0]} and {path}.{given[1]}"
        text = f"The parameters {both} are mutually exclusive and you have specified both."
        raise AwsError("InvalidParameterCombination", text)
    if datum.get("Counts") and given != ["Values"]:
        raise AwsError("InvalidParameterCombination", f"The parameter {path}.Counts needs the parameter {path}.Values.")
    if given == ["Value"]:
        return cell_of([_number(datum["Value"], f"{path}.Value")])
    if given == ["StatisticValues"]:
        return _statistics(datum["StatisticValues"], f"{path}.StatisticValues")
    values = [_number(value, f"{path}.Values.member.{at}") for at, value in enumerate(datum["Values"], 1)]
    counts = [_number(count, f"{path}.Counts.member.{at}") for at, count in enumerate(datum.get("Counts") or [], 1)]
    if not 1 <= len(values) <= VALUES_MAX:
        _wrong(f"The collection {path}.Values must have a size of 1 to {VALUES_MAX}.")
    if counts and len(counts) != len(values):
        _wrong(f"The parameters {path}.Values and {path}.Counts must have the same size.")
    if any(count <= 0 for count in counts):
        _wrong(f"The parameter {path}.Counts must hold numbers greater than 0.")
    return cell_of(values, counts or None)


def _statistics(given: Members, path: str) -> Cell:
    count, total, least, most = (
        _number(given[name], f"{path}.{name}") for name in ("SampleCount", "Sum", "Minimum", "Maximum")
    )
    if count <= 0:
        _wrong(f"The parameter {path}.SampleCount must be greater than 0.")
    if least > most:
        _wrong(f"The parameter {path}.Minimum must not be greater than {path}.Maximum.")
    return cell_of_statistics(count, total, least, most)


def _number(value: float, path: str) -> float:
    if not -VALUE_MAX <= value <= VALUE_MAX:
        _wrong(f"The value {value} for parameter {path} is invalid: it must be a number from -2^360 to 2^360.")
    return value


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _wrong(text: str) -> NoReturn:
    raise AwsError("InvalidParameterValue", text)
