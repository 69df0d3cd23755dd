"""Cross-origin rules of buckets: which pages may use a bucket from a browser.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.service import Service
from clary.objects.records import Bucket, CorsRule

_RULES_MAX = 100
_ID_CHARACTERS_MAX = 255
_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
    "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
)


async def get_bucket_cors(s3: Service, call: Call, members: Members) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    if not bucket.cors:
        raise S3Error("NoSuchCORSConfiguration", BucketName=bucket.name)
    return Answer({"CORSRules": [_described(rule) for rule in bucket.cors]})


async def put_bucket_cors(s3: Service, call: Call, members: Members) -> Answer:
    given = members.get("CORSConfiguration", {}).get("CORSRules", [])
    if not 1 <= len(given) <= _RULES_MAX:
        raise S3Error("MalformedXML")
    return await _change(s3, call, members, tuple(_rule(rule) for rule in given))


async def delete_bucket_cors(s3: Service, call: Call, members: Members) -> Answer:
    return await _change(s3, call, members, ())


async def _change(s3: Service, call: Call, members: Members, rules: tuple[CorsRule, ...]) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    await s3.run(s3.store.change_bucket, bucket.name, functools.partial(_ruled, rules))
    return Answer({})


def _ruled(rules: tuple[CorsRule, ...], bucket: Bucket) -> Bucket:
    return msgspec.structs.replace(bucket, cors=rules)


def _rule(given: Mapping[str, Any]) -> CorsRule:
    """One rule of a configuration; S3Error."""
    origins, methods = given.get("AllowedOrigins", ()), given.get("AllowedMethods", ())
    if not origins or not methods or len(given.get("ID", "")) > _ID_CHARACTERS_MAX:
        raise S3Error("MalformedXML")
    for method in methods:
        if method not in _METHODS:
            raise S3Error(
                "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )
    for name in ("AllowedOrigin", "AllowedHeader"):
        for value in given.get(f"{name}s", ()):
            if value.count("*") > 1:
                raise S3Error("InvalidRequest", f'{name} "{value}" can not have more than one wildcard.')
    for header in given.get("ExposeHeaders", ()):
        if "*" in header:
            raise S3Error(
                "InvalidRequest",
                f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard for ExposeHeader.',
            )
    return CorsRule(
        origins=tuple(origins),
        methods=tuple(methods),
        headers=tuple(given.get("AllowedHeaders", ())),
        exposed=tuple(given.get("ExposeHeaders", ())),
        max_age_s=given.get("MaxAgeSeconds"),
        id=given.get("ID", ""),
    )


def _described(rule: CorsRule) -> dict[str, Any]:
    described: dict[str, Any] = {"AllowedMethods": rule.methods, "AllowedOrigins": rule.origins}
    if rule.id:
        described["ID"] = rule.id
    if rule.headers:
        described["AllowedHeaders"] = rule.headers
    if rule.exposed:
        described["ExposeHeaders"] = rule.exposed
    if rule.max_age_s is not None:
        described["MaxAgeSeconds"] = rule.max_age_s
    return described


def preflight(bucket: Bucket | None, headers: Mapping[str, str], *, of_object: bool) -> dict[str, str]:
    """Headers of the answer to a browser's question (`OPTIONS`); S3Error where the page may not.

    `bucket` None: there is none of that name. `headers` of the request, by lower-case name.
    """
    origin, method = headers.get("origin"), headers.get("access-control-request-method")
    if not origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    kind = "OBJECT" if of_object else "BUCKET"
    if method not in _METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}")
    asked = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    asked = [name for name in asked if name]
    if bucket is None or not bucket.cors:
        text = "Bucket not found" if bucket is None else "CORS is not enabled for this bucket."
        raise S3Error("AccessForbidden", f"CORSResponse: {text}", Method=method, ResourceType=kind)
    for rule in bucket.cors:
        found = _origin(rule, origin, method)
        if found is not None and all(any(_fits(one.lower(), name) for one in rule.headers) for name in asked):
            given = _granted(rule, found)
            if asked:
                given["Access-Control-Allow-Headers"] = ", ".join(asked)
            return given
    raise S3Error("AccessForbidden", _NOT_ALLOWED, Method=method, ResourceType=kind)


def granted(bucket: Bucket, origin: str, method: str) -> dict[str, str]:
    """Headers that let a page of `origin` read the answer to a request; empty where no rule lets it."""
    for rule in bucket.cors:
        found = _origin(rule, origin, method)
        if found is not None:
            return _granted(rule, found)
    return {}


def _granted(rule: CorsRule, origin: str) -> dict[str, str]:
    given = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": ", ".join(rule.methods),
        "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    if origin != "*":
        given["Access-Control-Allow-Credentials"] = "true"
    if rule.exposed:
        given["Access-Control-Expose-Headers"] = ", ".join(rule.exposed)
    if rule.max_age_s is not None:
        given["Access-Control-Max-Age"] = str(rule.max_age_s)
    return given


def _origin(rule: CorsRule, origin: str, method: str) -> str | None:
    """What Allow-Origin says by this rule: `*` or the page's own; None where the rule is not for it."""
    if method not in rule.methods:
        return None
    if "*" in rule.origins:
        return "*"
    return origin if any(_fits(one, origin) for one in rule.origins) else None


def _fits(pattern: str, value: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return value == pattern
    return len(value) >= len(head) + len(tail) and value.startswith(head) and value.endswith(tail)


_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,512}")


def origin_of(headers: Mapping[str, str]) -> str | None:
    """The Origin of a request, if it is one that can be repeated in a header."""
    origin = headers.get("origin", "")
    return origin if _HEADER_SAFE.fullmatch(origin) else None
