"""The served operations as a table: the S3 door calls from it, the documentation is made from it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from clary.edge.aws.operation import Answer, Call, Members, Operation
from clary.edge.aws.s3 import buckets, listing, multipart, objects
from clary.edge.aws.s3.fields import FIELDS, notes
from clary.edge.aws.s3.service import Service

_HANDLERS: dict[str, Callable[[Service, Call, Members], Awaitable[Answer]]] = {
    "AbortMultipartUpload": multipart.abort_multipart_upload,
    "CompleteMultipartUpload": multipart.complete_multipart_upload,
    "CopyObject": objects.copy_object,
    "CreateBucket": buckets.create_bucket,
    "CreateMultipartUpload": multipart.create_multipart_upload,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteObject": objects.delete_object,
    "DeleteObjects": objects.delete_objects,
    "GetBucketLocation": buckets.get_bucket_location,
    "GetObject": objects.get_object,
    "GetObjectAttributes": objects.get_object_attributes,
    "HeadBucket": buckets.head_bucket,
    "HeadObject": objects.head_object,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": multipart.list_multipart_uploads,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListParts": multipart.list_parts,
    "PutObject": objects.put_object,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": multipart.upload_part_copy,
}


def operations(s3: Service) -> tuple[Operation, ...]:
    """Every served operation, its handler bound to `s3`. The handlers answer with `Answer`, never bare members."""
    return tuple(
        Operation("s3", name, functools.partial(handler, s3), FIELDS[name], notes(name))
        for name, handler in _HANDLERS.items()
    )
