"""`clary apply`: what is described runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from clary.cli import alarms, deploy, options, remove, scale, scaling, settle
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.output import note, print_json, upload_progress
from clary.cli.pack import packed
from clary.cli.plan import Prune, changes_of, show, shown
from clary.cli.resources import TAG as DEPLOYED
from clary.cli.rollout import update_guarded, wait_over
from clary.cli.status import seen_of
from clary.cli.undo import Undo, taking_back
from clary.cli.versions import versions_of
from clary.description.difference import Change, Deed, Kind
from clary.kit.instants import stamp_name

if TYPE_CHECKING:
    from clary.cli.described import Description, Model, Running
    from clary.description.wanted import Endpoint, Variant

_CAPACITY = ("weight", "instances")


@dataclass(frozen=True)
class Site:
    """What is applied where."""

    api: Api
    description: Description
    have: Running
    wait: bool
    quiet: bool

    @property
    def tags(self) -> dict[str, str]:
        """What marks things as made by this description."""
        from clary.cli.described import TAG

        return {TAG: self.description.wanted.name} if self.description.wanted.name else {}

    def endpoint(self, name: str) -> Endpoint:
        """The description of an endpoint."""
        return next(one for one in self.description.wanted.endpoints if one.name == name)

    def say(self, text: str) -> None:
        """For people."""
        if not self.quiet:
            note(text)


def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The description: TOML, else YAML.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    prune: Prune = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until endpoints are in service.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make what runs what a description says: clary apply shop.toml. Doing it again changes nothing."""
    from clary.cli.described import description_of

    description = description_of(file)
    api = Api(find(url, home, region, profile))
    started_s = time.monotonic()
    found, have = changes_of(api, description, prune=prune)
    if not as_json:
        show(found)
    if found and not yes:
        losing = ", deletions included" if any(change.deed is Deed.DELETE for change in found) else ""
        remove.confirm(f"Do this{losing}?", "apply", "changed")
    site = Site(api, description, have, wait, as_json)
    for change in found:
        _DEEDS[change.kind](site, change)
    if as_json:
        print_json({"changes": shown(found), "seconds": round(time.monotonic() - started_s, 3)})
    elif found:
        note(f"Done after {time.monotonic() - started_s:.1f} s.")


def _action(site: Site, change: Change) -> None:
    """An action is defined anew as a whole."""
    wish = next(action for action in site.description.wanted.actions if action.name == change.name)
    if change.deed is Deed.UPDATE:
        site.api.admin("DELETE", f"/actions/{quote(wish.name, safe='')}")
    calls: dict[str, Any] = {"command": list(wish.command)} if wish.command else {"url": wish.url}
    more = {"timeout_s": wish.timeout_s, "retries": wish.retries, "role": wish.role}
    site.api.admin("POST", "/actions", {"name": wish.name, **calls, **more})


def _endpoint(site: Site, change: Change) -> None:
    if change.deed is Deed.DELETE:
        remove.remove(site.api, change.name, wait=True)
        return
    wish = site.endpoint(change.name)
    if change.deed is Deed.CREATE:
        deploy.make_room(site.api, wish.name, site.say)
    changed = [field.name for field in change.fields if not field.name.startswith("tags.")]
    if changed and change.deed is Deed.UPDATE and all(name.rpartition(".")[2] in _CAPACITY for name in changed):
        _rescale(site, wish, changed)
    elif changed:
        _bring_in(site, wish, creates=change.deed is Deed.CREATE)
    tags = {**{name: wish.tags[name] for name in wish.tags}, **site.tags}
    if change.deed is Deed.UPDATE and tags:
        arn = site.api.sagemaker("DescribeEndpoint", EndpointName=wish.name)["EndpointArn"]
        site.api.sagemaker("AddTags", ResourceArn=arn, Tags=_pairs(tags))


def _rescale(site: Site, wish: Endpoint, changed: list[str]) -> None:
    """Other weights and counts of the same models: no new version."""
    desired = []
    for variant in wish.variants:
        entry: dict[str, Any] = {"VariantName": variant.name}
        if f"variants.{variant.name}.weight" in changed:
            entry["DesiredWeight"] = variant.weight
        if f"variants.{variant.name}.instances" in changed:
            entry["DesiredInstanceCount"] = variant.instances
        if len(entry) > 1:
            desired.append(entry)
    site.api.sagemaker(
        "UpdateEndpointWeightsAndCapacities", EndpointName=wish.name, DesiredWeightsAndCapacities=desired
    )
    if site.wait:
        settle.wait_in_service(site.api, wish.name, quiet=site.quiet, doing="Changing")


def _bring_in(site: Site, wish: Endpoint, *, creates: bool) -> None:
    """A new configuration of the endpoint, with models for what changed; what was made is taken back on a refusal."""
    api = site.api
    stamp = stamp_name(time.time_ns() // 1000)
    resource = f"{wish.name[:40].rstrip('-')}-{stamp}"
    policy = None if creates else site.description.policies.get(wish.name)
    with taking_back() as undo:
        variants = [
            _variant(site, wish, variant, f"{resource}-{place}", stamp, undo)
            for place, variant in enumerate(wish.variants)
        ]
        config = {"EndpointConfigName": resource}
        api.sagemaker("CreateEndpointConfig", **config, ProductionVariants=variants, Tags=_pairs({DEPLOYED: wish.name}))
        undo.append(lambda: api.sagemaker("DeleteEndpointConfig", **config))
        if creates:
            tags = {**wish.tags, **site.tags, DEPLOYED: wish.name}
            api.sagemaker("CreateEndpoint", EndpointName=wish.name, **config, Tags=_pairs(tags))
        elif policy is None:
            api.sagemaker("UpdateEndpoint", EndpointName=wish.name, **config)
        else:
            update_guarded(api, wish.name, resource, [variant.name for variant in wish.variants], policy, undo)
    if not site.wait:
        return
    if creates:
        settle.wait_in_service(api, wish.name, quiet=site.quiet)
        return
    version = next(int(one["version"]) for one in versions_of(api, wish.name) if one["config"] == resource)
    wait_over(api, wish.name, version, quiet=site.quiet)


def _variant(
    site: Site, wish: Endpoint, variant: Variant, model_name: str, stamp: str, undo: list[Undo]
) -> dict[str, Any]:
    """The model of a variant, made; its part of a configuration."""
    api, model = site.api, site.description.models[wish.name, variant.name]
    artifact = model.artifact
    if model.path is not None:
        artifact = _uploaded(site, wish.name, variant.name, model, stamp, undo)
    api.sagemaker(
        "CreateModel",
        ModelName=model_name,
        ExecutionRoleArn=variant.role or deploy.ROLE.format(account=api.account()),
        PrimaryContainer={
            "Image": model.image,
            "ModelDataUrl": artifact,
            **({"Environment": dict(model.env)} if model.env else {}),
        },
        Tags=_pairs({DEPLOYED: wish.name}),
    )
    undo.append(lambda: api.sagemaker("DeleteModel", ModelName=model_name))
    return {
        "VariantName": variant.name,
        "ModelName": model_name,
        "InitialInstanceCount": _count(site, wish.name, variant),
        "InstanceType": variant.instance_type,
        "InitialVariantWeight": variant.weight,
    }


def _count(site: Site, endpoint: str, variant: Variant) -> int:
    """As described; of a variant that is scaled, and there, as many as its scaling wants now."""
    if variant.scaling is None or endpoint not in site.have.endpoints:
        return variant.instances
    fleets = seen_of(site.api, endpoint)["fleets"]
    wanted = [one["wanted"] for fleet in fleets[:1] for one in fleet["variants"] if one["variant"] == variant.name]
    return max(1, int(wanted[0])) if wanted else variant.instances


def _uploaded(site: Site, endpoint: str, variant: str, model: Model, stamp: str, undo: list[Undo]) -> str:
    """The address of a model's archive: where it lies already, if its version has the same, else of a new object."""
    assert model.path is not None
    assert model.known is not None
    api, there = site.api, site.have.artifacts.get((endpoint, variant), "")
    if f"-{model.artifact.removeprefix('sha256:')}/model.tar.gz" in there:
        return there
    bucket = f"sagemaker-{api.target.region}-{api.account()}"
    with packed(model.path, None, model.known.names) as (archive, size_bytes, digest):
        key = f"clary/{endpoint}/{stamp}-{digest[:12]}/model.tar.gz"
        api.make_bucket(bucket)
        with upload_progress(size_bytes, quiet=site.quiet) as progress:
            api.upload(bucket, key, archive, size_bytes, progress)
    undo.append(lambda: api.delete_object(bucket, key))
    return f"s3://{bucket}/{key}"


def _scaling(site: Site, change: Change) -> None:
    endpoint, _, name = change.name.partition("/")
    variant = next(one for one in site.endpoint(endpoint).variants if one.name == name)
    assert variant.scaling is not None
    wish = variant.scaling
    which = {"ResourceId": f"endpoint/{endpoint}/variant/{name}"}
    dimension = {"ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    had = site.have.things.get((change.kind, change.name), {})
    if wish.concurrency is not None:
        if had.get("concurrency") is None and had:
            scaling.ask(site.api, "DeregisterScalableTarget", **which, **dimension)
        bounds = {"min": wish.least, "max": wish.most}
        scale.put(site.api, endpoint, {"variant": name, "concurrency": wish.concurrency, **bounds})
        return
    if had.get("concurrency") is not None:
        scale.turned_off(site.api, endpoint, name)
    bounds = {"MinCapacity": wish.least, "MaxCapacity": wish.most}
    scaling.ask(site.api, "RegisterScalableTarget", **which, **dimension, **bounds)
    _track(site, which, dimension, float(wish.invocations_per_minute or 0))


def _track(site: Site, which: dict[str, str], dimension: dict[str, str], target: float) -> None:
    """The target-tracking policy; one that there is keeps its name and its other settings."""
    from clary.cli.described import INVOCATIONS, POLICY

    tracking: dict[str, Any] = {"PredefinedMetricSpecification": {"PredefinedMetricType": INVOCATIONS}}
    name = POLICY
    for policy in scaling.ask(site.api, "DescribeScalingPolicies", **which).get("ScalingPolicies", []):
        old = policy.get("TargetTrackingScalingPolicyConfiguration", {})
        if old.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType") == INVOCATIONS:
            name, tracking = policy["PolicyName"], old
            break
    scaling.ask(
        site.api,
        "PutScalingPolicy",
        **which,
        **dimension,
        PolicyName=name,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**tracking, "TargetValue": target},
    )


def _alarm(site: Site, change: Change) -> None:
    from clary.cli.described import alarm_members

    if change.deed is Deed.DELETE:
        alarms.ask(site.api, "DeleteAlarms", AlarmNames=[change.name])
        return
    endpoint, wish = next(
        (one.name, alarm)
        for one in site.description.wanted.endpoints
        for alarm in one.alarms
        if alarm.name == change.name
    )
    members = alarm_members(site.api, endpoint, wish)
    # Tags of PutMetricAlarm are for a new alarm only.
    tags = {"Tags": _pairs(site.tags)} if site.tags and change.deed is Deed.CREATE else {}
    alarms.ask(site.api, "PutMetricAlarm", AlarmName=wish.name, **members, **tags)


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


_DEEDS: dict[Kind, Callable[[Site, Change], None]] = {
    Kind.ACTION: _action,
    Kind.ENDPOINT: _endpoint,
    Kind.SCALING: _scaling,
    Kind.ALARM: _alarm,
}
