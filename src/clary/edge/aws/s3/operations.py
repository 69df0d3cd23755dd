"""The served operations as a table: the S3 door calls from it, the documentation is made from it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from clary.edge.aws.operation import Answer, Call, Members, Operation
from clary.edge.aws.s3 import buckets, copies, cors, deletes, listing, multipart, objects, tagging, versioning
from clary.edge.aws.s3.fields import FIELDS, notes
from clary.edge.aws.s3.service import Service

_HANDLERS: dict[str, Callable[[Service, Call, Members], Awaitable[Answer]]] = {
    "AbortMultipartUpload": multipart.abort_multipart_upload,
    "CompleteMultipartUpload": multipart.complete_multipart_upload,
    "CopyObject": copies.copy_object,
    "CreateBucket": buckets.create_bucket,
    "CreateMultipartUpload": multipart.create_multipart_upload,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteBucketCors": cors.delete_bucket_cors,
    "DeleteBucketTagging": tagging.delete_bucket_tagging,
    "DeleteObject": deletes.delete_object,
    "DeleteObjectTagging": tagging.delete_object_tagging,
    "DeleteObjects": deletes.delete_objects,
    "GetBucketCors": cors.get_bucket_cors,
    "GetBucketLocation": buckets.get_bucket_location,
    "GetBucketTagging": tagging.get_bucket_tagging,
    "GetBucketVersioning": versioning.get_bucket_versioning,
    "GetObject": objects.get_object,
    "GetObjectAttributes": objects.get_object_attributes,
    "GetObjectTagging": tagging.get_object_tagging,
    "HeadBucket": buckets.head_bucket,
    "HeadObject": objects.head_object,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": multipart.list_multipart_uploads,
    "ListObjectVersions": versioning.list_object_versions,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListParts": multipart.list_parts,
    "PutBucketCors": cors.put_bucket_cors,
    "PutBucketTagging": tagging.put_bucket_tagging,
    "PutBucketVersioning": versioning.put_bucket_versioning,
    "PutObject": objects.put_object,
    "PutObjectTagging": tagging.put_object_tagging,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": multipart.upload_part_copy,
}


def operations(s3: Service) -> tuple[Operation, ...]:
    """Every served operation, its handler bound to `s3`. The handlers answer with `Answer`, never bare members."""
    return tuple(
        Operation("s3", name, functools.partial(handler, s3), FIELDS[name], notes(name))
        for name, handler in _HANDLERS.items()
    )
