"""`clary deploy`: from a model file to a live endpoint in one command."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from clary.cli import options
from clary.cli.api import Api, ApiError
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json, spinner, upload_progress
from clary.cli.pack import packed
from clary.cli.remove import remove
from clary.cli.resources import TAG, invocation_url
from clary.cli.sample import read_sample
from clary.domain.signature import SIGNATURE_FILE, Example, ModelSignature

if TYPE_CHECKING:
    from clary.runtimes.detect import Detected

ROLE = "arn:aws:iam::{account}:role/clary-deploy"
"""The API requires a role; Clary's own worker needs none."""
VARIANT = "AllTraffic"
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""EndpointName in the API reference."""
WAIT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Made:
    """What one deploy made, for its output and for taking it back."""

    endpoint: str
    resource: str
    """Name of both the model and the configuration."""
    bucket: str
    key: str


def deploy(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A model file, a folder that holds one, or a model.tar.gz.")
    ],
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="Name of the endpoint to make.")],
    instances: Annotated[int, typer.Option("--instances", min=1, help="Replicas of the model.")] = 1,
    instance_type: Annotated[
        str, typer.Option("--instance-type", metavar="TYPE", help="Size of each, as SageMaker names it.")
    ] = "ml.t3.medium",
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="FILE",
            help="Some rows of what the model takes (CSV with a header, or JSON): names its columns, and is answered "
            "once before it is in service.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is in service.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Put a model behind a live endpoint: clary deploy model.json --name fraud."""
    if not NAME.fullmatch(name):
        raise CliError(
            Exit.USAGE, f"--name {name!r} cannot name an endpoint.", "Use 1 to 63 letters, digits and inner hyphens."
        )
    if not path.exists():
        raise CliError(
            Exit.USAGE, f"PATH {str(path)!r} does not exist.", "Give a model file, a folder or a model.tar.gz."
        )
    say = _silent if as_json else note
    image, found = recognised(path)
    say(f"{path} is {found.why}.")
    told = read_sample(sample, found.runtime) if sample is not None else None
    api = Api(find(url, home, region, profile))
    make_room(api, name, say)
    started_s = time.monotonic()
    made = create(api, path, image, name, instances, instance_type, signature=told, quiet=as_json)
    try:
        status = wait_in_service(api, made, quiet=as_json) if wait else "Creating"
    except KeyboardInterrupt:
        note(f"\n{name} goes on starting; `clary describe {name}` shows it, `clary delete {name}` takes it back.")
        raise
    took_s = time.monotonic() - started_s
    example = told.example if told is not None else None
    if example is None and status == "InService":
        example = answered_example(api, name)
    if example is None:
        example = Example(",".join(["0.5"] * (found.signature.width or 3)), "text/csv")
    report(api, made, status, took_s, example, as_json=as_json)


def recognised(path: Path) -> tuple[str, Detected]:
    """The image that serves the model at `path`, and what it is. Raises CliError where none does."""
    from clary.runtimes.base import LoadError
    from clary.runtimes.detect import detect
    from clary.runtimes.images import image_for

    try:
        found = detect(path)
    except LoadError as error:
        raise CliError(Exit.REFUSED, error.cause, error.remedy) from None
    try:
        image = image_for(found.runtime)
    except KeyError:
        raise CliError(
            Exit.REFUSED, f"{path} is a {found.runtime} model, which this release does not deploy."
        ) from None
    return image, found


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
        f"An endpoint {old['EndpointName']} exists ({old['EndpointStatus']}); updating one comes with a later release.",
        f"Choose another --name, or `clary delete {old['EndpointName']}` first.",
    )


def create(
    api: Api,
    path: Path,
    image: str,
    name: str,
    instances: int,
    instance_type: str,
    *,
    signature: ModelSignature | None = None,
    quiet: bool,
) -> Made:
    """Upload, and create model, configuration and endpoint. What was made is taken back if a step is refused.

    `signature` goes into the artifact.
    """
    account = api.account()
    extra = {SIGNATURE_FILE: json.dumps(signature.to_json()).encode()} if signature is not None else None
    with packed(path, extra) as (archive, size_bytes, digest):
        bucket = f"sagemaker-{api.target.region}-{account}"
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
        made = Made(
            name, f"{name[:43].rstrip('-')}-{stamp}", bucket, f"clary/{name}/{stamp}-{digest[:12]}/model.tar.gz"
        )
        api.make_bucket(bucket)
        with upload_progress(size_bytes, quiet=quiet) as progress:
            api.upload(bucket, made.key, archive, size_bytes, progress)
    tags = [{"Key": TAG, "Value": name}]
    undo: list[tuple[str, dict[str, str]]] = []
    try:
        api.sagemaker(
            "CreateModel",
            ModelName=made.resource,
            ExecutionRoleArn=ROLE.format(account=account),
            PrimaryContainer={"Image": image, "ModelDataUrl": f"s3://{bucket}/{made.key}"},
            Tags=tags,
        )
        undo.append(("DeleteModel", {"ModelName": made.resource}))
        variant = {
            "VariantName": VARIANT,
            "ModelName": made.resource,
            "InitialInstanceCount": instances,
            "InstanceType": instance_type,
            "InitialVariantWeight": 1.0,
        }
        api.sagemaker("CreateEndpointConfig", EndpointConfigName=made.resource, ProductionVariants=[variant], Tags=tags)
        undo.append(("DeleteEndpointConfig", {"EndpointConfigName": made.resource}))
        api.sagemaker("CreateEndpoint", EndpointName=name, EndpointConfigName=made.resource, Tags=tags)
    except BaseException:
        for operation, members in reversed(undo):
            api.sagemaker(operation, **members)
        api.delete_object(bucket, made.key)
        raise
    return made


def wait_in_service(api: Api, made: Made, *, quiet: bool) -> str:
    """Wait until the endpoint is InService; a Failed one raises with its reason."""
    deadline_s = time.monotonic() + WAIT_TIMEOUT_S
    with spinner(f"Starting {made.endpoint}", quiet=quiet):
        while time.monotonic() < deadline_s:
            seen = api.sagemaker("DescribeEndpoint", EndpointName=made.endpoint)
            status = str(seen["EndpointStatus"])
            if status == "InService":
                return status
            if status != "Creating":
                raise CliError(
                    Exit.FAILED,
                    f"The endpoint {made.endpoint} is {status}: {seen.get('FailureReason', 'no reason was given')}",
                    f"`clary logs {made.endpoint}` shows the model's own words; deploying again replaces it.",
                )
            time.sleep(0.1)
    raise CliError(
        Exit.TIMEOUT,
        f"The endpoint {made.endpoint} was not in service within {WAIT_TIMEOUT_S:.0f} s.",
        f"`clary describe {made.endpoint}` shows how it goes on.",
    )


def answered_example(api: Api, name: str) -> Example | None:
    """The request that the model says it has answered, where it says so (edge/openapi.py)."""
    try:
        answer = api.call(
            "GET", f"/endpoints/{quote(name, safe='')}/openapi.json", service="sagemaker", headers={}, body=b""
        )
        (operations,) = json.loads(answer.body)["paths"].values()
        content = operations["post"]["requestBody"]["content"]
    except (CliError, ValueError, KeyError, TypeError, AttributeError):
        return None  # an older server has no such page; nothing depends on it
    for kind, media in content.items():
        if "example" in media:
            shown = media["example"]
            return Example(shown if isinstance(shown, str) else json.dumps(shown), kind)
    return None


def report(api: Api, made: Made, status: str, took_s: float, example: Example, *, as_json: bool) -> None:
    """The end of a deploy: where the model answers, and how to ask it."""
    address = invocation_url(api, made.endpoint)
    docs = address.removesuffix("invocations") + "docs"
    if as_json:
        print_json(
            {
                "name": made.endpoint,
                "status": status,
                "url": address,
                "docs": docs,
                "config": made.resource,
                "model": made.resource,
                "artifact": f"s3://{made.bucket}/{made.key}",
                "seconds": round(took_s, 3),
            }
        )
        return
    note(
        f"{made.endpoint} is {status} after {took_s:.1f} s.\n"
        if status == "InService"
        else f"{made.endpoint} is {status}.\n"
    )
    print(address)
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


def _silent(_: str) -> None:
    return None
