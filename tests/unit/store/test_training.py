"""The status of jobs: as a rule and as SQL, one and the same."""

from __future__ import annotations

from itertools import product

from sqlalchemy import insert

from clary.domain.principal import Scope
from clary.domain.training import ENDED, JobStatus, Phase
from clary.domain.tuning import TuningStatus
from clary.store import training, tuning
from clary.store.base import Store
from clary.store.documents import pack
from clary.store.named import ListQuery, list_page
from clary.store.tables import training_jobs, tuning_jobs
from tests.unit.domain.test_training import SPEC
from tests.unit.domain.test_tuning import SPEC as TUNING

SCOPE = Scope("123456789012", "r")


def row(number: int, observed: str | None, *, stop: bool, ended: bool) -> dict[str, object]:
    return {
        "uid": f"{number:026}",
        "account": SCOPE.account,
        "region": SCOPE.region,
        "name": f"job-{number}",
        "name_key": f"job-{number}",
        "created_us": number,
        "modified_us": number,
        "stop_requested_us": 5 if stop else None,
        "observed": observed,
        "observed_us": 100 if observed else None,
        "ended_us": 100 if ended else None,
    }


async def test_training_jobs(store: Store) -> None:
    rows = [
        {**row(n, phase.value if phase else None, stop=stop, ended=phase in ENDED), "spec": pack(SPEC)}
        for n, (phase, stop) in enumerate(product([None, *Phase], [False, True]))
    ]
    await store.write(lambda connection: connection.execute(insert(training_jobs), rows))
    for status in JobStatus:
        query = ListQuery(limit=100, status=status.value)
        found, _ = await store.read(lambda c, q=query: list_page(c, training.COLUMNS, SCOPE, q))
        assert found, status
        assert {training.training_job(one).status for one in found} == {status}
    unfinished = await store.read(training.unfinished)
    assert len(unfinished) == sum(one["ended_us"] is None for one in rows)
    late = ListQuery(limit=100, modified_after_us=50)
    found, _ = await store.read(lambda c: list_page(c, training.COLUMNS, SCOPE, late))
    assert {training.training_job(one).modified_us for one in found} == {100}


async def test_tuning_jobs(store: Store) -> None:
    ended = [TuningStatus.COMPLETED, TuningStatus.FAILED, TuningStatus.STOPPED]
    rows = [
        {**row(n, status.value if status else None, stop=stop, ended=status is not None), "spec": pack(TUNING)}
        for n, (status, stop) in enumerate(product([None, *ended], [False, True]))
    ]
    await store.write(lambda connection: connection.execute(insert(tuning_jobs), rows))
    for status in TuningStatus:
        query = ListQuery(limit=100, status=status.value)
        found, _ = await store.read(lambda c, q=query: list_page(c, tuning.COLUMNS, SCOPE, q))
        assert {tuning.tuning_job(one).status for one in found} == {status}
    assert tuning.tuning_job(found[0]).spec == TUNING
    assert len(await store.read(tuning.unfinished)) == 2
