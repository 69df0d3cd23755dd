"""Buckets: create, head, list, delete, where they are."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from clary.domain.errors import AlreadyExists
from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3.describe import check_acl, instant
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.service import Service, owner
from clary.edge.aws.s3.tagsets import BUCKET_TAGS_MAX, document_tags
from clary.objects.names import bucket_allowed
from clary.objects.records import Bucket
from clary.objects.store import bucket_arn

_DEFAULT_REGION = "us-east-1"
"""The region that has no location constraint, and where creating one's own bucket again succeeds."""
_EU = "EU"
"""The old name of eu-west-1, which S3 still takes."""
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_BUCKETS_MAX = 10_000


async def create_bucket(s3: Service, call: Call, members: Members) -> Answer:
    name = members["Bucket"]
    check_acl(members)
    if members.get("ObjectOwnership", "BucketOwnerEnforced") != "BucketOwnerEnforced":
        raise S3Error("NotImplemented", "Clary serves only the object ownership BucketOwnerEnforced.")
    wanted = members.get("CreateBucketConfiguration", {})
    region = _region(call, wanted.get("LocationConstraint"))
    tags = document_tags({"TagSet": wanted.get("Tags", [])}, BUCKET_TAGS_MAX)
    if not bucket_allowed(name):
        raise S3Error("InvalidBucketName", BucketName=name)
    await s3.run(_create, s3, call, name, region, tags)
    return Answer({"Location": f"/{name}", "BucketArn": bucket_arn(name)})


def _create(s3: Service, call: Call, name: str, region: str, tags: Mapping[str, str]) -> None:
    try:
        s3.store.create_bucket(name, call.principal.account, region, tags)
    except AlreadyExists:
        bucket = s3.store.bucket(name)
        if bucket.account != call.principal.account:
            raise S3Error("BucketAlreadyExists", BucketName=name) from None
        if bucket.region != _DEFAULT_REGION or region != _DEFAULT_REGION:
            raise S3Error("BucketAlreadyOwnedByYou", BucketName=name) from None


def _region(call: Call, constraint: str | None) -> str:
    """The new bucket's region: the constraint, which must be the endpoint's own except at us-east-1's."""
    here = call.scope.region
    if constraint is None:
        if here != _DEFAULT_REGION:
            raise S3Error("IllegalLocationConstraintException")
        return here
    if constraint == _EU:
        constraint = "eu-west-1"
    if constraint == _DEFAULT_REGION or not _REGION.fullmatch(constraint):
        raise S3Error("InvalidLocationConstraint", LocationConstraint=constraint)
    if here not in (_DEFAULT_REGION, constraint):
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was "
            "sent to.",
        )
    return constraint


async def head_bucket(s3: Service, call: Call, members: Members) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    return Answer({"BucketRegion": bucket.region, "AccessPointAlias": False, "BucketArn": bucket_arn(bucket.name)})


async def get_bucket_location(s3: Service, call: Call, members: Members) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    return Answer({"LocationConstraint": "" if bucket.region == _DEFAULT_REGION else bucket.region})


async def delete_bucket(s3: Service, call: Call, members: Members) -> Answer:
    await s3.run(s3.enter, call, members)
    await s3.run(s3.store.delete_bucket, members["Bucket"])
    return Answer({})


async def list_buckets(s3: Service, call: Call, members: Members) -> Answer:
    count_max = members.get("MaxBuckets", _BUCKETS_MAX)
    if not 1 <= count_max <= _BUCKETS_MAX:
        raise S3Error("InvalidArgument", "Argument max-buckets must be an integer between 1 and 10000")
    prefix, region = members.get("Prefix", ""), members.get("BucketRegion")
    after = _read_token(members.get("ContinuationToken"))
    found = [
        bucket
        for bucket in await s3.run(s3.store.buckets)
        if bucket.account == call.principal.account
        and bucket.name.startswith(prefix)
        and region in (None, bucket.region)
        and bucket.name > after
    ]
    answer: dict[str, Any] = {
        "Buckets": [_entry(bucket) for bucket in found[:count_max]],
        "Owner": owner(call.principal.account),
    }
    if "Prefix" in members:
        answer["Prefix"] = prefix
    if len(found) > count_max:
        answer["ContinuationToken"] = base64.urlsafe_b64encode(found[count_max - 1].name.encode()).decode()
    return Answer(answer)


def _entry(bucket: Bucket) -> dict[str, Any]:
    return {
        "Name": bucket.name,
        "CreationDate": instant(bucket.created_us),
        "BucketRegion": bucket.region,
        "BucketArn": bucket_arn(bucket.name),
    }


def _read_token(token: str | None) -> str:
    try:
        return base64.b64decode((token or "").encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
