"""How an update moves its traffic, in words, and the alarms that guard it: of `clary rollout` and of descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clary.cli import alarms
from clary.cli.api import Api
from clary.cli.exit_codes import CliError, Exit
from clary.cli.undo import Undo
from clary.domain.errors import Invalid
from clary.domain.objectives import Objective, Watched, alarm_of, parse_objective

CANARY, LINEAR, ROLLING, AT_ONCE = "canary", "linear", "rolling", "all-at-once"
USUAL_SIZE, USUAL_BAKE = "10%", "5m"
ALARMS_MAX = 10
"""Of AutoRollbackConfiguration."""
GUARD_PERIOD_S = 10
"""Of an objective that does not say how long it must be missed: a bake of seconds has points, too."""
STEADY_BAKE_S = 60
"""From this bake on two of three such periods must miss it: one slow request in a quiet moment is not enough."""


@dataclass(frozen=True)
class Words:
    """A policy as it is written; None: not given."""

    canary: str | None = None
    linear: str | None = None
    rolling: str | None = None
    all_at_once: bool = False
    bake: str | None = None
    alarms: Sequence[str] = ()
    termination_wait: str | None = None
    timeout: str | None = None


@dataclass(frozen=True)
class Policy:
    """How an update goes."""

    kind: str
    percent: int
    """Of the traffic for a canary or a linear step, of the replicas for a rolling batch; unused all at once."""
    bake_s: int
    objectives: tuple[Objective, ...]
    termination_wait_s: int | None = None
    timeout_s: int | None = None


def policy_of(words: Words) -> Policy:
    """The policy in words; without any a canary of a tenth. Raises CliError."""
    kinds = {CANARY: words.canary, LINEAR: words.linear, ROLLING: words.rolling, AT_ONCE: words.all_at_once or None}
    given = [kind for kind, size in kinds.items() if size is not None]
    if len(given) > 1:
        raise CliError(Exit.USAGE, f"{' and '.join(given)} are given; an update goes one way.")
    kind = given[0] if given else CANARY
    size = kinds[kind]
    if words.termination_wait is not None and kind == ROLLING:
        raise CliError(Exit.USAGE, "A rolling update has no wait for termination: its old replicas end batch by batch.")
    bake_s = _seconds("bake", words.bake or USUAL_BAKE)
    return Policy(
        kind=kind,
        percent=100 if kind == AT_ONCE else _percent(kind, str(size or USUAL_SIZE)),
        bake_s=bake_s,
        objectives=tuple(_objective(text, bake_s) for text in words.alarms),
        termination_wait_s=None
        if words.termination_wait is None
        else _seconds("termination wait", words.termination_wait),
        timeout_s=None if words.timeout is None else _seconds("timeout", words.timeout),
    )


def deployment_members(policy: Policy, alarm_names: Sequence[str]) -> dict[str, Any]:
    """`DeploymentConfig`."""
    more = {} if policy.timeout_s is None else {"MaximumExecutionTimeoutInSeconds": policy.timeout_s}
    size = {"Type": "CAPACITY_PERCENT", "Value": policy.percent}
    if policy.kind == ROLLING:
        way = {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": policy.bake_s, **more}}
    else:
        routing: dict[str, Any] = {"WaitIntervalInSeconds": policy.bake_s}
        shifts: dict[str, dict[str, Any]] = {
            CANARY: {"Type": "CANARY", "CanarySize": size},
            LINEAR: {"Type": "LINEAR", "LinearStepSize": size},
            AT_ONCE: {"Type": "ALL_AT_ONCE"},
        }
        routing |= shifts[policy.kind]
        if policy.termination_wait_s is not None:
            more["TerminationWaitInSeconds"] = policy.termination_wait_s
        way = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **more}}
    if alarm_names:
        way["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarm_names]}
    return way


def prefix_of(endpoint: str) -> str:
    """How the names of all alarms begin that guard rollouts of an endpoint; its own name holds no slash."""
    return f"rollout/{endpoint}/"


def guard(api: Api, endpoint: str, config: str, variants: Sequence[str], policy: Policy, undo: list[Undo]) -> list[str]:
    """Make an alarm for each variant and objective, which watches only the fleet of `config`; their names."""
    wanted = [(variant, objective) for variant in variants for objective in policy.objectives]
    if len(wanted) > ALARMS_MAX:
        raise CliError(
            Exit.USAGE, f"A rollout goes by {ALARMS_MAX} alarms at most; objectives times variants are {len(wanted)}."
        )
    names: list[str] = []
    undo.append(lambda: names and alarms.ask(api, "DeleteAlarms", AlarmNames=names))
    for number, (variant, objective) in enumerate(wanted, 1):
        name = f"{prefix_of(endpoint)}{config}/{number}"
        alarm = alarm_of(objective, Watched(endpoint, variant, config))
        alarms.ask(api, "PutMetricAlarm", AlarmName=name, **alarms.members_of(alarm))
        names.append(name)
    return names


def drop_guards(api: Api, endpoint: str, *, keep: Sequence[str] = ()) -> None:
    """Delete the alarms that guarded earlier rollouts of an endpoint."""
    found = [alarm["AlarmName"] for alarm in alarms.alarms_of(api, AlarmNamePrefix=prefix_of(endpoint))]
    old = [name for name in found if name not in keep]
    for at in range(0, len(old), 100):
        alarms.ask(api, "DeleteAlarms", AlarmNames=old[at : at + 100])


def _objective(text: str, bake_s: int) -> Objective:
    """Of a fleet that is new: without `for` by periods of ten seconds."""
    try:
        found = parse_objective(text)
    except Invalid as error:
        raise CliError(Exit.USAGE, error.message) from None
    if found.namespace != "AWS/SageMaker":
        message = f"The objective {text!r} is about usage, which is not measured for the new fleet alone."
        raise CliError(Exit.USAGE, message, "An alarm on the whole variant can watch it: `clary alarms add`.")
    if " for " in found.text.lower():
        return found
    periods, least = (3, 2) if bake_s >= STEADY_BAKE_S else (1, 1)
    return replace(found, period_s=GUARD_PERIOD_S, periods=periods, breaching_min=least)


def _seconds(what: str, text: str) -> int:
    from clary.domain.durations import seconds_of

    try:
        return round(seconds_of(text))
    except Invalid as error:
        raise CliError(Exit.USAGE, f"{what}: {error.message}") from None


def _percent(what: str, text: str) -> int:
    digits = text.strip().removesuffix("%").strip()
    if not digits.isdecimal() or not 1 <= int(digits) <= 100:
        raise CliError(Exit.USAGE, f"{what} is {text!r}; give a whole percentage, such as 10%.")
    return int(digits)
