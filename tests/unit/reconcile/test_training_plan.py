"""The plan of a training job, as a table, and its life with everything that can happen in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.domain.training import ENDED, Phase, step
from clary.reconcile.training import Action, Deliver, End, Enter, Have, Launch, Stage, TellStop, plan
from clary.worker import trainer_options as trainer

STARTING, DOWNLOADING, TRAINING, UPLOADING = Phase.STARTING, Phase.DOWNLOADING, Phase.TRAINING, Phase.UPLOADING


@pytest.mark.parametrize(
    ("have", "free", "action"),
    [
        (Have(STARTING), False, None),
        (Have(STARTING), True, Enter(DOWNLOADING)),
        (Have(STARTING, stop_requested=True), True, End(Phase.STOPPED)),
        (Have(DOWNLOADING), False, Stage()),
        (Have(DOWNLOADING, staged=True), False, Launch()),
        (Have(DOWNLOADING, staged=True, launched=True), False, Enter(TRAINING)),
        (Have(DOWNLOADING, stop_requested=True), False, End(Phase.STOPPED)),
        # Launched and not noted: it may run, so that it gets its time to stop.
        (Have(DOWNLOADING, staged=True, launched=True, stop_requested=True), False, Enter(TRAINING)),
        (Have(TRAINING, staged=True), False, Launch()),
        (Have(TRAINING, staged=True, launched=True), False, None),
        (Have(TRAINING, launched=True, stop_requested=True), False, TellStop()),
        (Have(TRAINING, launched=True, stop_requested=True, told_to_stop=True), False, None),
        (Have(TRAINING, launched=True, outcome=trainer.COMPLETED), False, Enter(UPLOADING)),
        (Have(UPLOADING, outcome=trainer.COMPLETED), False, Deliver(Phase.COMPLETED)),
        (Have(UPLOADING, outcome=trainer.FAILED), False, Deliver(Phase.FAILED)),
        (Have(UPLOADING, outcome=trainer.STOPPED), False, Deliver(Phase.STOPPED)),
        (Have(UPLOADING, outcome=trainer.MAX_RUNTIME), False, Deliver(Phase.MAX_RUNTIME_EXCEEDED)),
        *((Have(phase, stop_requested=True, outcome=trainer.COMPLETED), True, None) for phase in ENDED),
    ],
)
def test_the_table(have: Have, free: bool, action: Action | None) -> None:
    assert plan(have, free=free) == action


def applied(have: Have, action: Action) -> Have:
    """The world after an action that worked."""
    match action:
        case Enter(phase=phase):
            return replace(have, phase=step(have.phase, phase))
        case Stage():
            return replace(have, staged=True)
        case Launch():
            return replace(have, launched=True)
        case TellStop():
            return replace(have, told_to_stop=True)
        case Deliver(phase=phase) | End(phase=phase):
            return replace(have, phase=step(have.phase, phase))


@settings(max_examples=200, deadline=None)
@given(
    events=st.lists(st.sampled_from(["stop", "restart", "outcome", "nothing"]), max_size=12),
    outcome=st.sampled_from([trainer.COMPLETED, trainer.FAILED, trainer.STOPPED, trainer.MAX_RUNTIME]),
)
def test_every_job_ends_whatever_happens(events: list[str], outcome: str) -> None:
    have = Have(STARTING)
    for event in [*events, *["outcome", "nothing"] * 4]:
        if event == "stop" and have.phase not in ENDED:
            have = replace(have, stop_requested=True)
        elif event == "restart":  # what control held in memory is gone, what it noted stays
            have = replace(have, told_to_stop=False, launched=have.staged and have.phase not in ENDED)
        elif event == "outcome" and have.launched and have.phase is TRAINING:
            have = replace(have, outcome=outcome)
        action = plan(have, free=True)
        if action is not None:
            have = applied(have, action)
    while (action := plan(have, free=True)) is not None:
        have = applied(have, action)
    assert have.phase in ENDED or (have.launched and not have.outcome)
