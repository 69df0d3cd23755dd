"""`clary list` and `clary describe`: what the server has."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from clary.cli import options, scaling
from clary.cli.api import Api, ApiError
from clary.cli.connect import find
from clary.cli.exit_codes import Exit
from clary.cli.output import print_facts, print_json, print_table
from clary.cli.versions import live_of, versions_of

TAG = "clary:deploy"
"""Tag of all that `clary deploy` makes; its value is the endpoint's name. `clary delete` removes what carries it."""


class Kind(enum.StrEnum):
    """What can be listed."""

    ENDPOINTS = "endpoints"
    CONFIGS = "configs"
    MODELS = "models"


_LISTS = {
    Kind.ENDPOINTS: ("ListEndpoints", "Endpoints", "EndpointName", "EndpointArn"),
    Kind.CONFIGS: ("ListEndpointConfigs", "EndpointConfigs", "EndpointConfigName", "EndpointConfigArn"),
    Kind.MODELS: ("ListModels", "Models", "ModelName", "ModelArn"),
}


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.ENDPOINTS,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List endpoints, endpoint configurations or models, the newest first."""
    api = Api(find(url, home, region, profile))
    operation, key, name, arn = _LISTS[kind]
    found = [
        {
            "name": item[name],
            **({"status": item["EndpointStatus"]} if kind is Kind.ENDPOINTS else {}),
            "created": instant(item["CreationTime"]),
            "arn": item[arn],
        }
        for item in api.pages(operation, key, SortBy="CreationTime", SortOrder="Descending")
    ]
    if as_json:
        print_json({kind.value: found})
        return
    columns = ["NAME", "STATUS", "CREATED (UTC)"] if kind is Kind.ENDPOINTS else ["NAME", "CREATED (UTC)"]
    rows = [[item[c] for c in ("name", "status", "created") if c in item] for item in found]
    hint = ": `clary deploy PATH --name NAME` makes one" if kind is Kind.ENDPOINTS else ""
    print_table(columns, rows, empty=f"No {kind.value} in {api.target.region} at {api.target.url}{hint}.")


def describe(
    name: options.EndpointName,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show an endpoint: status, variants, and the model behind each."""
    api = Api(find(url, home, region, profile))
    found = description(api, name)
    if as_json:
        print_json(found)
        return
    print_facts({key.replace("_", " "): value for key, value in found.items() if key not in ("variants", "scaling")})
    if found["variants"]:
        print()
        columns = ("variant", "weight", "instances", "model", "artifact")
        print_table([c.upper() for c in columns], [[v.get(c) for c in columns] for v in found["variants"]], empty="")
    if found["scaling"]:
        print()
        print_table(["VARIANT", "SCALING", ""], scaling.rows(found["scaling"]), empty="")


def description(api: Api, name: str) -> dict[str, Any]:
    """What `describe --json` prints; docs/reference/json.md holds the shape."""
    endpoint = api.sagemaker("DescribeEndpoint", EndpointName=name)
    observed = {variant["VariantName"]: variant for variant in endpoint.get("ProductionVariants", [])}
    # Deleting a configuration or model in use is allowed: the endpoint goes on without them.
    config = describe_or_none(api, "DescribeEndpointConfig", EndpointConfigName=endpoint["EndpointConfigName"])
    wanted = {variant["VariantName"]: variant for variant in (config or {}).get("ProductionVariants", [])}
    live = live_of(versions_of(api, endpoint["EndpointName"]))
    return {
        "name": endpoint["EndpointName"],
        "status": endpoint["EndpointStatus"],
        "version": None if live is None else live["version"],
        "failure_reason": endpoint.get("FailureReason"),
        "url": invocation_url(api, endpoint["EndpointName"]),
        "arn": endpoint["EndpointArn"],
        "config": endpoint["EndpointConfigName"],
        "created": instant(endpoint["CreationTime"]),
        "modified": instant(endpoint["LastModifiedTime"]),
        "variants": [
            _variant(api, observed.get(n, {}), wanted.get(n, {})) for n in [*wanted, *(observed.keys() - wanted)]
        ],
        "scaling": scaling.scaling_of(api, endpoint["EndpointName"], sorted({*wanted, *observed})),
    }


def _variant(api: Api, observed: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    model = wanted.get("ModelName")
    found = describe_or_none(api, "DescribeModel", ModelName=model) if model else None
    container = (found or {}).get("PrimaryContainer", {})
    return {
        "variant": observed.get("VariantName") or wanted["VariantName"],
        "weight": observed.get("CurrentWeight", wanted.get("InitialVariantWeight")),
        "instances": observed.get("CurrentInstanceCount", wanted.get("InitialInstanceCount")),
        "model": model,
        "image": container.get("Image"),
        "artifact": container.get("ModelDataUrl"),
    }


def describe_or_none(api: Api, operation: str, **members: str) -> dict[str, Any] | None:
    """What a Describe operation says, None where there is no such thing."""
    try:
        return api.sagemaker(operation, **members)
    except ApiError as error:
        if error.code is Exit.NOT_FOUND:
            return None
        raise


def invocation_url(api: Api, name: str) -> str:
    """Where predictions are asked for."""
    from urllib.parse import quote

    return f"{api.target.url}/endpoints/{quote(name, safe='')}/invocations"


def instant(seconds: float) -> datetime:
    """An instant as the API gives it, in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
