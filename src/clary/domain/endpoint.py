"""An endpoint: what it is made from, what status it has, what may be done to it.

An EndpointConfig names models. CreateEndpoint resolves both into a Revision, frozen under the endpoint's uid and
generation: from then on nothing else is needed to serve, so that a configuration or model in use may be deleted.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from clary.domain.errors import InTransition, Invalid
from clary.domain.instance_types import instance_type
from clary.domain.model import Container, ModelSpec, Vpc
from clary.domain.states import IN_TRANSITION, EndpointStatus

FAILURE_REASON_CHARS_MAX = 1024
"""DescribeEndpoint, FailureReason."""
INSTANCES_MAX = 1_000
"""Replicas of one variant: far above what one machine starts, far below what a typing error would ask for."""
PUBLISH_S = (10, 30, 60, 120, 180, 240, 300)
"""MetricPublishFrequencyInSeconds (API reference, MetricsConfig)."""
LOAD_TIMEOUT_S = 480
"""ContainerStartupHealthCheckTimeoutInSeconds where it is not given: 8 minutes (hosting guide)."""


@dataclass(frozen=True)
class VariantSpec:
    """One entry of ProductionVariants."""

    name: str
    model_name: str
    instance_count: int
    instance_type: str
    weight: float = 1.0
    """InitialVariantWeight: share of traffic relative to the sum over all variants."""
    load_timeout_s: int | None = None
    """ContainerStartupHealthCheckTimeoutInSeconds as given."""
    download_timeout_s: int | None = None
    """ModelDataDownloadTimeoutInSeconds as given; stored."""
    volume_gb: int | None = None
    """VolumeSizeInGB as given; stored."""
    routing: str = ""
    """RoutingConfig.RoutingStrategy as given, empty where not."""
    ami_version: str = ""
    """InferenceAmiVersion as given, empty where not; stored."""


@dataclass(frozen=True)
class MetricsConfig:
    """How metrics of an endpoint are published, as given; None where not."""

    enhanced: bool | None = None
    """EnableEnhancedMetrics: also by replica, with the dimension InstanceId."""
    publish_s: int | None = None
    """MetricPublishFrequencyInSeconds: how often utilisation is measured."""
    detailed: bool | None = None
    """EnableDetailedObservability: never True, which is refused."""


@dataclass(frozen=True)
class EndpointConfigSpec:
    """CreateEndpointConfig's request, checked."""

    variants: tuple[VariantSpec, ...]
    kms_key_id: str = ""
    role_arn: str = ""
    vpc: Vpc | None = None
    network_isolation: bool | None = None
    metrics: MetricsConfig | None = None


@dataclass(frozen=True)
class RevisionVariant:
    """A variant with all that serving it takes."""

    uid: str
    """ULID: metrics and routes key on it, never on the name."""
    name: str
    model_name: str
    instance_count: int
    instance_type: str
    weight: float
    load_timeout_s: int
    container: Container
    routing: str = ""
    role_arn: str = ""
    """The model's ExecutionRoleArn: whose credentials its workers are lent. Empty in revisions of an older Clary."""


@dataclass(frozen=True)
class Revision:
    """One generation of an endpoint, frozen."""

    config_name: str
    variants: tuple[RevisionVariant, ...]
    metrics: MetricsConfig = MetricsConfig()

    @property
    def artifact_urls(self) -> tuple[str, ...]:
        """The distinct artifacts, in the order of the variants."""
        return tuple(dict.fromkeys(variant.container.artifact for variant in self.variants))


def check_config(spec: EndpointConfigSpec) -> None:
    """Raise Invalid where the variants break a rule of CreateEndpointConfig (API reference)."""
    seen: set[str] = set()
    for variant in spec.variants:
        if variant.name.lower() in seen:
            raise Invalid(f"ProductionVariants holds the variant name '{variant.name}' twice; names must differ.")
        seen.add(variant.name.lower())
        if variant.instance_count > INSTANCES_MAX:
            raise Invalid(
                f"InitialInstanceCount of variant '{variant.name}' is {variant.instance_count}; "
                f"at most {INSTANCES_MAX} are allowed."
            )
        instance_type(variant.instance_type)
    if not any(variant.weight > 0 for variant in spec.variants):
        raise Invalid(
            "Every InitialVariantWeight is 0, so that no variant would get traffic; give one a weight above 0."
        )


def freeze(config_name: str, spec: EndpointConfigSpec, models: dict[str, ModelSpec], uids: list[str]) -> Revision:
    """The revision that `spec` and the models it names (by name as written there) make; `uids`: one a variant."""
    return Revision(
        config_name=config_name,
        variants=tuple(
            RevisionVariant(
                uid=uid,
                name=variant.name,
                model_name=variant.model_name,
                instance_count=variant.instance_count,
                instance_type=variant.instance_type,
                weight=variant.weight,
                load_timeout_s=variant.load_timeout_s or LOAD_TIMEOUT_S,
                container=models[variant.model_name].primary,
                routing=variant.routing,
                role_arn=models[variant.model_name].role_arn,
            )
            for variant, uid in zip(spec.variants, uids)
        ),
        metrics=spec.metrics or MetricsConfig(),
    )


class VariantProperty(enum.Enum):
    """What UpdateEndpoint may retain of a variant (API reference, VariantProperty)."""

    INSTANCE_COUNT = "DesiredInstanceCount"
    WEIGHT = "DesiredWeight"
    DATA_CAPTURE = "DataCaptureConfig"
    """No configuration holds one yet: there is never one to retain."""


@dataclass(frozen=True)
class Desired:
    """One entry of DesiredWeightsAndCapacities."""

    variant: str
    weight: float | None = None
    """None: as it is."""
    instance_count: int | None = None
    """None: as it is."""


def scaled(revision: Revision, counts: Mapping[str, int]) -> Revision:
    """`revision` with the counts that scaling gave some of its variants, by name."""
    if not counts:
        return revision
    variants = (replace(one, instance_count=counts.get(one.name, one.instance_count)) for one in revision.variants)
    return replace(revision, variants=tuple(variants))


def awake(revision: Revision) -> Revision:
    """`revision` with a replica for each variant that was scaled to none: what begins, or is changed, is to run."""
    return scaled(revision, {one.name: 1 for one in revision.variants if one.instance_count == 0})


def retained(new: Revision, current: Revision, excluded: Collection[VariantProperty]) -> Revision:
    """`new` with weights and instance counts of the variants of `current` that have the same name, but for what is
    excluded (UpdateEndpoint: RetainAllVariantProperties, ExcludeRetainedVariantProperties). Raises Invalid."""
    old = {variant.name: variant for variant in current.variants}
    variants = []
    for variant in new.variants:
        was = old.get(variant.name)
        if was is not None and VariantProperty.INSTANCE_COUNT not in excluded:
            variant = replace(variant, instance_count=was.instance_count)  # noqa: PLW2901 - one variant, stepwise
        if was is not None and VariantProperty.WEIGHT not in excluded:
            variant = replace(variant, weight=was.weight)  # noqa: PLW2901
        variants.append(variant)
    return _weighed(replace(new, variants=tuple(variants)))


def rescaled(current: Revision, desired: Sequence[Desired]) -> Revision:
    """`current` with other weights and instance counts; its variants stay the same ones. Raises Invalid."""
    wanted: dict[str, Desired] = {}
    names = [variant.name for variant in current.variants]
    for entry in desired:
        if entry.variant not in names:
            raise Invalid(
                f"DesiredWeightsAndCapacities names the variant '{entry.variant}', which the endpoint does not have. "
                f"It has: {', '.join(names)}."
            )
        if entry.variant in wanted:
            raise Invalid(f"DesiredWeightsAndCapacities holds the variant '{entry.variant}' twice.")
        if entry.weight is None and entry.instance_count is None:
            raise Invalid(f"Give DesiredWeight or DesiredInstanceCount for the variant '{entry.variant}'.")
        if entry.instance_count is not None and not 1 <= entry.instance_count <= INSTANCES_MAX:
            raise Invalid(
                f"DesiredInstanceCount of variant '{entry.variant}' is {entry.instance_count}; "
                f"1 to {INSTANCES_MAX} are allowed."
            )
        wanted[entry.variant] = entry
    return _weighed(
        replace(
            current,
            variants=tuple(
                variant if variant.name not in wanted else _with(variant, wanted[variant.name])
                for variant in current.variants
            ),
        )
    )


def _with(variant: RevisionVariant, desired: Desired) -> RevisionVariant:
    return replace(
        variant,
        weight=variant.weight if desired.weight is None else desired.weight,
        instance_count=variant.instance_count if desired.instance_count is None else desired.instance_count,
    )


def _weighed(revision: Revision) -> Revision:
    if not any(variant.weight > 0 for variant in revision.variants):
        raise Invalid("Every variant would have the weight 0, so that none would get traffic; give one more than 0.")
    return revision


def status_of(
    generation: int,
    delete_requested: bool,
    observed_generation: int | None,
    observed: EndpointStatus | None,
    mixed: bool = False,
) -> EndpointStatus:
    """What DescribeEndpoint says: what was observed, unless something newer is wanted.

    Control writes generation and delete_requested, reconcile the observations; neither writes the other's, and the
    status that a client sees right after its call is still the right one.
    """
    if delete_requested:
        return EndpointStatus.DELETING
    if observed is None or observed_generation is None:
        return EndpointStatus.CREATING
    if observed_generation < generation:
        return EndpointStatus.UPDATING
    if mixed and observed is EndpointStatus.IN_SERVICE:
        return EndpointStatus.ROLLBACK_FAILED
    return observed


def admit_change(status: EndpointStatus, name: str, arn: str) -> None:
    """Raise InTransition while an endpoint is being created, updated or deleted.

    The hosted service refuses UpdateEndpoint and DeleteEndpoint alike with `Cannot update in-progress endpoint`,
    DeleteEndpoint while Creating included (public reports); so does Clary, whose Creating lasts seconds.
    """
    if status in IN_TRANSITION:
        raise InTransition("endpoint", name, arn)


def admit_update(status: EndpointStatus, name: str, arn: str) -> None:
    """Raise InTransition, or Invalid for an endpoint that Failed: only DeleteEndpoint is possible then (API reference,
    DescribeEndpoint: EndpointStatus)."""
    admit_change(status, name, arn)
    if status is EndpointStatus.FAILED:
        raise Invalid(f'Cannot update failed endpoint "{arn}". Delete it and create it again.')


def failure_reason(cause: str, remedy: str) -> str:
    """One or two sentences within the documented length; the remedy survives where the cause is too long."""
    cause, remedy = _sentence(cause), _sentence(remedy)
    room = FAILURE_REASON_CHARS_MAX - len(remedy) - 1
    if room < 64:
        return f"{cause} {remedy}"[:FAILURE_REASON_CHARS_MAX]
    if len(cause) > room:
        cause = cause[: room - 3] + "..."
    return f"{cause} {remedy}".strip()


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text[-1] in ".!?" else text + "."
