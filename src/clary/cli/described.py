"""A description beside what runs: the facts of both, for the difference. Asks the server, changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clary.cli import alarms, scale, scaling
from clary.cli.api import Api, ApiError
from clary.cli.exit_codes import CliError, Exit
from clary.cli.pack import packed
from clary.cli.policy import Policy, Words, policy_of
from clary.cli.recognise import Recognised, recognised
from clary.cli.status import seen_of
from clary.cli.versions import versions_of
from clary.description.difference import Facts, Kind, Things, Value
from clary.description.source import DescriptionError, Source, read
from clary.description.wanted import Action, Alarm, Endpoint, Scaling, Variant, Wanted, wanted
from clary.domain.objectives import Watched, alarm_of

TAG = "clary:apply"
"""Of endpoints and alarms that `clary apply` made; its value is the description's name."""
POLICY = "invocations"
INVOCATIONS = "SageMakerVariantInvocationsPerInstance"
_DIGEST = re.compile(r"/clary/[^/]+/[0-9-]+-([0-9a-f]{12})/model\.tar\.gz$")
"""Where deploy and apply put a model: the last but one part ends with the archive's digest."""


@dataclass(frozen=True)
class Model:
    """A variant's model as its files say."""

    artifact: str
    """`sha256:` and twelve digits of the archive that a path makes; an s3:// address as it is."""
    image: str
    env: Mapping[str, str]
    path: Path | None = None
    known: Recognised | None = None


@dataclass(frozen=True)
class Description:
    """A description, read whole."""

    wanted: Wanted
    models: Mapping[tuple[str, str], Model]
    """By endpoint and variant."""
    policies: Mapping[str, Policy]
    """Of the endpoints that have a rollout policy."""


@dataclass
class Running:
    """What the server has of it."""

    things: dict[tuple[Kind, str], Facts] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of endpoints that are there: the version that serves or starts."""
    artifacts: dict[tuple[str, str], str] = field(default_factory=dict)
    """s3:// address of each variant's model."""
    surplus: list[tuple[Kind, str]] = field(default_factory=list)


def description_of(path: Path) -> Description:
    """The description in a file; its models are looked at, too. CliError with the lines that are wrong."""
    try:
        source = read(path.name, path.read_text())
        meant = wanted(source)
        return Description(
            meant,
            {(one.name, v.name): _model(source, path.parent, v) for one in meant.endpoints for v in one.variants},
            {one.name: _policy(source, one) for one in meant.endpoints if one.rollout is not None},
        )
    except DescriptionError as error:
        raise CliError(Exit.USAGE, str(error), "docs/reference/apply.md, or `clary plan --schema`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(Exit.USAGE, f"{path} cannot be read: {error}.") from None


def _policy(source: Source, endpoint: Endpoint) -> Policy:
    assert endpoint.rollout is not None
    try:
        return policy_of(Words(**endpoint.rollout))
    except CliError as error:
        raise source.fault((*endpoint.at, "rollout"), error.message) from None


def _model(source: Source, folder: Path, variant: Variant) -> Model:
    if variant.remote:
        return Model(variant.model, variant.image or "", dict(variant.env))
    path = folder / variant.model
    if not path.exists():
        raise source.fault((*variant.at, "model"), f"the model {variant.model} does not exist")
    env = [f"{name}={value}" for name, value in variant.env.items()]
    try:
        known = recognised(path, variant.image, variant.entry_point, env)
    except CliError as error:
        raise source.fault((*variant.at, "model"), error.message) from None
    with packed(path, None, known.names) as (_, __, digest):
        artifact = f"sha256:{digest[:12]}"
    return Model(artifact, known.image, known.environment, path, known)


def things_wanted(api: Api, description: Description) -> Things:
    """The facts that should be."""
    found: dict[tuple[Kind, str], Facts] = {}
    for action in description.wanted.actions:
        found[Kind.ACTION, action.name] = action_facts(action)
    for endpoint in description.wanted.endpoints:
        facts: dict[str, Value] = {}
        for variant in endpoint.variants:
            model = description.models[endpoint.name, variant.name]
            shape = (variant.weight, None if variant.scaling else variant.instances, variant.instance_type)
            facts |= _variant_facts(variant.name, (model.artifact, model.image, model.env), shape)
            if variant.scaling is not None:
                found[Kind.SCALING, f"{endpoint.name}/{variant.name}"] = _scaling_facts(api, endpoint, variant.scaling)
        facts |= {f"tags.{name}": value for name, value in endpoint.tags.items()}
        found[Kind.ENDPOINT, endpoint.name] = facts
        for alarm in endpoint.alarms:
            found[Kind.ALARM, alarm.name] = _flat(alarm_members(api, endpoint.name, alarm))
    return found


def _scaling_facts(api: Api, endpoint: Endpoint, wish: Scaling) -> Facts:
    least, most = wish.least, wish.most
    if wish.concurrency is not None:
        # Cores bound it, and that is what the server tells.
        most = min(most, int((_scale(api, endpoint.name) or {}).get("cores", most)))
        least = min(least, most)
    return {
        "min": least,
        "max": most,
        "concurrency": wish.concurrency,
        "invocations_per_minute": wish.invocations_per_minute,
    }


def action_facts(action: Action) -> Facts:
    """Of an action, wanted or there."""
    return {
        "command": json.dumps(list(action.command)) if action.command else None,
        "webhook": action.url or None,
        "timeout_s": action.timeout_s,
        "retries": action.retries,
        "role": action.role or None,
    }


def alarm_members(api: Api, endpoint: str, alarm: Alarm) -> dict[str, Any]:
    """PutMetricAlarm's members."""
    spec = alarm_of(alarm.objective, Watched(endpoint, alarm.variant))
    told = {"AlarmActions": alarm.actions, "OKActions": alarm.ok_actions}
    arns = {name: [alarms.action_arn(api, text) for text in texts] for name, texts in told.items()}
    return {**alarms.members_of(spec), **arns}


def _variant_facts(
    name: str, model: tuple[str, str, Mapping[str, str]], shape: tuple[float, int | None, str]
) -> dict[str, Value]:
    artifact, image, env = model
    weight, instances, instance_type = shape
    facts: dict[str, Value] = {"model": artifact, "image": image, "weight": weight}
    facts |= {"instances": instances, "instance_type": instance_type}
    facts |= {f"env.{key}": value for key, value in env.items()}
    return {f"variants.{name}.{key}": value for key, value in facts.items()}


def running(api: Api, description: Description, *, prune: bool) -> Running:
    """What the server has of what is described; with `prune` also what it has beyond, made by this description."""
    found = Running()
    there = {one["name"]: one for one in _actions(api)} if description.wanted.actions else {}
    for action in description.wanted.actions:
        if action.name in there:
            one = there[action.name]
            same = Action(one["name"], tuple(one["command"]), one["url"], one["timeout_s"], one["retries"], one["role"])
            found.things[Kind.ACTION, action.name] = action_facts(same)
    for endpoint in description.wanted.endpoints:
        _look_at_endpoint(api, description, endpoint, found)
    names = [alarm.name for endpoint in description.wanted.endpoints for alarm in endpoint.alarms]
    for at in range(0, len(names), 100):
        for alarm in alarms.alarms_of(api, AlarmNames=names[at : at + 100]):
            found.things[Kind.ALARM, alarm["AlarmName"]] = _flat(alarm)
    if prune:
        found.surplus = list(_surplus(api, description.wanted, names))
    return found


def _look_at_endpoint(api: Api, description: Description, endpoint: Endpoint, into: Running) -> None:
    try:
        seen = seen_of(api, endpoint.name)
        versions = versions_of(api, endpoint.name)
    except ApiError as error:
        if error.code is Exit.NOT_FOUND:
            return
        raise
    if seen["name"] != endpoint.name:
        raise CliError(
            Exit.REFUSED,
            f"The endpoint {endpoint.name} is {seen['name']} on the server.",
            "Write its name in that case: metrics and alarms go by it.",
        )
    newest = [version for state in ("starting", "live") for version in versions if version["state"] == state]
    if seen["status"] == "Deleting" or not newest:
        return  # gone soon, or it never served: apply replaces what deploy or it made, and refuses the rest
    into.endpoints[endpoint.name] = newest[0]
    facts: dict[str, Value] = {}
    scaled = {variant.name for variant in endpoint.variants if variant.scaling is not None}
    for one in newest[0]["variants"]:
        key = (endpoint.name, one["variant"])
        into.artifacts[key] = one["artifact"]
        digest = _DIGEST.search(one["artifact"])
        model = description.models.get(key)
        by_digest = digest is not None and (model is None or model.path is not None)
        artifact = f"sha256:{digest[1]}" if digest is not None and by_digest else one["artifact"]
        instances = None if one["variant"] in scaled else one["instances"]
        shape = (one["weight"], instances, one["instance_type"])
        facts |= _variant_facts(one["variant"], (artifact, one["image"], one["env"]), shape)
    tags = tags_of(api, _arn(api, "endpoint", endpoint.name)) if endpoint.tags else {}
    facts |= {f"tags.{name}": tags.get(name) for name in endpoint.tags}
    into.things[Kind.ENDPOINT, endpoint.name] = facts
    into.things.update(_scalings(api, endpoint, sorted(scaled)))


def _scalings(api: Api, endpoint: Endpoint, names: list[str]) -> Iterator[tuple[tuple[Kind, str], Facts]]:
    """How the variants are scaled now; nothing of those that are not."""
    if not names:
        return
    ids = [f"endpoint/{endpoint.name}/variant/{name}" for name in names]
    for target in scaling.ask(api, "DescribeScalableTargets", ResourceIds=ids).get("ScalableTargets", []):
        which = {"ResourceId": target["ResourceId"]}
        policies = scaling.ask(api, "DescribeScalingPolicies", **which).get("ScalingPolicies", [])
        tracking = [policy.get("TargetTrackingScalingPolicyConfiguration", {}) for policy in policies]
        targets = [
            one["TargetValue"]
            for one in tracking
            if one.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType") == INVOCATIONS
        ]
        yield (
            (Kind.SCALING, f"{endpoint.name}/{target['ResourceId'].rpartition('/')[2]}"),
            {
                "min": target["MinCapacity"],
                "max": target["MaxCapacity"],
                "concurrency": None,
                "invocations_per_minute": targets[0] if targets else None,
            },
        )
    for one in (_scale(api, endpoint.name) or {}).get("variants", []):
        if one["by"] == "load" and one["variant"] in names:
            facts = {"min": one["min"], "max": one["max"], "concurrency": one["concurrency"]}
            yield (Kind.SCALING, f"{endpoint.name}/{one['variant']}"), {**facts, "invocations_per_minute": None}


def _scale(api: Api, endpoint: str) -> dict[str, Any] | None:
    """How an endpoint is scaled with no configuration; None where there is no endpoint."""
    try:
        return scale.show(api, endpoint)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _surplus(api: Api, wanted: Wanted, alarm_names: list[str]) -> Iterator[tuple[Kind, str]]:
    """Endpoints and alarms that a description of this name made, and that are not in it any more."""
    names = {endpoint.name.lower() for endpoint in wanted.endpoints}
    for one in api.pages("ListEndpoints", "Endpoints"):
        if one["EndpointName"].lower() in names or one["EndpointStatus"] == "Deleting":
            continue
        if tags_of(api, one["EndpointArn"]).get(TAG) == wanted.name:
            yield Kind.ENDPOINT, one["EndpointName"]
    for alarm in alarms.alarms_of(api):
        if alarm["AlarmName"] in alarm_names:
            continue
        tags = alarms.ask(api, "ListTagsForResource", ResourceARN=alarm["AlarmArn"])["Tags"]
        if {"Key": TAG, "Value": wanted.name} in tags:
            yield Kind.ALARM, alarm["AlarmName"]


def tags_of(api: Api, arn: str) -> dict[str, str]:
    """The tags of something of SageMaker's."""
    return {tag["Key"]: tag["Value"] for tag in api.pages("ListTags", "Tags", ResourceArn=arn)}


def _arn(api: Api, kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{api.target.region}:{api.account()}:{kind}/{name.lower()}"


def _actions(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.admin("GET", "/actions")["actions"]
    return found


_ALARM_FIELDS = (
    "Namespace",
    "MetricName",
    "Dimensions",
    "Statistic",
    "ExtendedStatistic",
    "Period",
    "Metrics",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
    "AlarmDescription",
    "AlarmActions",
    "OKActions",
)


def _flat(alarm: Mapping[str, Any]) -> Facts:
    """The fields of an alarm that a description sets; lists as JSON."""
    found: dict[str, Value] = {}
    for name in _ALARM_FIELDS:
        value = alarm.get(name)
        if isinstance(value, list):
            found[name] = json.dumps(_plain(value), sort_keys=True) if value else None
        else:
            found[name] = float(value) if isinstance(value, int | float) else value
    return found


def _plain(value: Any) -> Any:
    """Without what only repeats a default."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item not in (None, "") and item != []}
    return value
