"""CloudWatch's operations on metrics over a store of their own, called by hand and through a door."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

from clary.control.metrics import MetricDesk
from clary.edge.aws.operation import Answer
from clary.edge.aws.resources import cloudwatch
from clary.kit.clock import VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.store import MetricStore
from tests.support.cloudwatch import CALL, MODEL, NOW_S, Ask, check_output
from tests.support.door import Served, serve_door


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    made = MetricStore(tmp_path / "telemetry.db")
    yield made
    made.close()


@pytest.fixture
def ask(store: MetricStore) -> Iterator[Ask]:
    threads = Threads("test", 1)
    desk = MetricDesk(store, threads, VirtualClock(NOW_S * 1_000_000))
    served = {operation.name: operation for operation in cloudwatch.operations(desk)}

    def call(name: str, **members: Any) -> dict[str, Any]:
        model = MODEL.operation_model(name)
        report = ParamValidator().validate(members, model.input_shape)
        assert not report.has_errors(), report.generate_report()
        answer = asyncio.run(served[name].handler(CALL, members))
        assert not isinstance(answer, Answer)
        if model.output_shape is None:
            assert answer == {}
        else:
            check_output(answer, model.output_shape)
        return dict(answer)

    yield call
    threads.close()


@pytest.fixture
def served(store: MetricStore) -> Iterator[Served]:
    threads = Threads("test", 1)
    desk = MetricDesk(store, threads, VirtualClock(NOW_S * 1_000_000))
    with serve_door(cloudwatch.operations(desk)) as served:
        yield served
    threads.close()
