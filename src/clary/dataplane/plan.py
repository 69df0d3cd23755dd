"""From a hot head to a plan: which endpoint, which variant, what the replica is told (headers of InvokeEndpoint and of
InvokeEndpointWithResponseStream).

Rules: API reference, InvokeEndpoint, and botocore's sagemaker-runtime model, whose lengths and patterns these are.
"""

from __future__ import annotations

import re

from clary.dataplane.head import NO_VERSION, Head, Refused
from clary.dataplane.live import LiveEndpoint, Pool, Table
from clary.dataplane.tracing import Trace, trace_of
from clary.replica import frames
from clary.replica.frames import Tag

_SAGEMAKER = "x-amzn-sagemaker-"
_NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*"
_name_matches = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*\Z").match
_version_named = re.compile(r"v([1-9][0-9]{0,8})\Z").match
_id_matches = re.compile(r"\S[\x20-\x7e]*\Z").match
_ID = r"\A\S[\p{Print}]*\z"
_ASCII = r"\p{ASCII}*"
_NAME_CHARS_MAX = 63
_HEADER_CHARS_MAX = 1024
_ID_CHARS_MAX = 64

_LATER = {
    "enable-explanations": "EnableExplanations",
    "inference-component": "InferenceComponentName",
    "session-id": "SessionId",
    "target-container-hostname": "TargetContainerHostname",
    "prefix-aware-id": "PrefixAwareId",
}
"""Fields of InvokeEndpoint that Clary does not serve yet, by the rest of their header's name."""


class Plan:
    """What is to be done with every request of one head, under one snapshot."""

    __slots__ = (
        "caller", "endpoint", "logs_url", "pool", "stream", "table", "target", "tlvs", "trace", "variant", "version",
    )  # fmt: skip

    def __init__(
        self,
        table: Table,
        endpoint: LiveEndpoint,
        pool: Pool,
        tlvs: bytes,
        host: str,
        stream: bool = False,
    ):
        self.table = table
        self.endpoint = endpoint
        self.pool = pool
        self.variant = pool.only
        """None: to be drawn from `pool`."""
        self.target = ""
        """TargetVariant, empty where not given."""
        self.version = 0
        """The version in the path, 0 where none is."""
        self.tlvs = tlvs
        """The part of the REQUEST frame's header that the head decides."""
        self.caller: tuple[str, str, str] | None = None
        """ARN, key id and user agent, where a trail wants to be told; else None."""
        self.trace: Trace | None = None
        """The trace to make a span for; None where nobody wants one."""
        self.logs_url = f"http://{host}/clary/logs/{endpoint.route.name}"
        self.stream = stream
        """The answer is wanted in parts."""


def plan_of(table: Table, head: Head, account: str, region: str) -> Plan:
    """The plan of a head, or Refused with the service's ValidationError."""
    name = head.name or ""
    _check(name, "endpointName", _NAME_CHARS_MAX, _name_matches(name), _NAME)
    trace, traced = trace_of(head.headers, exported=table.snapshot.tracing)
    tlvs = frames.encode_head({**_frame_head(head), **traced})
    endpoint = table.find(account, region, name)
    if endpoint is None:
        raise not_found(name, account)
    given = head.headers.get
    if given(_SAGEMAKER + "target-model") is not None:
        raise validation(
            f"Endpoint {endpoint.route.name} is not a multi-model endpoint and does not support target model header."
        )
    target = given(_SAGEMAKER + "target-variant")
    if target is not None:
        _check(target, "targetVariant", _NAME_CHARS_MAX, _name_matches(target), _NAME)
    plan = Plan(table, endpoint, pool_of(endpoint, head.version, target or ""), tlvs, head.host, head.stream)
    plan.version, plan.target, plan.trace = head.version, target or "", trace
    return plan


def note_caller(plan: Plan, head: Head, arn: str, key_id: str) -> None:
    """Note who asks, where a trail wants to be told of the endpoint's account and region."""
    recorded = plan.table.snapshot.recorded
    if recorded and f"{plan.endpoint.route.account}/{plan.endpoint.route.region}" in recorded:
        plan.caller = arn, key_id, head.headers.get("user-agent", "")[:_HEADER_CHARS_MAX]


def pool_of(endpoint: LiveEndpoint, version: int, target: str) -> Pool:
    """The variants that a request asks for; Refused where there is none.

    `version` 0 and `target` empty: not asked for. A target is the name of a variant or, where none is named so, `vN`
    for whatever serves as version N.
    """
    if version:
        _require_live(endpoint, version)
    if target and target not in endpoint.names:
        named = _version_named(target)
        if named is None:
            names = ", ".join(endpoint.names)
            raise validation(f"Variant {target} of endpoint {endpoint.route.name} not found. It has: {names}.")
        asked = int(named[1])
        _require_live(endpoint, asked)
        if version and version != asked:
            raise validation(f"The path asks for version {version}, TargetVariant for version {asked}.")
        version, target = asked, ""
    pool = endpoint.pool(version, target)
    if not pool.variants:
        raise validation(f"Variant {target} of endpoint {endpoint.route.name} is not one of its version {version}.")
    return pool


def _require_live(endpoint: LiveEndpoint, version: int) -> None:
    """Refused unless this version serves; says what became of it."""
    if version in endpoint.versions:
        return
    route = endpoint.route
    if version == NO_VERSION:
        raise validation(
            f"Versions of endpoint {route.name} are numbers. It has 1 to {route.versions}; {route.version} is live."
        )
    what = f"Version {version} of endpoint {route.name}"
    if not 1 <= version <= route.versions:
        raise validation(f"{what} not found. It has 1 to {route.versions}; {route.version} is live.")
    if version == route.starting:
        state = "is starting and takes no requests yet"
    elif version in route.failed:
        state = "is failed: it never came into service"
    else:
        state = f"is retired; `clary rollback {route.name} --to {version}` makes it live again"
    raise validation(f"{what} {state}. Version {route.version} is live.")


def not_found(name: str, account: str) -> Refused:
    """In the words of the hosted service (public-issue)."""
    return validation(f"Endpoint {name} of account {account} not found.")


def weightless(name: str) -> Refused:
    """No variant may be drawn."""
    return validation(f"No production variant of endpoint {name} has a weight above 0.")


def validation(message: str) -> Refused:
    """The runtime API's own refusal."""
    return Refused(400, "ValidationError", message)


def _frame_head(head: Head) -> dict[int, bytes]:
    """The request's headers as TLVs, checked; every other header is stripped, as the hosted service does."""
    given = head.headers.get
    for suffix, member in _LATER.items():
        if given(_SAGEMAKER + suffix) is not None:
            raise validation(
                f"{member} (header X-Amzn-SageMaker-{suffix.title()}) is not served by Clary yet: send the request "
                "without it."
            )
    twice = sorted(name for name in head.repeated if name.startswith(_SAGEMAKER) or name == "content-type")
    if twice:
        raise validation(f"The header {twice[0]} is given more than once.")
    if head.stream and head.http10:
        raise Refused(505, "HttpVersionNotSupported", "A response stream needs HTTP/1.1.")
    tlvs: dict[int, bytes] = {Tag.STREAM: b""} if head.stream else {}
    for name, member, tag in (
        ("content-type", "contentType", Tag.CONTENT_TYPE),
        # With a stream the header Accept is the transport's own (API reference, InvokeEndpointWithResponseStream).
        (_SAGEMAKER + "accept" if head.stream else "accept", "accept", Tag.ACCEPT),
        (_SAGEMAKER + "custom-attributes", "customAttributes", Tag.CUSTOM_ATTRIBUTES),
    ):
        value = given(name)
        if value is not None:
            _check(value, member, _HEADER_CHARS_MAX, value.isascii(), _ASCII)
            tlvs[tag] = value.encode("ascii")
    inference_id = given(_SAGEMAKER + "inference-id")
    if inference_id is not None:
        _check(inference_id, "inferenceId", _ID_CHARS_MAX, _id_matches(inference_id), _ID)
        tlvs[Tag.INFERENCE_ID] = inference_id.encode("ascii")
    return tlvs


def _check(value: str, member: str, chars_max: int, matches: object, pattern: str) -> None:
    """In the words of the services' own validation."""
    if len(value) > chars_max:
        broken = f"Member must have length less than or equal to {chars_max}"
    elif not matches:
        broken = f"Member must satisfy regular expression pattern: {pattern}"
    else:
        return
    raise validation(
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {broken}"
    )
