"""`clary import`: a running local twin of an endpoint in a real AWS account."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.aws_account import CODE_VARIABLE, Account, Source, SourceVariant
from clary.cli.connect import find
from clary.cli.deploy import NAME, Made, make_room, wait_in_service
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json, spinner
from clary.cli.resources import TAG, invocation_url
from clary.cli.undo import Undo, taking_back
from clary.kit.instants import stamp_name


@dataclass(frozen=True)
class Ground:
    """Where a twin is made."""

    api: Api
    name: str
    resource: str
    """Of its configuration; models add their place."""
    bucket: str
    tags: list[dict[str, str]]
    quiet: bool


def import_(
    from_aws: Annotated[
        str, typer.Option("--from-aws", metavar="ENDPOINT", help="Name of the endpoint in the AWS account.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", "-n", metavar="NAME", help="Name of the twin. Default: the endpoint's own.")
    ] = None,
    instances: Annotated[int, typer.Option("--instances", min=1, help="Replicas of each variant.")] = 1,
    image: Annotated[
        str | None, typer.Option("--image", metavar="URI", help="Image to serve with, where its own is not served.")
    ] = None,
    aws_profile: Annotated[
        str | None, typer.Option("--aws-profile", metavar="NAME", help="AWS profile of the account to read from.")
    ] = None,
    aws_region: Annotated[
        str | None, typer.Option("--aws-region", metavar="NAME", help="Region to read from. Default: the profile's.")
    ] = None,
    aws_endpoint_url: Annotated[
        str | None, typer.Option("--aws-endpoint-url", metavar="URL", help="Private address of the AWS services.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and show; make nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is in service.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a local twin of an endpoint in AWS, artifacts included: clary import --from-aws fraud --aws-profile prod."""
    if name is not None and not NAME.fullmatch(name):
        raise CliError(Exit.USAGE, f"--name {name!r} cannot name an endpoint.", "Use letters, digits, inner hyphens.")
    account = Account(aws_profile, aws_region, aws_endpoint_url)
    with spinner(f"Reading {from_aws} in {account.region}", quiet=as_json):
        source = account.endpoint(from_aws)
    name = name or source.name
    if dry_run:
        report(source, name, "", instances, as_json=as_json)
        return
    api = Api(find(url, home, region, profile))
    make_room(api, name, note if not as_json else lambda _: None)
    stamp = stamp_name(time.time_ns() // 1000)
    ground = Ground(
        api=api,
        name=name,
        resource=f"{name[:40].rstrip('-')}-{stamp}",
        bucket=f"sagemaker-{api.target.region}-{api.account()}",
        tags=[{"Key": TAG, "Value": name}],
        quiet=as_json,
    )
    create(ground, account, source, instances, image)
    if wait:
        wait_in_service(api, Made(name, ground.resource, ground.bucket, ""), quiet=as_json)
    report(source, name, invocation_url(api, name), instances, as_json=as_json)


def create(ground: Ground, account: Account, source: Source, instances: int, image: str | None) -> None:
    """Copy the artifacts and create models, configuration and endpoint; all of it is taken back on a refusal."""
    api = ground.api
    api.make_bucket(ground.bucket)
    with taking_back() as undo:
        variants = []
        for place, variant in enumerate(source.variants):
            model_name = f"{ground.resource}-{place}"
            _create_model(ground, account, variant, model_name, image, undo)
            variants.append(
                {
                    **variant.more,
                    "VariantName": variant.name,
                    "ModelName": model_name,
                    "InitialInstanceCount": instances,
                    "InstanceType": variant.instance_type,
                    "InitialVariantWeight": variant.weight,
                }
            )
        config = {"EndpointConfigName": ground.resource}
        api.sagemaker("CreateEndpointConfig", **config, ProductionVariants=variants, Tags=ground.tags)
        undo.append(lambda: api.sagemaker("DeleteEndpointConfig", **config))
        api.sagemaker("CreateEndpoint", EndpointName=ground.name, **config, Tags=ground.tags)


def _create_model(
    ground: Ground, account: Account, variant: SourceVariant, model_name: str, image: str | None, undo: list[Undo]
) -> None:
    api, model = ground.api, variant.model
    container: dict[str, Any] = {
        "Image": image or model.image,
        "ModelDataUrl": _copied(ground, account, model.artifact, f"{variant.name}/model.tar.gz", undo),
        "Environment": dict(model.environment),
    }
    code = model.environment.get(CODE_VARIABLE, "")
    if code.startswith("s3://"):
        container["Environment"][CODE_VARIABLE] = _copied(
            ground, account, code, f"{variant.name}/sourcedir.tar.gz", undo
        )
    api.sagemaker(
        "CreateModel",
        ModelName=model_name,
        ExecutionRoleArn=model.role,
        PrimaryContainer=container,
        Tags=ground.tags,
    )
    undo.append(lambda: api.sagemaker("DeleteModel", ModelName=model_name))


def _copied(ground: Ground, account: Account, address: str, file: str, undo: list[Undo]) -> str:
    """The address of the copy in the local object store."""
    with spinner(f"Copying {address}", quiet=ground.quiet), account.artifact(address) as (content, size_bytes, digest):
        key = f"clary/{ground.name}/{ground.resource}-{digest[:12]}/{file}"
        ground.api.upload(ground.bucket, key, content, size_bytes, lambda _: None)
    undo.append(lambda: ground.api.delete_object(ground.bucket, key))
    return f"s3://{ground.bucket}/{key}"


def report(source: Source, name: str, url: str, instances: int, *, as_json: bool) -> None:
    """What was made, or with an empty `url` what would be, and what the twin does not carry."""
    if as_json:
        variants = [
            {"variant": v.name, "model": v.model.name, "image": v.model.image, "artifact": v.model.artifact,
             "instance_type": v.instance_type, "instances": instances, "weight": v.weight}
            for v in source.variants
        ]  # fmt: skip
        facts = {"name": name, "source": source.name, "source_region": source.region, "url": url or None}
        print_json({**facts, "variants": variants, "left_out": list(source.left_out)})
        return
    for variant in source.variants:
        fewer = f" ({variant.instances} in AWS)" if variant.instances != instances else ""
        note(
            f"{variant.name}: {variant.model.image.rpartition('/')[2]}, {variant.model.artifact}, "
            f"weight {variant.weight:g}, {instances} x {variant.instance_type}{fewer}"
        )
    if source.left_out:
        note("Not carried over: " + ", ".join(source.left_out) + ".")
    if url:
        note(f"{name} is the twin of {source.name} ({source.region}); `clary delete {name}` takes it back.")
        print(url)
    else:
        note("Nothing was made (--dry-run).")
