"""Situations for plans of endpoints, and a world that we make up: it applies actions as act.py does, and objects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from clary.dataplane.routes import EndpointRoute, ReplicaRoute, VariantRoute
from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.model import Container
from clary.domain.principal import Scope
from clary.domain.rollout import Progress, Step, steps_of
from clary.domain.states import EndpointStatus, step
from clary.domain.versions import Fleet
from clary.kit.clock import MICROS
from clary.placement.base import ReplicaPhase
from clary.reconcile.actions import (
    Action,
    DrainReplica,
    FallBack,
    Fetch,
    ForgetEndpoint,
    ForgetReplica,
    MarkReady,
    NoteMix,
    NoteRollout,
    Publish,
    Rules,
    SetStatus,
    StartReplica,
    StopReplica,
    Unpublish,
    WakeAt,
)
from clary.reconcile.endpoint import plan
from clary.reconcile.facts import Have, PinHave, ReplicaHave, Want, Watched

NOW = 1_000 * MICROS
OLD = NOW - 100 * MICROS
RULES = Rules()
CREATING, IN_SERVICE, FAILED = EndpointStatus.CREATING, EndpointStatus.IN_SERVICE, EndpointStatus.FAILED
UPDATING, ROLLBACK_FAILED = EndpointStatus.UPDATING, EndpointStatus.ROLLBACK_FAILED
STARTING, READY, DEAD, GONE = ReplicaPhase.STARTING, ReplicaPhase.READY, ReplicaPhase.FAILED, ReplicaPhase.GONE
PINNED = {(1, "s3://b/m"): PinHave("d1")}
BOTH = {**PINNED, (2, "s3://b/m"): PinHave("d2")}


def fleet(*counts: int, version: int = 1, generation: int = 0) -> Fleet:
    """Variants A, B, ... with these instance counts, all on the artifact s3://b/m; of generation `version`."""
    variants = tuple(
        RevisionVariant(
            f"v{name}{version}", name, "m", count, "ml.m5.large", 1.0, 480, Container("i", "x", "1", "s3://b/m")
        )
        for name, count in zip("ABCD", counts, strict=False)
    )
    return Fleet(generation or version, version, Revision("c", variants))


def want(
    *counts: int, deleting: bool = False, base: Fleet | None = None, version: int = 1, generation: int = 0
) -> Want:
    """A fleet of `version` and generation, wanted while `base` serves."""
    target = fleet(*counts, version=version, generation=generation)
    return Want("e1", Scope("123456789012", "us-east-1"), "e", deleting, target, base)


def replica(uid: str, phase: ReplicaPhase = READY, variant: str = "A", **more: object) -> ReplicaHave:
    """An old replica of generation and version 1; `routed=True`: it was ready and noted so; `of=2`: of version 2."""
    routed = f"unix:{uid}" if more.pop("routed", phase is READY) else ""
    version = more.pop("of", 1)
    base = ReplicaHave(uid, int(str(version)), variant, f"v{variant}{version}", phase, OLD, f"unix:{uid}", routed)
    return replace(base, **more)  # type: ignore[arg-type]


def route(of: Want, *uids: str) -> EndpointRoute:
    """The route of an endpoint of one variant with these replicas."""
    (variant,) = of.target.revision.variants
    replicas = tuple(ReplicaRoute(uid, f"unix:{uid}") for uid in uids)
    found = VariantRoute(variant.name, variant.uid, 1.0, replicas, variant.instance_count, config="c")
    target = of.target
    return EndpointRoute("123456789012", "us-east-1", "e", "e1", target.generation, (found,), target.version)


@dataclass
class World:
    """Applies actions as act.py does, with processes that obey, crash and recover as hypothesis draws."""

    wanted: Want
    now_us: int = NOW
    observed: tuple[int | None, EndpointStatus | None] = (None, None)
    pins: dict[tuple[int, str], PinHave] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)
    """Versions whose replicas never load."""
    replicas: dict[str, ReplicaHave] = field(default_factory=dict)
    route: EndpointRoute | None = None
    forgotten: bool = False
    count: int = 0
    rollouts: dict[int, Progress] = field(default_factory=dict)
    """By generation."""
    alarms: dict[str, Watched] = field(default_factory=dict)
    elapsed_us: int = 0
    """Time as it really passed, whatever the clock says."""
    reached_us: int = 0
    """When the bake under way began, of that."""

    @property
    def status(self) -> EndpointStatus:
        generation, status = self.observed
        if self.wanted.deleting:
            return EndpointStatus.DELETING
        if status is None:
            return EndpointStatus.CREATING
        return status if generation == self.wanted.target.generation else UPDATING

    def have(self) -> Have:
        mixed = self.wanted.mixed
        return Have(
            self.status,
            dict(self.pins),
            tuple(self.replicas.values()),
            self.route,
            rollout=self.rollouts.get(self.wanted.target.generation),
            mix=self.rollouts[mixed.generation] if mixed else None,
            alarms=dict(self.alarms),
        )

    def pass_us(self, time_us: int, *, evaluated: bool = True) -> None:
        """Let time pass; `evaluated`: every alarm meanwhile was."""
        self.now_us += time_us
        self.elapsed_us += time_us
        if evaluated:
            self.alarms = {name: replace(seen, evaluated_us=self.now_us) for name, seen in self.alarms.items()}

    def change(self, uid: str, **columns: object) -> None:
        self.replicas[uid] = replace(self.replicas[uid], **columns)  # type: ignore[arg-type]

    def apply(self, action: Action) -> None:
        match action:
            case Fetch(version, url):
                self.pins[version, url] = PinHave("d")
            case StartReplica(generation, variant):
                self.start(generation, variant)
            case MarkReady(uid, address):
                self.change(uid, routed_address=address)
            case Publish(route):
                self.check_route(route)
                self.route = route
            case Unpublish():
                self.route = None
            case DrainReplica(uid):
                self.check_unrouted(uid)
                self.check_base(uid)
                self.change(uid, draining_us=self.now_us)
            case StopReplica(uid):
                self.check_unrouted(uid)
                self.check_base(uid)
                self.check_last(uid)
                self.change(uid, stopping_us=self.now_us)
            case ForgetReplica(uid):
                assert self.replicas.pop(uid).phase is GONE, "a process that may still run was forgotten"
            case SetStatus(status):
                step(self.status, status)
                self.observed = (self.wanted.target.generation, status)
                if status is IN_SERVICE:
                    self.check_bake(None)
                    self.wanted = replace(self.wanted, base=self.wanted.target, mixed=None)
                    self.check_in_service()
            case NoteRollout(progress):
                self.check_bake(progress)
                self.rollouts[self.wanted.target.generation] = progress
            case NoteMix():
                step(self.status, ROLLBACK_FAILED)
                self.observed = (self.wanted.target.generation, ROLLBACK_FAILED)
                self.wanted = replace(self.wanted, mixed=self.wanted.target)
            case FallBack():
                before = ROLLBACK_FAILED if self.wanted.mixed else IN_SERVICE
                step(self.status, before)
                assert self.wanted.base is not None
                self.observed = (self.wanted.target.generation, before)
            case ForgetEndpoint():
                assert not self.replicas
                assert self.route is None
                self.forgotten = True
            case WakeAt(at_us):
                assert at_us > self.now_us

    def start(self, generation: int, variant: str) -> None:
        self.count += 1
        uid = f"r{self.count:03}"
        of = self.wanted.fleet_of(generation)
        found = next(v for v in of.revision.variants if v.name == variant)
        self.replicas[uid] = ReplicaHave(uid, generation, variant, found.uid, STARTING, self.now_us, f"unix:{uid}")

    def check_unrouted(self, uid: str) -> None:
        routed = {r.uid for variant in (self.route.variants if self.route else ()) for r in variant.replicas}
        assert uid not in routed, "a replica was ended while routers send to it"

    def check_base(self, uid: str) -> None:
        """Never ends a live replica of what serves before something else does, but for one too many and for those of a
        rolling update's batches that were proven."""
        ended, base = self.replicas[uid], self.wanted.base
        if self.status not in (UPDATING, IN_SERVICE) or base is None or not ended.live or self.wanted.mixed:
            return
        kept = self.step if self.status is UPDATING else None
        for variant in base.revision.variants:
            if variant.uid == ended.variant_uid:
                others = [r for r in self.replicas.values() if r.variant_uid == variant.uid and r.live and r.uid != uid]
                wanted = kept.kept_of(variant.name, variant.instance_count) if kept else variant.instance_count
                assert len(others) >= wanted, "the last good fleet lost a replica"

    @property
    def step(self) -> Step | None:
        """The step that the rollout under way takes or bakes."""
        target = self.wanted.target
        progress = self.rollouts.get(target.generation)
        if progress is None or target.deployment is None or self.wanted.base is None:
            return None
        return steps_of(target.deployment, target.revision)[progress.step - 1]

    def check_bake(self, after: Progress | None) -> None:
        """A step ends when its bake has really lasted as long as it must; None: the last one ends."""
        before = self.rollouts.get(self.wanted.target.generation)
        if self.step is None or before is None:
            return
        if after is not None and before.reached_us is None and after.reached_us is not None:
            self.reached_us = self.elapsed_us
        if (after is None or after.step > before.step) and self.wanted.promoted_step < before.step:
            assert before.reached_us is not None
            assert self.elapsed_us - self.reached_us >= self.step.wait_s * MICROS, "a bake was cut short"

    def check_route(self, new: EndpointRoute) -> None:
        """A share moves to a fleet only when every replica that takes it is ready; the shares of a name are one."""
        had = {v.uid: v.share for v in (self.route.variants if self.route else ())}
        base = self.wanted.base
        for variant in new.variants:
            if base is not None and variant.share > had.get(variant.uid, 0.0):
                old = variant.uid in {v.uid for v in base.revision.variants}
                assert old or (
                    variant.replicas and all(self.replicas[r.uid].phase is READY for r in variant.replicas)
                ), "traffic to a fleet that is not ready"
        old, trial = ([v for v in new.variants if v.trial is trial] for trial in (False, True))
        for variant in old:
            beside = [v.share for v in trial if v.name == variant.name]
            if beside or not trial:
                assert abs(variant.share + sum(beside) - 1.0) < 1e-9 or not beside, "shares are not one"

    def check_last(self, uid: str) -> None:
        """Never stops the last ready replica of a variant that serves."""
        stopped = self.replicas[uid]
        serves = self.wanted.base or self.wanted.target
        names = {variant.name for variant in serves.revision.variants if variant.instance_count}
        if self.wanted.deleting or self.status is FAILED or stopped.variant not in names:
            return
        if stopped.phase is READY:
            others = [r for r in self.replicas.values() if r.variant == stopped.variant and r.live and r.uid != uid]
            assert any(other.phase is READY for other in others), "the last ready replica was stopped"

    def check_in_service(self) -> None:
        assert self.route is not None
        serves = self.wanted.base
        assert serves is not None
        assert self.route.generation == serves.generation
        takes = [routed for routed in self.route.variants if routed.share]
        for variant, routed in zip(serves.revision.variants, takes, strict=True):
            assert (routed.uid, len(routed.replicas), routed.share) == (variant.uid, variant.instance_count, 1.0)

    def settle(self, *, obey: bool = True, passes_max: int = 4000) -> None:
        """Plan and act until nothing is left but what time and processes bring; with `obey` those come, too."""
        for _ in range(passes_max):
            if self.forgotten:
                return
            actions = plan(self.wanted, self.have(), self.now_us, RULES)
            assert actions == plan(self.wanted, self.have(), self.now_us, RULES)
            for action in actions:
                self.apply(action)
            if any(not isinstance(action, WakeAt) for action in actions):
                continue
            if not obey or not (self.processes() or actions):
                return
            wakes = [a.at_us for a in actions if isinstance(a, WakeAt)]
            if wakes:
                self.pass_us(max(0, min(wakes) - self.now_us))
        raise AssertionError("the plan does not converge")

    def processes(self) -> bool:
        """Processes do as they were told; whether any had to."""
        moved = False
        for uid, found in list(self.replicas.items()):
            loads = DEAD if found.generation in self.bad else READY
            obeyed = GONE if found.stopping_us is not None else loads if found.phase is STARTING else found.phase
            if obeyed is not found.phase:
                self.change(uid, phase=obeyed)
                moved = True
        return moved
