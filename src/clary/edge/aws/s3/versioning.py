"""Versions: whether a bucket keeps them, and listing them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
"""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import quote

import msgspec

from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3.errors import NULL_VERSION, S3Error
from clary.edge.aws.s3.listing import described, encoding_of
from clary.edge.aws.s3.service import Service, owner
from clary.objects import versions
from clary.objects.records import ENABLED, SUSPENDED, Bucket, VersionEntry
from clary.objects.versions import VersionListing


async def get_bucket_versioning(s3: Service, call: Call, members: Members) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    return Answer({"Status": bucket.versioning} if bucket.versioning else {})


async def put_bucket_versioning(s3: Service, call: Call, members: Members) -> Answer:
    wanted = members.get("VersioningConfiguration", {})
    if wanted.get("MFADelete", "Disabled") != "Disabled":
        raise S3Error("NotImplemented", "MFA Delete is not served by Clary.", Header="MfaDelete")
    status = wanted.get("Status")
    if status not in (ENABLED, SUSPENDED):
        raise S3Error("IllegalVersioningConfigurationException")
    bucket = await s3.run(s3.enter, call, members)
    await s3.run(s3.store.change_bucket, bucket.name, functools.partial(_versioned, status))
    return Answer({})


def _versioned(status: str, bucket: Bucket) -> Bucket:
    return msgspec.structs.replace(bucket, versioning=status)


async def list_object_versions(s3: Service, call: Call, members: Members) -> Answer:
    count_max = s3.page_size(members.get("MaxKeys"), "max-keys")
    encoding = encoding_of(members)
    prefix, delimiter = members.get("Prefix", ""), members.get("Delimiter", "")
    key_marker, version_marker = members.get("KeyMarker", ""), members.get("VersionIdMarker", "")
    if version_marker and not key_marker:
        raise S3Error(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_marker,
        )
    await s3.run(s3.enter, call, members)
    found = VersionListing((), (), "", None, truncated=False)
    if count_max > 0:
        after = "" if version_marker == NULL_VERSION else version_marker or None
        found = await s3.run(
            versions.page, s3.store, members["Bucket"], prefix=prefix, delimiter=delimiter, after_key=key_marker,
            after_version=after, count_max=count_max,
        )  # fmt: skip

    def text(key: str) -> str:
        return quote(key, safe="/") if encoding else key

    account = call.principal.account
    answer: dict[str, Any] = {
        "Name": members["Bucket"],
        "Prefix": text(prefix),
        "KeyMarker": text(key_marker),
        "VersionIdMarker": version_marker,
        "MaxKeys": count_max,
        "IsTruncated": found.truncated,
        "Versions": [_version(one, members, account) for one in found.versions if not one.marker],
        "DeleteMarkers": [_marker(one, members, account) for one in found.versions if one.marker],
        "CommonPrefixes": [{"Prefix": text(common)} for common in found.prefixes],
    }
    if delimiter:
        answer["Delimiter"] = text(delimiter)
    if encoding:
        answer["EncodingType"] = encoding
    if found.truncated:
        answer["NextKeyMarker"] = text(found.next_key)
        if found.next_version is not None:
            answer["NextVersionIdMarker"] = found.next_version or NULL_VERSION
    return Answer(answer)


def _version(one: VersionEntry, members: Members, account: str) -> dict[str, Any]:
    return {
        **described(one.entry, members),
        "VersionId": one.version or NULL_VERSION,
        "IsLatest": one.latest,
        "Owner": owner(account),
    }


def _marker(one: VersionEntry, members: Members, account: str) -> dict[str, Any]:
    listed = _version(one, members, account)
    return {name: listed[name] for name in ("Key", "VersionId", "IsLatest", "LastModified", "Owner")}
