"""Which service and operation a request means: by target header, path, action, signing scope or host; else S3.

All services share one port. What remains after the others is S3, whose requests have no mark of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from clary.edge.aws.protocols import query, rest_json
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.spec import BY_NAME, SERVICES, Service, Spec
from clary.kit.loopback import host_of
from clary.kit.sigv4 import Claim

Protocol = Literal["json", "query", "rest-json", "s3", "cbor"]
FORM = "application/x-www-form-urlencoded"

_BY_PREFIX = {service.target_prefix: service for service in SERVICES if service.target_prefix}
_BY_VERSION = {service.version: service for service in SERVICES if service.version}
_S3_SIGNING = ("s3", "s3express", "s3-object-lambda")


@dataclass(frozen=True)
class Target:
    """What a request means."""

    protocol: Protocol
    service: Service | None
    """None for S3, and for a service that Clary does not serve."""
    operation: str
    """As the client names it; empty for S3, and for a path that no operation has."""


def detect(
    spec: Spec, *, method: str, path: str, query_string: str, headers: Mapping[str, str], claim: Claim | None
) -> Target:
    """The target of a request whose body was not read yet; `action_of` completes a query request.

    `headers` by lower-case name; `path` without the query, as on the wire.
    """
    signing = claim.credential.service if claim is not None else ""
    if signing in _S3_SIGNING:
        return Target("s3", None, "")
    if "x-amz-target" in headers:
        prefix, _, operation = headers["x-amz-target"].rpartition(".")
        return Target("json", _BY_PREFIX.get(prefix), operation)
    if path.startswith("/service/"):
        parts = path.split("/")
        if len(parts) == 5 and parts[3] == "operation":
            return Target("cbor", _BY_PREFIX.get(parts[2]), parts[4])
    if signing:
        return _by_signing(spec, signing, method, path, query_string, headers)
    service = _by_version(query_string) or _by_host(headers.get("host", ""))
    if service is not None:
        return Target("query", service, "")
    return Target("s3", None, "")


def _by_signing(
    spec: Spec, signing: str, method: str, path: str, query_string: str, headers: Mapping[str, str]
) -> Target:
    for service in SERVICES:
        if service.signing != signing:
            continue
        if service.protocol == "rest-json":
            model = spec.service(service.name)
            for name in model.operation_names:
                if rest_json.matches(model.operation_model(name), method, path):
                    return Target("rest-json", service, name)
        elif service.version and (headers.get("content-type", "").startswith(FORM) or "Action=" in query_string):
            return Target("query", service, "")
    known = next((service for service in SERVICES if service.signing == signing), None)
    if known is None and headers.get("content-type", "").startswith(FORM):
        return Target("query", None, "")  # such as CloudFormation: its clients can read no refusal but XML
    return Target("json" if known is None or known.protocol != "query" else "query", known, "")


def _by_version(query_string: str) -> Service | None:
    if "Action=" not in query_string:
        return None
    try:
        return _BY_VERSION.get(query.form_fields(query_string).get("Version", ""))
    except Unreadable:
        return None


def _by_host(authority: str) -> Service | None:
    """`sts.localhost`, `monitoring.example.org`: the first label of a name that is not a bucket's."""
    first, dot, _ = host_of(authority).partition(".")
    if not dot:
        return None
    return next((service for service in BY_NAME.values() if service.version and service.signing == first), None)
