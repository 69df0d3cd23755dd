"""Deleting all that a server has in a region, or all but what it had there at some moment."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus, urlencode

from clary.cli.api import Api, ApiError
from clary.cli.exit_codes import Exit
from clary.cli.remove import wait_gone

SETTLE_TIMEOUT_S = 120.0
_NAME = re.compile(rb"<Name>([^<]*)</Name>")
_VERSION = re.compile(rb"<Key>([^<]*)</Key>\s*<VersionId>([^<]*)</VersionId>")
"""Of a version or a delete marker."""


@dataclass(frozen=True)
class Inventory:
    """Names of what there is."""

    endpoints: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    buckets: frozenset[str] = frozenset()


def inventory(api: Api) -> Inventory:
    """Everything in the target's region, and every bucket."""
    return Inventory(
        endpoints=frozenset(e["EndpointName"] for e in api.pages("ListEndpoints", "Endpoints")),
        configs=frozenset(c["EndpointConfigName"] for c in api.pages("ListEndpointConfigs", "EndpointConfigs")),
        models=frozenset(m["ModelName"] for m in api.pages("ListModels", "Models")),
        buckets=frozenset(buckets(api)),
    )


def clear(api: Api, keep: Inventory | None = None) -> None:
    """Delete what is not in `keep`, endpoints first, and wait until they are gone. What is gone already is fine."""
    kept = keep or Inventory()
    now = inventory(api)
    endpoints = sorted(now.endpoints - kept.endpoints)
    for name in endpoints:
        _delete_endpoint(api, name)
    for name in endpoints:
        wait_gone(api, name)
    for name in now.configs - kept.configs:
        _ignoring_gone(api, "DeleteEndpointConfig", EndpointConfigName=name)
    for name in now.models - kept.models:
        _ignoring_gone(api, "DeleteModel", ModelName=name)
    for name in now.buckets - kept.buckets:
        _delete_bucket(api, name)


def buckets(api: Api) -> list[str]:
    """The names of all buckets."""
    return [name.decode() for name in _NAME.findall(api.s3("GET", "/").body)]


def _delete_endpoint(api: Api, name: str) -> None:
    """One in transition refuses; the server holds a Describe until it has settled."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        try:
            status = api.sagemaker("DescribeEndpoint", EndpointName=name)["EndpointStatus"]
            if status != "Deleting":
                api.sagemaker("DeleteEndpoint", EndpointName=name)
        except ApiError as error:
            if error.code is Exit.NOT_FOUND:
                return
            if "in-progress" not in error.message or time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


def _ignoring_gone(api: Api, operation: str, **members: str) -> None:
    try:
        api.sagemaker(operation, **members)
    except ApiError as error:
        if error.code is not Exit.NOT_FOUND:
            raise


def _delete_bucket(api: Api, bucket: str) -> None:
    query = urlencode({"versions": "", "encoding-type": "url"})
    while found := _VERSION.findall(api.s3("GET", f"/{bucket}", query=query).body):
        for key, version in found:
            # Listed percent-encoded, with + for a space; the path wants its own form.
            path = quote(unquote_plus(key.decode()))
            api.s3("DELETE", f"/{bucket}/{path}", query=urlencode({"versionId": version.decode()}))
    api.s3("DELETE", f"/{bucket}")
