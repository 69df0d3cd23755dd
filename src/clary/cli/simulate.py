"""`clary simulate`: what a policy would do, before it does it. Needs no server."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clary.cli import options
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_facts, print_json, print_table

if TYPE_CHECKING:
    from clary.domain.rollout import Deployment
    from clary.domain.scaling import StepScaling, TargetTracking
    from clary.simulation.timeline import Timeline
    from clary.simulation.traffic import Traffic

app = typer.Typer(help="What a scaling or rollout policy would do under some traffic.", no_args_is_help=True)


class Metric(enum.StrEnum):
    """What a target is of."""

    INVOCATIONS = "invocations"
    CONCURRENCY = "concurrency"


_PREDEFINED = {
    Metric.INVOCATIONS: "SageMakerVariantInvocationsPerInstance",
    Metric.CONCURRENCY: "SageMakerVariantConcurrentRequestsPerModelHighResolution",
}

TrafficOption = Annotated[
    str,
    typer.Option("--traffic", metavar="SHAPE|FILE", help="Words ('step 100 500 at 10m'), or a CSV: time,requests/s."),
]
Service = Annotated[str, typer.Option("--service", metavar="TIME", help="What one request takes at a replica.")]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, help="Requests that a replica serves at once.")]
Start = Annotated[str, typer.Option("--start", metavar="TIME", help="From a replica wanted to a replica ready.")]
Span = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="How long. Default: to the traffic's end; 1h at least.")
]
Every = Annotated[
    str | None, typer.Option("--every", metavar="TIME", help="Between rows. Default: a thirtieth of all.")
]
Png = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the timeline, too.")]


@app.command()
def scaling(
    traffic: TrafficOption,
    target: Annotated[
        float | None, typer.Option("--target", metavar="N", help="TargetValue: of the metric, for one instance.")
    ] = None,
    metric: Annotated[
        Metric, typer.Option("--metric", help="Invocations a minute, or requests at once.")
    ] = Metric.INVOCATIONS,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="TargetTrackingScalingPolicyConfiguration as JSON, instead."),
    ] = None,
    least: Annotated[int, typer.Option("--min", min=1, help="MinCapacity.")] = 1,
    most: Annotated[int, typer.Option("--max", min=1, help="MaxCapacity.")] = 4,
    instances: Annotated[
        int | None, typer.Option("--instances", min=1, help="At the start. Default: the minimum.")
    ] = None,
    cooldown_out: Annotated[str, typer.Option("--cooldown-out", metavar="TIME", help="ScaleOutCooldown.")] = "300s",
    cooldown_in: Annotated[str, typer.Option("--cooldown-in", metavar="TIME", help="ScaleInCooldown.")] = "300s",
    service: Service = "20ms",
    concurrency: Concurrency = 1,
    start: Start = "2s",
    span: Span = None,
    every: Every = None,
    png: Png = None,
    as_json: options.AsJson = False,
) -> None:
    """Scale a variant: clary simulate scaling --traffic 'day 20..600' --target 1500 --max 20."""
    from clary.domain.durations import seconds_of
    from clary.domain.errors import Invalid
    from clary.domain.scaling import TargetSpec, TargetTracking, check_bounds, check_tracking
    from clary.simulation.scaling import ScalingQuestion, simulate_scaling
    from clary.simulation.service import Behaviour

    try:
        shape = _traffic(traffic)
        if (target is None) == (policy is None):
            raise CliError(Exit.USAGE, "Give --target or --policy.")
        if policy is not None:
            rule: TargetTracking | StepScaling = _policy(policy)
        else:
            out_s, in_s = round(seconds_of(cooldown_out)), round(seconds_of(cooldown_in))
            rule = TargetTracking(
                target or 0.0, _PREDEFINED[metric], scale_out_cooldown_s=out_s, scale_in_cooldown_s=in_s
            )
        if not isinstance(rule, TargetTracking):
            raise CliError(Exit.USAGE, "Step scaling is not simulated; a target-tracking policy is.")
        check_bounds(least, most)
        check_tracking(rule, "sagemaker:variant:DesiredInstanceCount")
        span_s = _span(span, shape)
        behaviour = Behaviour(_positive("--service", service), concurrency, seconds_of(start))
        spec = TargetSpec(least, most, "")
        timeline = simulate_scaling(
            ScalingQuestion(shape, behaviour, spec, (rule,), span_s, _every(every, span_s), instances)
        )
    except Invalid as error:
        raise CliError(Exit.USAGE, error.message) from None
    _show(timeline, f"Scaling: {traffic}", png, as_json=as_json)


@app.command()
def rollout(
    traffic: TrafficOption,
    canary: Annotated[str | None, typer.Option("--canary", metavar="PERCENT", help="First this, then all.")] = None,
    linear: Annotated[str | None, typer.Option("--linear", metavar="PERCENT", help="So much more each time.")] = None,
    rolling: Annotated[
        str | None, typer.Option("--rolling", metavar="PERCENT", help="Replace so many replicas at a time.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A DeploymentConfig as JSON, instead.")
    ] = None,
    bake: Annotated[str, typer.Option("--bake", metavar="TIME", help="After each shift of traffic.")] = "5m",
    alarm: Annotated[
        list[str] | None,
        typer.Option("--alarm", metavar="TEXT", help="Objective of the new fleet, as 'p99 < 50ms'; may be repeated."),
    ] = None,
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Of each fleet.")] = 1,
    service: Service = "20ms",
    concurrency: Concurrency = 1,
    start: Start = "2s",
    new_service: Annotated[
        str | None, typer.Option("--new-service", metavar="TIME", help="What one request takes with the new model.")
    ] = None,
    new_errors: Annotated[
        str, typer.Option("--new-errors", metavar="PERCENT", help="Of the new model's answers that are errors.")
    ] = "0%",
    new_crash: Annotated[
        str | None,
        typer.Option("--new-crash", metavar="TIME", help="The new model's process dies after that, each time."),
    ] = None,
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="When the update begins.")] = "5m",
    span: Span = None,
    every: Every = None,
    png: Png = None,
    as_json: options.AsJson = False,
) -> None:
    """Roll a model out: clary simulate rollout --traffic 50 --canary 10% --alarm 'p99 < 50ms' --new-service 40ms."""
    from clary.domain.durations import seconds_of
    from clary.domain.errors import Invalid
    from clary.simulation.rollout import RolloutQuestion, simulate_rollout
    from clary.simulation.service import Behaviour

    try:
        shape = _traffic(traffic)
        span_s = _span(span, shape)
        service_s, start_s = _positive("--service", service), seconds_of(start)
        new_s = _positive("--new-service", new_service or service)
        question = RolloutQuestion(
            traffic=shape,
            old=Behaviour(service_s, concurrency, start_s),
            new=Behaviour(new_s, concurrency, start_s, _percent("--new-errors", new_errors) / 100),
            replicas=replicas,
            deployment=_deployment(canary, linear, rolling, config, round(seconds_of(bake)), alarm or []),
            at_s=round(seconds_of(at)),
            span_s=span_s,
            every_s=_every(every, span_s),
            crash_s=None if new_crash is None else seconds_of(new_crash),
        )
        timeline = simulate_rollout(question)
    except Invalid as error:
        raise CliError(Exit.USAGE, error.message) from None
    _show(timeline, f"Rollout: {traffic}", png, as_json=as_json)


def _traffic(text: str) -> Traffic:
    from clary.simulation.traffic import described, recorded

    path = Path(text)
    return recorded(path) if path.suffix == ".csv" or path.is_file() else described(text)


def _span(text: str | None, shape: Traffic) -> int:
    from clary.domain.durations import seconds_of
    from clary.simulation.traffic import SPAN_S_MAX

    span_s = max(3600, shape.span_s) if text is None else round(seconds_of(text))
    if not 1 <= span_s <= SPAN_S_MAX:
        raise CliError(Exit.USAGE, f"--for is {text}; 1s to {SPAN_S_MAX // 86400}d are simulated.")
    return span_s


def _every(text: str | None, span_s: int) -> int:
    from clary.domain.durations import seconds_of

    return max(1, span_s // 30 if text is None else round(seconds_of(text)))


def _positive(flag: str, text: str) -> float:
    from clary.domain.durations import seconds_of

    found = seconds_of(text)
    if found <= 0:
        raise CliError(Exit.USAGE, f"{flag} is {text}; it must be above 0.")
    return found


def _percent(flag: str, text: str) -> float:
    try:
        found = float(text.removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise CliError(Exit.USAGE, f"{flag} is {text!r}; give a percentage, such as 10%.")
    return found


def _policy(path: Path) -> TargetTracking | StepScaling:
    from clary.edge.aws.resources.autoscaling_shapes import policy_spec

    document = _document(path)
    document = next((document[name] for name in document if name.endswith("PolicyConfiguration")), document)
    kind = "StepScaling" if "StepAdjustments" in document else "TargetTrackingScaling"
    try:
        return policy_spec({"PolicyType": kind, f"{kind}PolicyConfiguration": document})
    except (KeyError, TypeError, ValueError) as error:
        raise CliError(Exit.USAGE, f"{path} is no scaling policy configuration: {error!r}.") from None


def _deployment(
    canary: str | None, linear: str | None, rolling: str | None, config: Path | None, bake_s: int, alarms: list[str]
) -> Deployment:
    from dataclasses import replace

    from clary.cli.policy import AT_ONCE, CANARY, LINEAR, ROLLING, Policy, deployment_members
    from clary.domain.rollout import Deployment
    from clary.edge.aws.resources.deployments import deployment_of
    from clary.simulation.rollout import objectives

    sizes = {kind: size for kind, size in ((CANARY, canary), (LINEAR, linear), (ROLLING, rolling)) if size is not None}
    if len(sizes) + (config is not None) > 1:
        raise CliError(Exit.USAGE, "Give one of --canary, --linear, --rolling and --config.")
    watched = objectives(alarms)
    if config is not None:
        document = _document(config)
        given = document.get("DeploymentConfig", document)
    else:
        kind, percent = next(((kind, _whole(f"--{kind}", size)) for kind, size in sizes.items()), (AT_ONCE, 100))
        given = deployment_members(Policy(kind, percent, bake_s, ()), ())
    try:
        found = deployment_of({"DeploymentConfig": given})
    except (KeyError, TypeError, ValueError) as error:
        raise CliError(Exit.USAGE, f"{config} is no DeploymentConfig: {error!r}.") from None
    # The alarms that a file names are not known here: the objectives stand for them.
    return replace(found or Deployment(), alarms=watched)


def _whole(flag: str, text: str) -> int:
    found = _percent(flag, text)
    if found != round(found) or found < 1:
        raise CliError(Exit.USAGE, f"{flag} is {text!r}; give a whole percentage, such as 10%.")
    return round(found)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CliError(Exit.USAGE, f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(document, dict):
        raise CliError(Exit.USAGE, f"{path} holds no JSON object.")
    return document


def _show(timeline: Timeline, title: str, png: Path | None, *, as_json: bool) -> None:
    from clary.simulation.timeline import table

    if png is not None:
        from clary.simulation.picture import draw

        try:
            draw(timeline, png, title)
        except ImportError:
            raise CliError(
                Exit.REFUSED, "--png needs matplotlib, which is not installed.", "pip install 'clary[plots]'"
            ) from None
        except OSError as error:
            raise CliError(Exit.USAGE, f"--png {png}: {error.strerror}.") from None
        note(f"Drawn: {png}")
    if as_json:
        print_json(timeline.document())
        return
    columns, rows = table(timeline)
    print_table(columns, rows, empty="Nothing happened.")
    print()
    print_facts({name.replace("_", " "): value for name, value in timeline.summary.items()})
