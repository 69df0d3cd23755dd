"""Tags of objects and of buckets."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3 import describe
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.service import Service
from clary.edge.aws.s3.tagsets import BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, document_tags, tag_set
from clary.objects import versions
from clary.objects.records import Bucket


async def get_object_tagging(s3: Service, call: Call, members: Members) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    record = await s3.run(s3.store.head, bucket.name, members["Key"], describe.version_of(members))
    return Answer({"TagSet": tag_set(record.tags), **describe.version_members(record, bucket)})


async def put_object_tagging(s3: Service, call: Call, members: Members) -> Answer:
    return await _set(s3, call, members, document_tags(members.get("Tagging", {}), OBJECT_TAGS_MAX))


async def delete_object_tagging(s3: Service, call: Call, members: Members) -> Answer:
    return await _set(s3, call, members, {})


async def _set(s3: Service, call: Call, members: Members, tags: Mapping[str, str]) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    version = describe.version_of(members)
    record = await s3.run(versions.set_tags, s3.store, bucket.name, members["Key"], tags, version)
    return Answer(describe.version_members(record, bucket))


async def get_bucket_tagging(s3: Service, call: Call, members: Members) -> Answer:
    bucket = await s3.run(s3.enter, call, members)
    if not bucket.tags:
        raise S3Error("NoSuchTagSet", BucketName=bucket.name)
    return Answer({"TagSet": tag_set(bucket.tags)})


async def put_bucket_tagging(s3: Service, call: Call, members: Members) -> Answer:
    await _change(s3, call, members, document_tags(members.get("Tagging", {}), BUCKET_TAGS_MAX))
    return Answer({}, status=204)


async def delete_bucket_tagging(s3: Service, call: Call, members: Members) -> Answer:
    await _change(s3, call, members, {})
    return Answer({})


async def _change(s3: Service, call: Call, members: Members, tags: Mapping[str, str]) -> Bucket:
    bucket = await s3.run(s3.enter, call, members)
    return await s3.run(s3.store.change_bucket, bucket.name, functools.partial(_tagged, tags))


def _tagged(tags: Mapping[str, str], bucket: Bucket) -> Bucket:
    return msgspec.structs.replace(bucket, tags=tags)
