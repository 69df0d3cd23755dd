"""Rules of the default event bus: what they want, when they come, whom they tell. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clary.domain.actions import FUNCTION_ARN, TOPIC_ARN
from clary.domain.errors import Invalid, NotServed
from clary.domain.event_inputs import TargetSpec, check_target
from clary.domain.event_patterns import parse
from clary.domain.principal import Scope
from clary.domain.schedules import At
from clary.domain.schedules import parse as parse_schedule

RULES_MAX = 300
"""Of an account and region (quotas of EventBridge)."""
TARGETS_MAX = 5
"""Of a rule (the same)."""
BUS = "default"


@dataclass(frozen=True)
class RuleSpec:
    """What a rule is, without its name."""

    pattern: str = ""
    schedule: str = ""
    enabled: bool = True
    description: str = ""
    role: str = ""
    targets: tuple[TargetSpec, ...] = ()


def rule_arn(scope: Scope, name: str) -> str:
    """Of a rule of the default bus."""
    return f"arn:aws:events:{scope.region}:{scope.account}:rule/{name}"


def check_rule(spec: RuleSpec) -> None:
    """Raise Invalid for a rule that cannot be."""
    if not spec.pattern and not spec.schedule:
        raise Invalid("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    if spec.pattern:
        parse(spec.pattern)
    if spec.schedule and isinstance(parse_schedule(spec.schedule), At):
        raise Invalid("Parameter ScheduleExpression is not valid: a rule takes rate(...) and cron(...).")


def check_targets(targets: Sequence[TargetSpec], account: str) -> None:
    """Raise Invalid or NotServed for targets that cannot be."""
    if len(targets) > TARGETS_MAX:
        raise Invalid(f"The requested resource exceeds the maximum number allowed: {TARGETS_MAX} targets of a rule.")
    for target in targets:
        found = FUNCTION_ARN.fullmatch(target.arn) or TOPIC_ARN.fullmatch(target.arn)
        if found is None or found.groupdict().get("subscription"):
            raise NotServed(
                f"The target {target.arn}",
                "Targets are actions, arn:aws:lambda:REGION:ACCOUNT:function:NAME, and topics, "
                "arn:aws:sns:REGION:ACCOUNT:NAME.",
            )
        if found["account"] != account:
            raise Invalid(f"The target {target.arn} is not of account {account}.")
        check_target(target)
