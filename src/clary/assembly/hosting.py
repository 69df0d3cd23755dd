"""What runs models and jobs: placement, and the loops that bring what is wanted about."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass

from clary.artifacts.fetch import Artifacts
from clary.artifacts.shared import FileRoots
from clary.assembly.base import Base
from clary.assembly.telemetry import Telemetry, make_telemetry, spans_wanted
from clary.control.actions import environment
from clary.control.audit import Auditor
from clary.control.log_groups import LogKeeper
from clary.control.log_metrics import LogMetrics
from clary.control.trail_delivery import Delivery, DeliveryWorld
from clary.control.worker_roles import Lender
from clary.environments.store import EnvironmentOptions, Environments
from clary.kit.threads import Threads
from clary.placement.local import LocalOptions, LocalPlacement
from clary.reconcile.act import World
from clary.reconcile.action_calls import RealCalls
from clary.reconcile.action_loop import ActionLoop, ActionWorld
from clary.reconcile.alarm_loop import AlarmLoop, AlarmWorld
from clary.reconcile.auto_scaling_loop import AutoScalingLoop, AutoScalingWorld
from clary.reconcile.event_routes import Router
from clary.reconcile.grounds import Grounds
from clary.reconcile.loop import Loop
from clary.reconcile.routing import Routing, SnapshotOptions
from clary.reconcile.scaling_loop import ScalingLoop, ScalingWorld
from clary.reconcile.training_files import Ground as TrainingGround
from clary.reconcile.training_loop import TrainingLoop, TrainingOptions, TrainingWorld
from clary.reconcile.tuning_loop import TuningLoop, TuningWorld
from clary.store.sns_key import Signer

ENVIRONMENTS_AT_ONCE = 4
"""Builds, and endpoints waiting for one, that hold a thread."""


@dataclass(frozen=True)
class Hosting:
    """Made once; `loops` run until control ends."""

    world: World
    placement: LocalPlacement
    lender: Lender
    keeper: LogKeeper
    auditor: Auditor
    loop: Loop
    training: TrainingLoop
    tuning: TuningLoop
    alarms: AlarmLoop
    scaling: ScalingLoop
    auto_scaling: AutoScalingLoop
    signer: Signer
    actions: ActionLoop
    telemetry: Telemetry

    def loops(self, base: Base) -> dict[str, Coroutine[object, object, None]]:
        """Every loop by its name; one that ends ends control."""
        return {
            "store": base.store.run(),
            "placement": self.placement.run(),
            "reconcile": self.loop.run(),
            "training": self.training.run(),
            "tuning": self.tuning.run(),
            "alarms": self.alarms.run(),
            "scaling": self.scaling.run(),
            "auto scaling": self.auto_scaling.run(),
            "actions": self.actions.run(),
            "keys": base.ring.follow(base.desk, base.seal),
            "log times": self.keeper.run(),
            "audit": self.auditor.run(),
            "trails": Delivery(self._delivery(base)).run(),
            "log metrics": LogMetrics(self.keeper, base.metrics, base.clock, base.slow).run(),
            **self.telemetry.loops(),
        }

    def _delivery(self, base: Base) -> DeliveryWorld:
        spool, routing = base.home / "spool", self.world.routing
        return DeliveryWorld(base.store, base.clock, base.stores, base.slow, spool, self.loop.loaded, routing.record)


def make_hosting(base: Base) -> Hosting:
    """All of it, at rest."""
    settings, home, clock = base.settings, base.home, base.clock
    environments = Environments(EnvironmentOptions(home / "environments", dict(os.environ), refused=settings.untrusted))
    placement = LocalPlacement(LocalOptions(home, base.sockets, untrusted=settings.untrusted), clock, base.quick)
    lender = Lender(settings.url, base.seal.derive("workers"))
    world = _world(base, placement, environments, lender)
    training = TrainingLoop(
        TrainingWorld(
            store=base.store,
            clock=clock,
            objects=base.stores,
            runners=placement,
            threads=Threads("training", 4),
            ground=TrainingGround(
                home / "jobs",
                home / "logs" / "training",
                sys.executable,
                world.cores,
                environments,
                lender.environment,
            ),
        ),
        TrainingOptions(jobs_max=world.cores),
    )
    signer = Signer(home / "secrets" / "sns.pem", settings.url, clock)
    telemetry = make_telemetry(base, placement)
    return Hosting(
        world=world,
        placement=placement,
        lender=lender,
        keeper=LogKeeper(base.desk, home / "logs", base.quick, clock),
        auditor=Auditor(base.desk),
        loop=Loop(world),
        training=training,
        tuning=TuningLoop(TuningWorld(base.store, clock, base.ids, slots=world.cores)),
        alarms=AlarmLoop(AlarmWorld(base.store, base.metrics, Threads("alarms", 1), clock, base.ids)),
        scaling=ScalingLoop(ScalingWorld(base.store, base.metrics, Threads("scaling", 1), clock, base.ids)),
        signer=signer,
        actions=ActionLoop(_deliveries(base, signer)),
        auto_scaling=AutoScalingLoop(
            AutoScalingWorld(base.store, telemetry.pressure, clock, base.ids, cores=world.cores)
        ),
        telemetry=telemetry,
    )


def _deliveries(base: Base, signer: Signer) -> ActionWorld:
    lend = functools.partial(environment, base.desk, base.sessions, base.settings.url)
    calls = RealCalls(base.clock, lend, base.home / "run" / "actions")
    return ActionWorld(base.store, base.clock, base.ids, Router(base.ids, signer), calls)


def _world(base: Base, placement: LocalPlacement, environments: Environments, lender: Lender) -> World:
    settings, home = base.settings, base.home
    snapshot = SnapshotOptions(
        home / "run" / "routes.json",
        settings.account,
        settings.region,
        base.auth,
        settings.hosts,
        base.session_key.hex(),
        tracing=spans_wanted(settings),
    )
    return World(
        store=base.store,
        clock=base.clock,
        ids=base.ids,
        placement=placement,
        artifacts=Artifacts(home / "artifacts", base.stores, files=FileRoots(settings.model_roots)),
        routing=Routing(snapshot, base.quick, base.routers.reload),
        seal=base.seal,
        threads=base.slow,
        cores=len(os.sched_getaffinity(0)),
        worker_env=lender.environment,
        grounds=Grounds(environments, Threads("environments", ENVIRONMENTS_AT_ONCE), home / "logs", base.clock),
    )
