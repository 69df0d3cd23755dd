"""The plan of a training job: pure, from what is wanted and seen to the next step."""

from __future__ import annotations

from dataclasses import dataclass

from clary.domain.training import ENDED, Phase
from clary.worker import trainer_options as trainer

_ENDS = {
    trainer.COMPLETED: Phase.COMPLETED,
    trainer.FAILED: Phase.FAILED,
    trainer.STOPPED: Phase.STOPPED,
    trainer.MAX_RUNTIME: Phase.MAX_RUNTIME_EXCEEDED,
}


@dataclass(frozen=True)
class Have:
    """One job as seen."""

    phase: Phase
    stop_requested: bool = False
    staged: bool = False
    """All input is in its folder."""
    launched: bool = False
    """Its runner stands in the wish."""
    told_to_stop: bool = False
    """The order lies in its folder."""
    outcome: str = ""
    """What its runner said; empty while it runs."""


@dataclass(frozen=True)
class Enter:
    """Note the next phase."""

    phase: Phase


@dataclass(frozen=True)
class Stage:
    """Fetch its input into its folder."""


@dataclass(frozen=True)
class Launch:
    """Wish its runner."""


@dataclass(frozen=True)
class TellStop:
    """Give its runner the order to stop."""


@dataclass(frozen=True)
class Deliver:
    """Upload what it made, and note its end."""

    phase: Phase


@dataclass(frozen=True)
class End:
    """Note its end: there is nothing to upload."""

    phase: Phase


Action = Enter | Stage | Launch | TellStop | Deliver | End


def plan(have: Have, *, free: bool) -> Action | None:
    """The next step; None while there is nothing to do. `free`: one more job may use this machine."""
    if have.phase in ENDED:
        return None
    if have.phase in (Phase.STARTING, Phase.DOWNLOADING) and have.stop_requested and not have.launched:
        return End(Phase.STOPPED)
    if have.phase is Phase.STARTING:
        return Enter(Phase.DOWNLOADING) if free else None
    if have.phase is Phase.DOWNLOADING:
        if not have.staged:
            return Stage()
        return Enter(Phase.TRAINING) if have.launched else Launch()
    if have.outcome:
        end = _ENDS[have.outcome]
        return Deliver(end) if have.phase is Phase.UPLOADING else Enter(Phase.UPLOADING)
    if have.stop_requested and not have.told_to_stop:
        return TellStop()
    return None if have.launched else Launch()
