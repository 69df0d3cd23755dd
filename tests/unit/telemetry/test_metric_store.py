"""The metric store adds up, keeps as long as documented, and is droppable."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.domain.errors import LimitExceeded
from clary.domain.principal import Scope
from clary.telemetry.delta import Delta, Latency, VariantDelta
from clary.telemetry.points import SAGEMAKER, Cell, Dimensions, Sample, SeriesKey
from clary.telemetry.query import Metric, MetricFilter, Point, list_metrics, read_points, resolution_for
from clary.telemetry.sketch import Sketch
from clary.telemetry.store import FUTURE_S_MAX, RETENTION_S, MetricStore, StoreOptions

NOW_S = 1_700_000_000
NOW_US = NOW_S * 1_000_000
SCOPE = Scope("123456789012", "us-east-1")
DIMENSIONS = (("EndpointName", "Churn"), ("VariantName", "A"))


def a_sample(at_s: int, cell: Cell, metric: str = "M", part: str = "", resource: str = "u1") -> Sample:
    key = SeriesKey(SCOPE.account, SCOPE.region, SAGEMAKER, metric, DIMENSIONS, "None", resource, part)
    return Sample(key, at_s, cell)


def a_variant(**facts: object) -> VariantDelta:
    base: dict[str, object] = {
        "account": SCOPE.account,
        "region": SCOPE.region,
        "endpoint": "Churn",
        "endpoint_uid": "u1",
        "variant": "A",
        "invocations": 0,
        "per_instance": 0.0,
        "errors_4xx": 0,
        "errors_5xx": 0,
        "model_errors": 0,
        "model": None,
        "overhead": None,
        "ticks": 1,
        "concurrent_sum": 0,
        "concurrent_min": 0,
        "concurrent_max": 0,
    }
    return VariantDelta(**{**base, **facts})  # type: ignore[arg-type]


def a_delta(sequence: int, *variants: VariantDelta, at_s: int = NOW_S, router: str = "router-0") -> Delta:
    return Delta(router, "boot-1", sequence, at_s * 1_000_000, variants)


def points(store: MetricStore, metric: str, resolution_s: int = 1, dims: Dimensions = DIMENSIONS) -> list[Point]:
    whole = (resolution_s, 0, 2**40)
    return store.read(lambda db: read_points(db, SCOPE, Metric(SAGEMAKER, metric, dims), whole))


def listed(store: MetricStore, wanted: MetricFilter | None = None, after: Metric | None = None) -> list[Metric]:
    return store.read(lambda db: list_metrics(db, SCOPE, wanted or MetricFilter(), after, 100))


@pytest.fixture
def store(tmp_path: Path):
    made = MetricStore(tmp_path / "telemetry.db")
    yield made
    made.close()


def test_every_metric_is_as_documented(store: MetricStore) -> None:
    model = Latency(3, 600, 100, 300, {1: 3})
    overhead = Latency(4, 40, 10, 10, {2: 4})
    busy = a_variant(
        invocations=4,
        per_instance=2.0,
        errors_4xx=1,
        errors_5xx=2,
        model_errors=4,
        model=model,
        overhead=overhead,
        concurrent_sum=2,
        concurrent_min=1,
        concurrent_max=5,
    )
    store.take([a_delta(1, busy)], NOW_US)
    names = [metric.name for metric in listed(store)]
    assert {name: points(store, name) for name in names} == {
        name: [Point(NOW_S, unit, cell)]
        for name, unit, cell in (
            ("ConcurrentRequestsPerModel", "None", Cell(1, 2, 1, 5)),
            ("Invocation4XXErrors", "None", Cell(4, 1, 0, 1)),
            ("Invocation5XXErrors", "None", Cell(4, 2, 0, 1)),
            ("InvocationModelErrors", "None", Cell(4, 4, 1, 1)),
            ("Invocations", "None", Cell(4, 4, 1, 1)),
            ("InvocationsPerInstance", "None", Cell(4, 2, 0.5, 0.5)),
            ("ModelLatency", "Microseconds", Cell(3, 600, 100, 300, Sketch({1: 3}))),
            ("OverheadLatency", "Microseconds", Cell(4, 40, 10, 10, Sketch({2: 4}))),
        )
    }


def test_an_idle_variant_has_zeros_where_scaling_looks_and_no_phantom_samples(store: MetricStore) -> None:
    store.take([a_delta(1, a_variant(ticks=10)), a_delta(2, a_variant(invocations=1, per_instance=1.0))], NOW_US)
    metrics = listed(store)
    assert {metric.name for metric in metrics} >= {
        "Invocations",
        "InvocationsPerInstance",
        "ConcurrentRequestsPerModel",
    }
    assert points(store, "Invocations")[0].cell == Cell(1, 1, 1, 1)
    assert points(store, "Invocation5XXErrors")[0].cell == Cell(1, 0, 0, 0)
    assert points(store, "ConcurrentRequestsPerModel")[0].cell == Cell(11, 0, 0, 0)
    assert points(store, "ModelLatency") == []


@pytest.mark.parametrize("cells", [[Cell(0, 0), Cell(2, 6, 1, 5)], [Cell(2, 6, 1, 5), Cell(0, 0)]])
def test_a_standstill_leaves_extremes_alone(store: MetricStore, cells: list[Cell]) -> None:
    for cell in cells:
        store.put([a_sample(NOW_S, cell)], NOW_US)
    assert points(store, "M")[0].cell == Cell(2, 6, 1, 5)


def test_a_delta_is_taken_once_and_gaps_are_counted(store: MetricStore) -> None:
    one, two, five = (a_delta(n, a_variant(invocations=1)) for n in (1, 2, 5))
    taken = store.take([one, two, one], NOW_US)
    assert (taken.deltas, taken.lost) == (2, 0)
    taken = store.take([two, five], NOW_US)
    assert (taken.deltas, taken.lost) == (1, 2)
    assert store.take([one, five], NOW_US).deltas == 0
    assert points(store, "Invocations")[0].cell.sum == 3


CELLS = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(
            lambda values: Cell(
                len(values), sum(values), min(values), max(values), Sketch({v % 50: values.count(v) for v in values})
            )
        ),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(CELLS, st.integers(1, 6))
def test_roll_ups_equal_the_sum_of_their_parts(tmp_path_factory, cells: list[tuple[int, Cell]], batch: int) -> None:
    store = MetricStore(tmp_path_factory.mktemp("store") / "telemetry.db")
    base_s = NOW_S // 3600 * 3600
    for at in range(0, len(cells), batch):
        store.put([a_sample(base_s + offset, cell) for offset, cell in cells[at : at + batch]], base_s * 10**6)
    for resolution_s in RETENTION_S:
        want: dict[int, Cell] = {}
        for offset, cell in cells:
            if base_s + offset <= base_s + FUTURE_S_MAX:
                want.setdefault((base_s + offset) // resolution_s * resolution_s, Cell()).merge(cell)
        got = {point.at_s: point.cell for point in points(store, "M", resolution_s)}
        assert {at: (c.count, c.sum, c.min, c.max, c.sketch and c.sketch.counts) for at, c in got.items()} == {
            at: (c.count, c.sum, c.min, c.max, c.sketch and c.sketch.counts) for at, c in want.items()
        }
    store.close()


def test_points_are_kept_as_long_as_documented(store: MetricStore) -> None:
    old_s = NOW_S - 63 * 86400 - 3600
    store.put([a_sample(old_s, Cell(1, 1, 1, 1))], old_s * 10**6)
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US)
    assert [len(points(store, "M", r)) for r in RETENTION_S] == [2, 2, 2, 2, 2]
    store.prune(NOW_US)
    assert [len(points(store, "M", r)) for r in RETENTION_S] == [1, 1, 1, 1, 2]
    store.prune(NOW_US + 456 * 86400 * 10**6)
    assert [len(points(store, "M", r)) for r in RETENTION_S] == [0] * 5
    assert listed(store) == []
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US)
    assert len(points(store, "M")) == 1


def test_pruning_comes_to_every_series_in_turn(tmp_path: Path) -> None:
    store = MetricStore(tmp_path / "telemetry.db", StoreOptions(prune_series=2))
    names = [f"M{n}" for n in range(5)]
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1), name) for name in names], NOW_US)
    later_us = NOW_US + 4 * 3600 * 10**6
    left = []
    for _ in range(3):
        store.prune(later_us)
        left.append(sum(len(points(store, name)) for name in names))
    assert left == [3, 1, 0]
    store.close()


def test_late_points_go_only_where_they_are_kept(store: MetricStore) -> None:
    store.put([a_sample(NOW_S - 4 * 3600, Cell(1, 1, 1, 1))], NOW_US)
    assert [len(points(store, "M", r)) for r in RETENTION_S] == [0, 0, 1, 1, 1]


def test_series_are_bounded_and_the_future_is_refused(tmp_path: Path) -> None:
    store = MetricStore(tmp_path / "telemetry.db", StoreOptions(series_max=2))
    samples = [a_sample(NOW_S, Cell(1, 1, 1, 1), name) for name in ("A", "B", "C", "A")]
    assert store.put(samples, NOW_US) == 1
    assert store.put([a_sample(NOW_S + FUTURE_S_MAX + 1, Cell(1, 1, 1, 1), "A")], NOW_US) == 1
    assert [len(points(store, name)) for name in "ABC"] == [1, 1, 0]
    store.close()


def test_routers_share_a_gauge_and_successors_share_a_name(store: MetricStore) -> None:
    store.put(
        [
            a_sample(NOW_S, Cell(1, 3, 1, 5), part="router-0"),
            a_sample(NOW_S, Cell(2, 4, 2, 2), part="router-1"),
            a_sample(NOW_S, Cell(1, 9, 9, 9), part="router-0", resource="u2"),
        ],
        NOW_US,
    )
    (point,) = points(store, "M")
    assert point.cell == Cell(3, 10 + 9, 3, 9)


def test_a_broken_file_is_moved_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    store = MetricStore(path)
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US)
    store.close()
    path.write_bytes(b"this was a database" * 300)
    assert points(store, "M") == []
    taken = store.take([a_delta(1, a_variant(invocations=1))], NOW_US)
    assert taken.moved_aside == tmp_path / f"telemetry.db.broken-{NOW_US}"
    assert taken.moved_aside.read_bytes().startswith(b"this was")
    assert points(store, "Invocations")[0].cell.sum == 1
    assert store.take([], NOW_US).moved_aside is None
    store.close()


def test_damage_found_while_running_costs_the_file_and_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    store = MetricStore(path)
    store.put([a_sample(NOW_S + n, Cell(1, 1, 1, 1), f"M{n}") for n in range(200)], NOW_US)
    store.close()
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    assert store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US) == 0
    assert len(points(store, "M")) == 1
    store.close()


@pytest.mark.parametrize("version", [0, 2])
def test_another_format_is_moved_aside(tmp_path: Path, version: int) -> None:
    path = tmp_path / "telemetry.db"
    with sqlite3.connect(path) as db:
        db.executescript(f"CREATE TABLE other (x); PRAGMA user_version = {version}")
    db.close()
    store = MetricStore(path)
    assert store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US) == 0
    assert [p.name for p in tmp_path.glob("*.broken-*")] == [f"telemetry.db.broken-{NOW_US}"]
    store.close()


def test_a_file_deleted_while_running_is_made_again(store: MetricStore, tmp_path: Path) -> None:
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US)
    for path in tmp_path.iterdir():
        path.unlink()
    assert points(store, "M") == []
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US)
    assert len(points(store, "M")) == 1


def test_a_failed_transaction_leaves_nothing(store: MetricStore, monkeypatch: pytest.MonkeyPatch) -> None:
    good = a_delta(1, a_variant(invocations=1))
    with monkeypatch.context() as patch:
        patch.setattr("clary.telemetry.store.encode_dimensions", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.take([good], NOW_US)
    assert store.take([good], NOW_US).deltas == 1
    assert points(store, "Invocations")[0].cell.sum == 1


@pytest.mark.parametrize(
    ("period_s", "start_s", "resolution_s"),
    [
        (60, 0, 60),
        (300, 0, 300),
        (300, 60, 60),
        (3600, 0, 3600),
        (3600, 300, 300),
        (20, 40, 10),
        (5, 5, 1),
        (120, 0, 60),
    ],
)
def test_the_coarsest_roll_up_that_fits_is_read(period_s: int, start_s: int, resolution_s: int) -> None:
    assert resolution_for(period_s, start_s) == resolution_s


def test_listing_filters_pages_and_looks_back(store: MetricStore) -> None:
    key = SeriesKey(SCOPE.account, SCOPE.region, "NS", "M", (("A", "1"), ("B", 'quo"te')), "None")
    other = SeriesKey(SCOPE.account, SCOPE.region, "NS", "M", (("A", "2"),), "Count")
    elsewhere = SeriesKey(SCOPE.account, "eu-west-1", "NS", "M", (), "None")
    store.put([Sample(k, NOW_S - 10 * n, Cell(1, 1, 1, 1)) for n, k in enumerate((key, other, elsewhere))], NOW_US)
    one, two = Metric("NS", "M", key.dimensions), Metric("NS", "M", other.dimensions)
    assert listed(store) == [one, two]
    assert store.read(lambda db: list_metrics(db, SCOPE, MetricFilter(), None, 1)) == [one]
    assert listed(store, after=one) == [two]
    assert listed(store, MetricFilter(namespace="NS", name="M", dimensions=[("A", None)])) == [one, two]
    assert listed(store, MetricFilter(dimensions=[("A", "1"), ("B", 'quo"te')])) == [one]
    assert listed(store, MetricFilter(dimensions=[("A", "1"), ("B", "x")])) == []
    assert listed(store, MetricFilter(name="m")) == []
    assert listed(store, MetricFilter(active_since_s=NOW_S)) == [one]


def test_damage_that_a_reader_meets_costs_the_file_and_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"
    store = MetricStore(path)
    store.put([a_sample(NOW_S + n, Cell(1, 1, 1, 1), f"M{n}") for n in range(200)], NOW_US)
    store.close()
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    assert listed(store) == []
    assert store.take([a_delta(1, a_variant(invocations=1))], NOW_US).moved_aside is not None
    assert points(store, "Invocations")[0].cell.sum == 1
    store.close()


def test_a_fault_of_the_question_is_no_damage(store: MetricStore) -> None:
    store.put([a_sample(NOW_S, Cell(1, 1, 1, 1))], NOW_US)
    with pytest.raises(sqlite3.OperationalError, match="syntax"):
        store.read(lambda db: db.execute("SELEKT"))
    assert len(points(store, "M")) == 1


def custom(metric: str, namespace: str = "Mine", resolution_s: int = 1) -> Sample:
    key = SeriesKey(SCOPE.account, SCOPE.region, namespace, metric, (), "None")
    return Sample(key, NOW_S, Cell(1, 1, 1, 1), resolution_s)


def test_users_series_have_a_limit_of_their_own(tmp_path: Path) -> None:
    store = MetricStore(tmp_path / "telemetry.db", StoreOptions(series_max=5, custom_series_max=2))
    store.record([custom("A")], NOW_US)
    with pytest.raises(LimitExceeded) as refused:
        store.record([custom("B"), custom("C")], NOW_US)
    assert (refused.value.limit, refused.value.unit) == (2, "series")
    assert [metric.name for metric in listed(store)] == ["A"]
    store.record([custom("B")], NOW_US)
    assert store.put([custom("C")], NOW_US) == 1
    # What they may not have is there for endpoints.
    own = [custom(name, namespace) for name, namespace in (("D", SAGEMAKER), ("E", "/aws/sagemaker/Endpoints"))]
    assert store.put([*own, custom("F", SAGEMAKER), custom("G", SAGEMAKER)], NOW_US) == 1
    store.close()
    again = MetricStore(tmp_path / "telemetry.db", StoreOptions(series_max=6, custom_series_max=2))
    with pytest.raises(LimitExceeded):
        again.record([custom("C")], NOW_US)
    again.record([custom("A"), custom("B")], NOW_US)
    again.close()


def test_a_sample_of_standard_resolution_goes_into_no_finer_roll_up(store: MetricStore) -> None:
    store.record([custom("A", resolution_s=60)], NOW_US)
    rows = store.read(lambda db: db.execute("SELECT resolution FROM point ORDER BY 1").fetchall())
    assert rows == [(60,), (300,), (3600,)]
