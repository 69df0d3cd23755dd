"""Deleting objects, one or up to a thousand, and versions of them."""

from __future__ import annotations

from typing import Any

from clary.domain.errors import DomainError
from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.protocols import rest_xml
from clary.edge.aws.s3 import describe
from clary.edge.aws.s3.errors import NULL_VERSION, S3Error, from_domain
from clary.edge.aws.s3.service import Service
from clary.objects import versions
from clary.objects.records import NO_CONDITION, Condition
from clary.objects.versions import Deleted, Target

_DELETES_MAX = 1000


async def delete_object(s3: Service, call: Call, members: Members) -> Answer:
    target = Target(members["Key"], describe.version_of(members))
    condition = describe.write_condition(members)
    await s3.run(s3.enter, call, members)
    [deleted] = await s3.run(versions.delete, s3.store, members["Bucket"], [target], condition)
    answer: dict[str, Any] = {}
    if deleted.version is not None:
        answer["VersionId"] = deleted.version or NULL_VERSION
    if deleted.marker:
        answer["DeleteMarker"] = True
    return Answer(answer)


async def delete_objects(s3: Service, call: Call, members: Members) -> Answer:
    wanted = members.get("Delete", {})
    targets = wanted.get("Objects", [])
    if not targets or len(targets) > _DELETES_MAX or any(not target.get("Key") for target in targets):
        raise S3Error("MalformedXML")
    await s3.run(s3.enter, call, members)
    deleted, errors = await s3.run(_delete_each, s3, members["Bucket"], targets)
    return Answer({"Deleted": [] if wanted.get("Quiet") else deleted, "Errors": errors})


def _delete_each(s3: Service, bucket: str, targets: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Unconditional deletes in one transaction, the others each by itself."""
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    plain: list[Target] = []
    for target in targets:
        named = {name: target[name] for name in ("Key", "VersionId") if target.get(name)}
        try:
            one = Target(target["Key"], describe.version_of(named))
            if "ETag" in target:
                condition = Condition(describe.unquoted(target["ETag"]))
                deleted += _told([one], versions.delete(s3.store, bucket, [one], condition))
            else:
                plain.append(one)
        except DomainError as error:
            refused = from_domain(error)
            errors.append({**named, "Code": refused.code, "Message": refused.message})
    return deleted + _told(plain, versions.delete(s3.store, bucket, plain, NO_CONDITION)), errors


def _told(targets: list[Target], done: list[Deleted]) -> list[dict[str, Any]]:
    """What is told of deletes. Of a key that XML cannot hold nothing, as if it were asked for quietly: botocore refuses
    the whole answer over such a key."""
    told: list[dict[str, Any]] = []
    for target, deleted in zip(targets, done, strict=True):
        if not rest_xml.sendable(target.key):
            continue
        entry: dict[str, Any] = {"Key": target.key}
        if target.version is not None:
            entry["VersionId"] = target.version or NULL_VERSION
        if deleted.marker:
            entry.update(DeleteMarker=True, DeleteMarkerVersionId=deleted.version or NULL_VERSION)
        told.append(entry)
    return told
