"""`clary deploy`: from a model file to a live endpoint in one command."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clary.cli import options, scale, settle
from clary.cli.api import Api, ApiError
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json, upload_progress
from clary.cli.pack import packed
from clary.cli.recognise import Recognised, recognised
from clary.cli.remove import remove
from clary.cli.resources import TAG, describe_or_none, invocation_url
from clary.cli.sample import read_sample
from clary.cli.undo import Undo, taking_back
from clary.cli.versions import live_of, versions_of
from clary.domain.signature import SIGNATURE_FILE, Example, ModelSignature
from clary.kit.instants import stamp_name

if TYPE_CHECKING:
    from clary.runtimes.detect import Detected

ROLE = "arn:aws:iam::{account}:role/clary-deploy"
"""The API requires a role; Clary's own worker needs none."""
VARIANT = "AllTraffic"
INSTANCE_TYPE = "ml.t3.medium"
IMPORTS_LISTED = 10
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""EndpointName in the API reference."""


@dataclass(frozen=True)
class Made:
    """What one deploy made, for its output and for taking it back."""

    endpoint: str
    resource: str
    """Name of both the model and the configuration."""
    bucket: str
    key: str
    updates: bool = False
    """The endpoint was there: this is a new version of it."""


def deploy(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A model file, a folder that holds one (with its script, if any), or a model.tar.gz."
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Name of the endpoint to make.")],
    instances: Annotated[
        int | None,
        typer.Option(
            "--instances", min=1, help="So many replicas, whatever the load. Default: by the load; see --no-scale."
        ),
    ] = None,
    with_load: Annotated[
        bool,
        typer.Option(
            "--scale/--no-scale",
            help="Scale a new endpoint with its load, from 1 replica to as many as there are cores; one that is there "
            "goes on as it is. `clary scale` changes it.",
        ),
    ] = True,
    instance_type: Annotated[
        str | None,
        typer.Option(
            "--instance-type",
            metavar="TYPE",
            help=f"Size of each, as SageMaker names it. Default: as now, else {INSTANCE_TYPE}.",
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="FILE",
            help="Some rows of what the model takes (CSV with a header, or JSON): names its columns, and is answered "
            "once before it is in service.",
        ),
    ] = None,
    entry_point: Annotated[
        str | None,
        typer.Option(
            "--entry-point", metavar="FILE", help="Script with model_fn. Default: inference.py, or the only one."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="URI", help="Image to serve with. Default: by what the files are.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME=VALUE", help="Variable of the model's environment; may be repeated."),
    ] = None,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="Refuse a pickle that would import what fitted models do not hold.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is in service.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Put a model behind a live endpoint: clary deploy model.json --name fraud.

    An endpoint of that name is updated in place: the model becomes its next version, and takes over without a lost
    request once it is ready.
    """
    if not NAME.fullmatch(name):
        raise CliError(
            Exit.USAGE, f"--name {name!r} cannot name an endpoint.", "Use 1 to 63 letters, digits and inner hyphens."
        )
    if not path.exists():
        raise CliError(
            Exit.USAGE, f"PATH {str(path)!r} does not exist.", "Give a model file, a folder or a model.tar.gz."
        )
    say = _silent if as_json else note
    known = recognised(path, image, entry_point, env or ())
    found = known.found
    say(f"{path} is {found.why}.")
    judge(path, found, refuse=untrusted, say=say)
    told = read_sample(sample, found.runtime) if sample is not None else None
    api = Api(find(url, home, region, profile))
    old = describe_or_none(api, "DescribeEndpoint", EndpointName=name)
    now = None
    if old is not None:
        name = str(old["EndpointName"])  # in its own case: what deploy makes is tagged with it
        now = size_now(api, name) if old["EndpointStatus"] == "InService" else None
    if old is not None and now is None:
        make_room(api, name, say)
    size = now or (1, INSTANCE_TYPE)
    fixed = instances is not None or not with_load
    scaled = scale.scaled_now(api, name, off=fixed) if now is not None else None
    started_s = time.monotonic()
    made = create(
        api, path, known, name, instances or (scaled["wanted"] if scaled else 0) or size[0], instance_type or size[1],
        signature=told, quiet=as_json, updates=now is not None,
    )  # fmt: skip
    if now is None and not fixed:
        scaled = scale.put(api, name, {})["variants"][0]
    try:
        status = wait_in_service(api, made, quiet=as_json) if wait else "Updating" if made.updates else "Creating"
    except KeyboardInterrupt:
        back = "rollback" if made.updates else "delete"
        note(f"\n{name} goes on starting; `clary describe {name}` shows it, `clary {back} {name}` takes it back.")
        raise
    took_s = time.monotonic() - started_s
    example = told.example if told is not None else None
    if example is None and status == "InService":
        example = answered_example(api, name)
    if example is None:
        example = Example(",".join(["0.5"] * (found.signature.width or 3)), "text/csv")
    report(api, made, status, took_s, example, scaled, as_json=as_json)


def judge(path: Path, found: Detected, *, refuse: bool, say: Callable[[str], None]) -> None:
    """Tell what the pickles of a model would import; `refuse` what fitted models of served libraries do not hold."""
    from clary.runtimes.trust import unknown

    if not found.imports:
        return
    packages = ", ".join(sorted({name.partition(".")[0] for name in found.imports}))
    odd = unknown(found.imports)
    more = f" and {len(odd) - IMPORTS_LISTED} more" if len(odd) > IMPORTS_LISTED else ""
    listed = ", ".join(odd[:IMPORTS_LISTED]) + more
    if odd and refuse:
        raise CliError(
            Exit.REFUSED,
            f"Loading {path} would import what fitted models do not hold: {listed}.",
            "Have it reviewed and deploy it without --untrusted, or save it in a format that runs nothing.",
        )
    say(f"It is a pickle: loading it imports from {packages}" + (f"; unknown to Clary: {listed}." if odd else "."))


def size_now(api: Api, name: str) -> tuple[int, str] | None:
    """Instances and their type of the live version, None where none is: of its first variant, which is the only one
    where deploy made it."""
    live = live_of(versions_of(api, name))
    return None if live is None else (live["variants"][0]["instances"], live["variants"][0]["instance_type"])


def make_room(api: Api, name: str, say: Any) -> None:
    """Refuse a name in use; an endpoint of deploy's own that Failed serves nobody and is replaced."""
    try:
        old = api.sagemaker("DescribeEndpoint", EndpointName=name)
    except ApiError as error:
        if error.code is Exit.NOT_FOUND:
            return
        raise
    tags = api.pages("ListTags", "Tags", ResourceArn=old["EndpointArn"])
    if old["EndpointStatus"] == "Failed" and any(tag["Key"] == TAG for tag in tags):
        say(f"Replacing {old['EndpointName']}, which had failed.")
        remove(api, old["EndpointName"], wait=True)
        return
    raise CliError(
        Exit.REFUSED,
        f"An endpoint {old['EndpointName']} exists, and it is {old['EndpointStatus']}.",
        f"Choose another --name, or `clary delete {old['EndpointName']}` first."
        if old["EndpointStatus"] in ("InService", "Failed")
        else "Try again when that is done.",
    )


def create(
    api: Api,
    path: Path,
    known: Recognised,
    name: str,
    instances: int,
    instance_type: str,
    *,
    signature: ModelSignature | None = None,
    quiet: bool,
    updates: bool = False,
) -> Made:
    """Upload, create model and configuration, create the endpoint. What was made is taken back if a step is refused.

    `signature` goes into the artifact. `updates`: there is an endpoint, which becomes this.
    """
    with taking_back() as undo:
        fleet = FleetShape(VARIANT, instances, instance_type)
        made = configured(api, path, known, name, fleet, undo, signature=signature, quiet=quiet)
        if updates:
            api.sagemaker("UpdateEndpoint", EndpointName=name, EndpointConfigName=made.resource)
        else:
            api.sagemaker(
                "CreateEndpoint",
                EndpointName=name,
                EndpointConfigName=made.resource,
                Tags=[{"Key": TAG, "Value": name}],
            )
    return replace(made, updates=updates)


@dataclass(frozen=True)
class FleetShape:
    """The one variant of what deploy makes."""

    variant: str
    instances: int
    instance_type: str


def configured(
    api: Api,
    path: Path,
    known: Recognised,
    name: str,
    fleet: FleetShape,
    undo: list[Undo],
    *,
    signature: ModelSignature | None = None,
    quiet: bool,
) -> Made:
    """Upload a model for the endpoint `name`, create model and configuration; how to take each back goes to `undo`."""
    account = api.account()
    extra = {SIGNATURE_FILE: json.dumps(signature.to_json()).encode()} if signature is not None else None
    with packed(path, extra, known.names) as (archive, size_bytes, digest):
        bucket = f"sagemaker-{api.target.region}-{account}"
        stamp = stamp_name(time.time_ns() // 1000)
        made = Made(
            name,
            f"{name[:43].rstrip('-')}-{stamp}",
            bucket,
            f"clary/{name}/{stamp}-{digest[:12]}/model.tar.gz",
        )
        api.make_bucket(bucket)
        with upload_progress(size_bytes, quiet=quiet) as progress:
            api.upload(bucket, made.key, archive, size_bytes, progress)
    undo.append(lambda: api.delete_object(bucket, made.key))
    tags = [{"Key": TAG, "Value": name}]
    api.sagemaker(
        "CreateModel",
        ModelName=made.resource,
        ExecutionRoleArn=ROLE.format(account=account),
        PrimaryContainer={
            "Image": known.image,
            "ModelDataUrl": f"s3://{bucket}/{made.key}",
            **({"Environment": known.environment} if known.environment else {}),
        },
        Tags=tags,
    )
    undo.append(lambda: api.sagemaker("DeleteModel", ModelName=made.resource))
    variant = {
        "VariantName": fleet.variant,
        "ModelName": made.resource,
        "InitialInstanceCount": fleet.instances,
        "InstanceType": fleet.instance_type,
        "InitialVariantWeight": 1.0,
    }
    api.sagemaker("CreateEndpointConfig", EndpointConfigName=made.resource, ProductionVariants=[variant], Tags=tags)
    undo.append(lambda: api.sagemaker("DeleteEndpointConfig", EndpointConfigName=made.resource))
    return made


def wait_in_service(api: Api, made: Made, *, quiet: bool) -> str:
    """Wait until what was made is in service; the endpoint's status. One that failed raises with its reason."""
    doing = "Updating" if made.updates else "Starting"
    return str(settle.wait_in_service(api, made.endpoint, quiet=quiet, doing=doing)["EndpointStatus"])


def answered_example(api: Api, name: str) -> Example | None:
    """A request that the model answered while it was loaded, as its OpenAPI document shows it; None for none."""
    try:
        answer = api.call("GET", f"/endpoints/{name}/openapi.json", service="sagemaker", headers={}, body=b"")
        paths = json.loads(answer.body)["paths"]
        content = paths[f"/endpoints/{name}/invocations"]["post"]["requestBody"]["content"]
    except (CliError, ValueError, KeyError, TypeError):
        return None  # what is shown at the end of a deploy is no reason for it to fail
    for kind, media in content.items():
        example = media.get("example")
        if example is not None:
            return Example(example if isinstance(example, str) else json.dumps(example), kind)
    return None


def report(
    api: Api,
    made: Made,
    status: str,
    took_s: float,
    example: Example,
    scaled: Mapping[str, Any] | None,
    *,
    as_json: bool,
) -> None:
    """The end of a deploy: where the model answers, how it is `scaled`, and how to ask it."""
    address = invocation_url(api, made.endpoint)
    docs = address.removesuffix("invocations") + "docs"
    version = version_of(api, made) if made.updates else 1
    if as_json:
        print_json(
            {
                "name": made.endpoint,
                "version": version,
                "status": status,
                "url": address,
                "docs": docs,
                "config": made.resource,
                "model": made.resource,
                "artifact": f"s3://{made.bucket}/{made.key}",
                "seconds": round(took_s, 3),
                "scale": {key: scaled[key] for key in ("concurrency", "min", "max")} if scaled else None,
            }
        )
        return
    what = f"Version {version} of {made.endpoint}" if made.updates else made.endpoint
    note(f"{what} is {status} after {took_s:.1f} s.\n" if status == "InService" else f"{what} is {status}.\n")
    print(address)
    if scaled:
        note(
            f"\nIt scales with its load: {scaled['min']} to {scaled['max']} replicas, "
            f"{scaled['concurrency']} requests at once for each (clary scale {made.endpoint})."
        )
    body, kind = example.body, example.content_type
    given = shlex.quote(body)
    typed = "" if kind == "text/csv" else f" --content-type {kind}"
    note(
        f"""
Ask it:
  clary invoke {made.endpoint} --data {given}{typed}
  curl {address} -H 'Content-Type: {kind}' --data-binary {given}

From Python, after  eval "$(clary env)" :
  import boto3
  answer = boto3.client("sagemaker-runtime").invoke_endpoint(
      EndpointName="{made.endpoint}", ContentType="{kind}", Body={body!r})
  print(answer["Body"].read().decode())

What it takes, with a form to try it: {docs}"""
    )


def version_of(api: Api, made: Made) -> int:
    """The number of the version that this deploy made."""
    return next(int(v["version"]) for v in versions_of(api, made.endpoint) if v["config"] == made.resource)


def _silent(_: str) -> None:
    return None
