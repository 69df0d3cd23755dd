"""The stage of a variant of a fleet that comes or goes, in the service's words (API reference, ProductionVariantStatus;
developer guide, "Events that Amazon SageMaker AI sends to Amazon EventBridge", endpoint deployment state change)."""

from __future__ import annotations

from dataclasses import dataclass

from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.rollout import Deployment, Progress, Step, steps_of


@dataclass(frozen=True)
class Stage:
    """VariantStatus."""

    status: str
    message: str
    since_us: int
    """UTC microseconds."""


@dataclass(frozen=True)
class Way:
    """An update that is under way."""

    revision: Revision
    """What comes."""
    started_us: int
    deployment: Deployment | None = None
    progress: Progress | None = None

    @property
    def step(self) -> Step | None:
        """The step that is taken or bakes; None for an update without steps."""
        if self.deployment is None or self.progress is None:
            return None
        return steps_of(self.deployment, self.revision)[self.progress.step - 1]


def new_stage(way: Way, variant: RevisionVariant, ready: int) -> Stage:
    """Of a variant that comes, with so many replicas that are ready."""
    step, progress = way.step, way.progress
    if step is None or progress is None:
        return _starting(variant.instance_count, ready, way.started_us, full=True)
    if progress.reason:
        return Stage("Deleting", f"Terminating {ready} instance(s). {progress.reason}"[:1024], progress.entered_us)
    count = step.counts[variant.name]
    if progress.reached_us is None:
        return _starting(count, ready, progress.entered_us, full=step.full)
    message = (
        f"Baking for {step.wait_s} seconds ({step.wait_name}) with traffic enabled on {_capacity(step.full)} capacity "
        f"of {count} instance(s): {float(100 * step.share(variant.name)):.4g}% of the traffic."
    )
    return Stage("Baking", message, progress.reached_us)


def old_stage(way: Way, variant: RevisionVariant, ready: int) -> Stage | None:
    """Of a variant that serves, with so many replicas that are ready; None where nothing happens to it."""
    step, progress = way.step, way.progress
    if step is None or progress is None:
        return None
    kept = step.kept_of(variant.name, variant.instance_count)
    if progress.reason and ready < variant.instance_count:
        return Stage("Updating", f"Launching {variant.instance_count - ready} instance(s).", progress.entered_us)
    if not progress.reason and ready > kept:
        return Stage("Deleting", f"Terminating {ready - kept} instance(s).", progress.entered_us)
    return None


def scaling_stage(now: RevisionVariant, wanted: RevisionVariant, since_us: int) -> Stage | None:
    """Of a variant whose count changes; None where it does not."""
    if wanted.instance_count == now.instance_count:
        return None
    way = "out" if wanted.instance_count > now.instance_count else "in"
    return Stage("Updating", f"Scaling {way} desired instance count to {wanted.instance_count}.", since_us)


def _starting(count: int, ready: int, since_us: int, *, full: bool) -> Stage:
    if ready < count:
        return Stage("Creating", f"Launching {count - ready} instance(s).", since_us)
    return Stage(
        "ActivatingTraffic", f"Activating traffic on {_capacity(full)} capacity of {count} instance(s).", since_us
    )


def _capacity(full: bool) -> str:
    return "full" if full else "canary"
