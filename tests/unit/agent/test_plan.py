"""The agent's plan converges on what should run, and each phase waits for its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.agent.plan import Action, Forget, Fork, Kill, Phase, Seen, Start, Terminate, plan, wake_s
from clary.agent.table import ProcessSpec

ZYGOTE = ProcessSpec("z", "zygote", ("z",))
FRESH = ProcessSpec("w", "worker", ("w",))
FORKED = replace(FRESH, zygote="z")
OTHER = replace(FRESH, argv=("other",))


def planned(want: list[ProcessSpec], seen: Seen | None, fork: Fork = Fork.SAFE, now_s: float = 10.0) -> list[Action]:
    have = {} if seen is None else {seen.spec.uid: seen}
    return plan({spec.uid: spec for spec in want}, have, {"z": fork}, now_s)


@pytest.mark.parametrize(
    ("want", "seen", "fork", "actions"),
    [
        ([FRESH], None, Fork.SAFE, [Start(FRESH, fork=False)]),
        ([FORKED], None, Fork.SAFE, [Start(FORKED, fork=True)]),
        ([FORKED], None, Fork.UNSAFE, [Start(FORKED, fork=False)]),
        ([FORKED], None, Fork.COMING, []),
        ([FRESH], Seen(FRESH, Phase.IDLE, 10.5), Fork.SAFE, []),
        ([FRESH], Seen(FRESH, Phase.IDLE, 10.0), Fork.SAFE, [Start(FRESH, fork=False)]),
        ([OTHER], Seen(FRESH, Phase.IDLE, 0.0), Fork.SAFE, [Start(OTHER, fork=False)]),
        ([], Seen(FRESH, Phase.IDLE, 99.0), Fork.SAFE, [Forget("w")]),
        ([FRESH], Seen(FRESH, Phase.RUNNING), Fork.SAFE, []),
        ([OTHER], Seen(FRESH, Phase.RUNNING), Fork.SAFE, [Terminate("w")]),
        ([], Seen(FRESH, Phase.RUNNING), Fork.SAFE, [Terminate("w")]),
        ([], Seen(FRESH, Phase.STOPPING, 10.5), Fork.SAFE, []),
        ([FRESH], Seen(FRESH, Phase.STOPPING, 10.0), Fork.SAFE, [Kill("w")]),
        ([FRESH], Seen(FRESH, Phase.ORPHAN, 10.5), Fork.SAFE, []),
        ([FRESH], Seen(FRESH, Phase.ORPHAN, 10.0), Fork.SAFE, [Kill("w")]),
        ([], Seen(FRESH, Phase.ORPHAN, 10.5), Fork.SAFE, [Terminate("w")]),
        ([FORKED], Seen(FORKED, Phase.FORKING, 10.5), Fork.SAFE, []),
        ([FORKED], Seen(FORKED, Phase.FORKING, 10.0), Fork.SAFE, [Kill("z")]),
    ],
)
def test_one_step(want: list[ProcessSpec], seen: Seen | None, fork: Fork, actions: list[Action]) -> None:
    assert planned(want, seen, fork) == actions


SPECS = st.sampled_from([FRESH, FORKED, OTHER, replace(FRESH, uid="x"), replace(FORKED, uid="y"), ZYGOTE])
TABLES = st.lists(SPECS, unique_by=lambda spec: spec.uid).map(lambda specs: {spec.uid: spec for spec in specs})
HAVE = st.dictionaries(
    st.sampled_from(["w", "x", "y", "z"]), st.tuples(SPECS, st.sampled_from(Phase), st.floats(0, 50)), max_size=4
)


@given(TABLES, HAVE)
def test_it_converges_on_the_table(
    want: dict[str, ProcessSpec], have: dict[str, tuple[ProcessSpec, Phase, float]]
) -> None:
    """A world in which every process obeys at its last moment reaches the table, and then nothing more is planned."""
    seen = {uid: Seen(replace(spec, uid=uid), phase, until_s) for uid, (spec, phase, until_s) in have.items()}
    now_s = 0.0
    for _ in range(40):
        zygotes = {
            "z": Fork.SAFE
            if "z" in seen and seen["z"].phase is Phase.RUNNING
            else Fork.COMING
            if "z" in want
            else Fork.UNSAFE
        }
        actions = plan(want, seen, zygotes, now_s)
        for action in actions:
            if isinstance(action, Start):
                phase = Phase.FORKING if action.fork else Phase.RUNNING
                seen[action.spec.uid] = Seen(action.spec, phase, now_s + 5)
            elif isinstance(action, Forget):
                del seen[action.uid]
            elif isinstance(action, Terminate):
                seen[action.uid] = replace(seen[action.uid], phase=Phase.STOPPING, until_s=now_s + 30)
            elif action.uid in seen:
                seen[action.uid] = replace(seen[action.uid], phase=Phase.IDLE, until_s=now_s)
                for uid, other in list(seen.items()):
                    if other.phase is Phase.FORKING and other.spec.zygote == action.uid:
                        seen[uid] = replace(other, phase=Phase.IDLE, until_s=now_s)
            else:  # the zygote of a FORKING worker is gone already, which the supervisor turns into IDLE
                for uid, other in list(seen.items()):
                    if other.phase is Phase.FORKING and other.spec.zygote == action.uid:
                        seen[uid] = replace(other, phase=Phase.IDLE, until_s=now_s)
        if not actions:
            for uid, other in list(seen.items()):
                if other.phase is Phase.FORKING and "z" in seen and seen["z"].phase is Phase.RUNNING:
                    seen[uid] = replace(other, phase=Phase.RUNNING)
            now_s += 10.0
    assert {uid: s.spec for uid, s in seen.items()} == want
    assert {s.phase for s in seen.values()} <= {Phase.RUNNING}


def test_the_next_look_is_when_something_falls_due() -> None:
    have = {
        "a": Seen(FRESH, Phase.IDLE, 10.25),
        "b": Seen(FRESH, Phase.RUNNING, 0.0),
        "c": Seen(FRESH, Phase.IDLE, 9.0),
    }
    assert wake_s(have, 10.0, 1.0) == pytest.approx(0.25)
    assert wake_s({}, 10.0, 1.0) == 1.0
