"""The plan of a scalable target: what it sets, notes and remembers, and that it never leaves its bounds or flaps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.domain.scaling import (
    LOW_SHARE,
    ActivityText,
    Bounds,
    Memory,
    ScheduledSpec,
    StepAdjustment,
    StepScaling,
    Suspended,
    TargetSpec,
    TargetTracking,
)
from clary.domain.schedules import Times
from clary.kit.clock import MICROS
from clary.reconcile.scaling import FULFIL_US, plan
from clary.reconcile.scaling_facts import (
    Action,
    Due,
    EndActivity,
    Have,
    Note,
    Open,
    Ran,
    Reading,
    Remember,
    SetScale,
    Signal,
    Stepping,
    Tracking,
    Trigger,
    WakeAt,
    Want,
)

NOW = 1_800_000_000 * MICROS
BOUNDS = TargetSpec(1, 10, "role")
HIGH, LOW = Signal("high", "ALARM", NOW - 1), Signal("low", "ALARM", NOW - 1)
RULE = TargetTracking(10.0, "SageMakerVariantInvocationsPerInstance")


def at(count: int, *, ready: int | None = None, active: bool = True, **more: object) -> Have:
    return Have(1, count, count if ready is None else ready, active, **more)  # type: ignore[arg-type]


def tracking(
    value: float | None, *, high: bool = False, low: bool = False, name: str = "p", **rule: object
) -> Tracking:
    spec = replace(RULE, **rule)  # type: ignore[arg-type]
    reading = None if value is None else Reading(value, NOW - 60 * MICROS)
    return Tracking(name, name, spec, HIGH if high else None, LOW if low else None, reading)


def stepping(adjustment: int, breach: float = 1.0, name: str = "s", since_us: int = NOW - 1, **rule: int) -> Stepping:
    step = StepAdjustment(adjustment, 0.0, None) if breach >= 0 else StepAdjustment(adjustment, None, 0.0)
    spec = StepScaling("ChangeInCapacity", (step,), **rule)
    return Stepping(name, name, spec, (Trigger(Signal("mine", "ALARM", since_us), breach, breach >= 0),))


def counts(actions: list[Action]) -> list[int]:
    return [action.count for action in actions if isinstance(action, SetScale)]


def remembered(actions: list[Action]) -> Memory:
    return next(action.memory for action in actions if isinstance(action, Remember))


def steady() -> Memory:
    return Memory(generation=1)


def test_out_in_proportion_with_the_services_words() -> None:
    actions = plan(Want(BOUNDS, (tracking(26.0, high=True),)), at(2), steady(), NOW)
    first = actions[0]
    assert isinstance(first, SetScale)
    assert first.count == 6
    assert first.text == ActivityText(
        "Setting desired instance count to 6.",
        "monitor alarm high in state ALARM triggered policy p",
        "Successfully set desired instance count to 6. Waiting for change to be fulfilled by sagemaker.",
    )
    memory = remembered(actions)
    assert (memory.out_us, memory.out_from, memory.out_cooldown_s, memory.settled_us) == (NOW, 2, 300, None)


@pytest.mark.parametrize(
    ("policies", "count"),
    [
        # Out if any wants it, the largest wins; in only if all agree, and then the largest.
        ((tracking(15, high=True), tracking(3, low=True, name="q")), [12]),
        ((tracking(15, high=True), tracking(20, high=True, name="q")), [16]),
        ((tracking(1, low=True), tracking(9.5, name="q")), []),
        ((tracking(1, low=True), tracking(7.2, low=True, name="q")), [6]),
        ((tracking(1, low=True), tracking(8.0, low=True, name="q")), [7]),
        ((tracking(1, low=True), tracking(9.9, low=True, name="q")), []),
        # One that does not scale in has no vote.
        ((tracking(1, low=True), tracking(None, name="q", disable_scale_in=True)), [6]),
        ((tracking(1, low=True, disable_scale_in=True),), []),
        # ... and would scale out again: no lower than it could stand.
        ((tracking(1, low=True), tracking(6.0, name="q", disable_scale_in=True)), [6]),
        ((tracking(1, low=True), tracking(8.0, name="q", disable_scale_in=True)), [7]),
        ((tracking(1, low=True), tracking(9.5, name="q", disable_scale_in=True)), []),
        # Nothing is known: nothing is done, and nobody agrees.
        ((tracking(None, high=True),), []),
        ((tracking(1, low=True), tracking(None, name="q")), []),
        # An idle variant goes in, gradually: a fourth part at once.
        ((tracking(0, low=True),), [6]),
        # A step in is not held back by what tracking has not decided yet.
        ((tracking(9.5), stepping(-3, -1.0)), [5]),
        ((stepping(4), tracking(1, low=True)), [12]),
        ((), []),
    ],
)
def test_what_several_policies_come_to(policies: tuple[Tracking | Stepping, ...], count: list[int]) -> None:
    assert counts(plan(Want(replace(BOUNDS, max_capacity=50), policies), at(8), steady(), NOW)) == count


def test_a_suspended_direction_is_left() -> None:
    out = Want(replace(BOUNDS, suspended=Suspended(scale_out=True)), (tracking(99, high=True),))
    into = Want(replace(BOUNDS, suspended=Suspended(scale_in=True)), (tracking(0, low=True),))
    assert counts(plan(out, at(2), steady(), NOW)) == counts(plan(into, at(2), steady(), NOW)) == []


def test_the_scale_out_cooldown_lets_only_a_larger_one_pass() -> None:
    memory = replace(steady(), out_us=NOW - 10, out_from=1, out_cooldown_s=300, set_us=NOW - 10, settled_us=NOW - 5)
    # The documented example: 2 were added, now 3 would be: 1 is.
    assert counts(plan(Want(BOUNDS, (stepping(3),)), at(3), memory, NOW)) == [4]
    assert counts(plan(Want(BOUNDS, (stepping(2),)), at(3), memory, NOW)) == []
    assert counts(plan(Want(BOUNDS, (tracking(25, high=True),)), at(3), memory, NOW)) == []
    assert counts(plan(Want(BOUNDS, (tracking(55, high=True),)), at(3), memory, NOW)) == [6]
    later = NOW + 301 * MICROS
    fresh = replace(tracking(12, high=True), reading=Reading(12, later - 60 * MICROS))
    assert counts(plan(Want(BOUNDS, (fresh,)), at(3), memory, later)) == [4]


def test_the_scale_in_cooldown_ends_with_a_scale_out() -> None:
    memory = replace(steady(), in_us=NOW - 10, in_cooldown_s=300)
    idle = Want(BOUNDS, (tracking(0, low=True),))
    assert plan(idle, at(4), memory, NOW) == [WakeAt(NOW - 10 + 300 * MICROS)]
    assert counts(plan(idle, at(4), memory, NOW + 300 * MICROS)) == [3]
    actions = plan(Want(BOUNDS, (tracking(20, high=True),)), at(4), memory, NOW)
    assert counts(actions) == [8]
    assert remembered(actions).in_us is None


def test_a_value_from_before_the_last_change_scales_nothing_in_or_further_out() -> None:
    memory = replace(steady(), set_us=NOW - 5, settled_us=NOW - 3, out_us=NOW - 5, out_from=1)
    assert counts(plan(Want(BOUNDS, (tracking(40, high=True),)), at(4), memory, NOW)) == []
    assert counts(plan(Want(BOUNDS, (tracking(0, low=True),)), at(4), memory, NOW)) == []


def test_replicas_that_start_bear_nothing_yet() -> None:
    assert counts(plan(Want(BOUNDS, (tracking(40, high=True),)), at(4, ready=1), steady(), NOW)) == []


def test_bounds_come_first_and_know_no_cooldown() -> None:
    memory = replace(steady(), in_us=NOW - 1, in_cooldown_s=300, out_us=NOW - 1, out_cooldown_s=300, out_from=1)
    low, high = (plan(Want(replace(BOUNDS, min_capacity=3, max_capacity=5)), at(n), memory, NOW) for n in (1, 9))
    assert counts(low) == [3]
    assert counts(high) == [5]
    assert [a.text.cause for a in (*low, *high) if isinstance(a, SetScale)] == [
        "minimum capacity was set to 3",
        "maximum capacity was set to 5",
    ]
    assert counts(plan(Want(replace(BOUNDS, min_capacity=3)), at(1, active=False), memory, NOW)) == []


def test_an_update_blocks_scaling_and_is_noted_once() -> None:
    want, arn = Want(BOUNDS, (tracking(26, high=True),)), "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
    updating = at(2, active=False, updating=True, arn=arn)
    actions = plan(want, updating, steady(), NOW)
    note = actions[0]
    assert isinstance(note, Note)
    assert note.status == "Failed"
    assert f'Cannot update in-progress endpoint "{arn}".' in note.text.message
    assert plan(want, updating, remembered(actions), NOW + MICROS) == []
    assert counts(plan(want, at(2), remembered(actions), NOW + 2 * MICROS)) == [6]


def test_at_the_bound_it_is_noted_once() -> None:
    want = Want(replace(BOUNDS, max_capacity=2), (tracking(26, high=True),))
    actions = plan(want, at(2), steady(), NOW)
    note = actions[0]
    assert isinstance(note, Note)
    assert (note.status, note.text.reasons[0].code, note.text.reasons[0].limit) == (
        "NotScaled",
        "AlreadyAtMaxCapacity",
        2,
    )
    assert plan(want, at(2), remembered(actions), NOW) == []
    low = plan(Want(BOUNDS, (stepping(-3, -1.0),)), at(1), steady(), NOW)[0]
    assert isinstance(low, Note)
    assert low.text.reasons[0].code == "AlreadyAtMinCapacity"


@pytest.mark.parametrize(
    ("have", "later_us", "status"),
    [
        (at(3), 1, "Successful"),
        (at(5), 1, "Overridden"),
        (replace(at(3), generation=2), 1, "Overridden"),
        (at(3, ready=1), FULFIL_US, "Unfulfilled"),
        (at(3, ready=1), FULFIL_US - 1, ""),
        (at(3, ready=4), 1, ""),
    ],
)
def test_how_an_activity_ends(have: Have, later_us: int, status: str) -> None:
    opened = Open("a", 1, 3, NOW, ActivityText("d", "c", "m"))
    actions = plan(Want(BOUNDS), replace(have, open=opened), steady(), NOW + later_us)
    assert [a.status for a in actions if isinstance(a, EndActivity)] == [status][: bool(status)]


def test_replicas_that_never_come_do_not_keep_a_variant_from_scaling_in() -> None:
    opened = Open("a", 1, 3, NOW, ActivityText("d", "c", "m"))
    memory = replace(steady(), set_us=NOW, out_us=NOW, out_from=1)
    have, later = at(3, ready=1, open=opened), NOW + FULFIL_US
    idle = Want(BOUNDS, (replace(tracking(0, low=True), reading=Reading(0, later)),))
    assert counts(plan(idle, have, memory, later - 1)) == []
    assert counts(plan(idle, have, memory, later)) == [2]
    # A clock that was set back since lengthens the wait by no more than itself.
    back = plan(idle, have, memory, NOW - 7200 * MICROS)
    assert remembered(back).set_us == NOW - 7200 * MICROS
    assert counts(plan(idle, have, remembered(back), NOW - 7200 * MICROS + FULFIL_US)) == [2]


def test_a_step_policy_acts_once_a_minute_while_its_alarm_stays() -> None:
    want = Want(BOUNDS, (stepping(1, cooldown_s=0),))
    actions = plan(want, at(2), steady(), NOW)
    assert counts(actions) == [3]
    memory = remembered(actions)
    assert counts(plan(want, at(3), memory, NOW + 59 * MICROS)) == []
    assert counts(plan(want, at(3), memory, NOW + 60 * MICROS)) == [4]
    anew = Want(BOUNDS, (stepping(1, since_us=NOW + MICROS, cooldown_s=0),))
    assert counts(plan(anew, at(3), memory, NOW + 2 * MICROS)) == [4]


def test_a_schedule_sets_bounds_and_the_count_follows() -> None:
    made = NOW - 100 * MICROS
    action = Due("u", "morning", ScheduledSpec(Times("rate(1 minute)"), 4, 6), made, made)
    actions = plan(Want(BOUNDS, (), (action,)), at(2), steady(), NOW)
    assert [type(one) for one in actions] == [Ran, Note, SetScale, Remember, WakeAt]
    note = actions[1]
    assert isinstance(note, Note)
    assert note.text == ActivityText(
        "Setting min capacity to 4 and max capacity to 6",
        "scheduled action name morning was triggered",
        "Successfully set min capacity to 4 and max capacity to 6",
    )
    assert counts(actions) == [4]
    assert remembered(actions).bounds == Bounds(1, 4, 6)
    assert actions[-1] == WakeAt(made + 120 * MICROS)


def test_a_suspended_or_impossible_schedule_sets_nothing() -> None:
    made = NOW - 100 * MICROS
    due = Due("u", "n", ScheduledSpec(Times("rate(1 minute)"), 11, None), made, made)
    actions = plan(Want(BOUNDS, (), (due,)), at(2), steady(), NOW)
    assert [a.status for a in actions if isinstance(a, Note)] == ["Failed"]
    suspended = Want(replace(BOUNDS, suspended=Suspended(scheduled=True)), (), (due,))
    assert [type(a) for a in plan(suspended, at(2), steady(), NOW)] == [Ran, WakeAt]


def test_a_clock_that_was_set_back_begins_a_wait_anew_and_no_longer() -> None:
    memory = replace(steady(), in_us=NOW, in_cooldown_s=300)
    back = NOW - 86_400 * MICROS
    want = Want(BOUNDS, (replace(tracking(0, low=True), reading=Reading(0, back - MICROS)),))
    actions = plan(want, at(4), memory, back)
    assert remembered(actions).in_us == back
    assert counts(plan(want, at(4), remembered(actions), back + 300 * MICROS)) == [3]


def test_another_generation_forgets_all_but_the_schedule() -> None:
    memory = replace(steady(), generation=7, in_us=NOW, in_cooldown_s=300, bounds=Bounds(1, 2, 5))
    actions = plan(Want(BOUNDS, (tracking(0, low=True),)), at(4), memory, NOW)
    assert counts(actions) == [3]
    assert remembered(actions).bounds == Bounds(1, 2, 5)


# -- under a simulated service -----------------------------------------------------------------------------------------


@dataclass
class World:
    """A variant under load: replicas take a while, alarms see whole minutes, as they do for real."""

    spec: TargetSpec
    policies: list[TargetTracking]
    count: int = 1
    ready: int = 1
    now_us: int = NOW
    elapsed_us: int = 0
    """By which replicas come, whatever the clock says."""
    memory: Memory = field(default_factory=steady)
    opened: Open | None = None
    minutes: list[float] = field(default_factory=list)
    """Load a replica had, a value a minute."""
    start_s: int = 60
    changes: list[int] = field(default_factory=list)
    _due: list[int] = field(default_factory=list)

    def want(self) -> Want:
        found = []
        for number, rule in enumerate(self.policies):
            high = len(self.minutes) >= 3 and all(value > rule.target for value in self.minutes[-3:])
            low = len(self.minutes) >= 15 and all(value < rule.target * LOW_SHARE for value in self.minutes[-15:])
            reading = Reading(self.minutes[-1], self.now_us - 60 * MICROS) if self.minutes else None
            signal = Signal("a", "ALARM", self.now_us)
            found.append(Tracking(str(number), "p", rule, signal if high else None, signal if low else None, reading))
        return Want(self.spec, tuple(found))

    def minute(self, load: float) -> None:
        """A minute of `load`, then a look."""
        self.now_us += 60 * MICROS
        self.elapsed_us += 60 * MICROS
        self.minutes.append(load / max(1, self.ready))
        while self._due and self._due[0] <= self.elapsed_us:
            self._due.pop(0)
            self.ready = min(self.count, self.ready + 1)
        self.look()

    def look(self) -> None:
        for _ in range(10):
            have = Have(1, self.count, self.ready, active=True, open=self.opened)
            actions = plan(self.want(), have, self.memory, self.now_us)
            if all(isinstance(action, WakeAt) for action in actions):
                return
            for action in actions:
                self._apply(action)
        raise AssertionError("the plan does not converge")

    def _apply(self, action: Action) -> None:
        if isinstance(action, SetScale):
            self.changes.append(action.count)
            lacking = max(0, action.count - self.count)
            self.count, self.ready = action.count, min(self.ready, action.count)
            self._due = sorted(self._due + [self.elapsed_us + self.start_s * MICROS] * lacking)
            self.opened = Open("o", 1, action.count, self.now_us, action.text)
        elif isinstance(action, EndActivity):
            self.opened = None
        elif isinstance(action, Remember):
            self.memory = action.memory


SPECS = st.tuples(st.integers(1, 8), st.integers(0, 30)).map(lambda b: TargetSpec(b[0], b[0] + b[1], "role"))
RULES = st.lists(
    st.builds(
        TargetTracking,
        st.floats(1, 100),
        st.just("x"),
        scale_out_cooldown_s=st.sampled_from([None, 0, 60]),
        scale_in_cooldown_s=st.sampled_from([None, 0, 60]),
        disable_scale_in=st.booleans(),
    ),
    min_size=1,
    max_size=2,
)


@settings(max_examples=60, deadline=None)
@given(SPECS, RULES, st.lists(st.floats(0, 3000), min_size=20, max_size=60), st.sampled_from([1, 90, 400]))
def test_it_stays_within_its_bounds_and_steps_are_bounded(
    spec: TargetSpec, rules: list[TargetTracking], loads: list[float], start_s: int
) -> None:
    world = World(spec, rules, count=spec.min_capacity, ready=spec.min_capacity, start_s=start_s)
    for load in loads:
        before = world.count
        world.minute(load)
        assert spec.min_capacity <= world.count <= spec.max_capacity
        assert before - world.count <= max(1, before // 4)


@settings(max_examples=60, deadline=None)
@given(SPECS, RULES, st.floats(0, 3000), st.integers(1, 30), st.sampled_from([1, 90]))
def test_a_constant_load_does_not_flap(
    spec: TargetSpec, rules: list[TargetTracking], load: float, count: int, start_s: int
) -> None:
    """Once: out, or in by steps; never first the one and then the other."""
    count = min(max(count, spec.min_capacity), spec.max_capacity)
    world = World(spec, rules, count=count, ready=count, start_s=start_s)
    for _ in range(240):
        world.minute(load)
    path = [count, *world.changes]
    assert path == sorted(path) or path == sorted(path, reverse=True)
    settled = world.count
    for _ in range(60):
        world.minute(load)
    assert world.count == settled


def test_a_day_of_traffic() -> None:
    """Night, a morning that rises, noon, a short peak, evening: capacity follows, and the target is kept."""
    world = World(TargetSpec(1, 20, "role"), [TargetTracking(70.0, "x")])
    day = [30.0] * 360 + [30.0 + 2.5 * minute for minute in range(240)] + [630.0] * 300
    day += [1300.0] * 30 + [400.0] * 270 + [20.0] * 240
    over = 0
    for load in day:
        world.minute(load)
        over += world.minutes[-1] > 70
    assert max(world.changes) == 19
    assert world.count == 1
    assert over < 90, f"{over} minutes above the target"
    assert len(world.changes) < 60


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 500), st.sampled_from(["", "kill", "back", "ahead"])), max_size=50))
def test_nothing_is_lost_or_done_twice_by_kills_and_clocks_that_step(story: list[tuple[float, str]]) -> None:
    """A kill between a look and its write leaves the rows as they were; the next look decides the same."""
    world = World(TargetSpec(1, 9, "role"), [TargetTracking(50.0, "x", scale_in_cooldown_s=60)])
    for load, event in story:
        if event == "kill":
            have = Have(1, world.count, world.ready, active=True, open=world.opened)
            assert plan(world.want(), have, world.memory, world.now_us) == plan(
                world.want(), have, world.memory, world.now_us
            )
        if event in ("back", "ahead"):
            world.now_us += (-1 if event == "back" else 1) * 3600 * MICROS
        world.minute(load)
        assert 1 <= world.count <= 9
    for _ in range(90):
        world.minute(0.0)
    assert world.count == 1
