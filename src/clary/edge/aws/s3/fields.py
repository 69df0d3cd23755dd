"""How each input field of each served S3 operation is treated, and why some are stored or refused.

Headers and query members outside an operation's model are ignored, as S3 does.
"""

from __future__ import annotations

from collections.abc import Mapping

from clary.edge.aws.operation import Field

_SERVED_EVERYWHERE = ("Bucket", "Key", "ExpectedBucketOwner", "RequestPayer")

_SSE_C = "Clary does not encrypt objects yet: a customer's key would be taken and not used."
_SSE = "Stored and returned; objects are not encrypted yet."
_ACL = "Buckets enforce ownership by their account, as new buckets of S3 do; ACL grants are not served."
_LOCK = "Object Lock is not served."
_DIRECTORY = "Directory buckets are not served."
_MFA = "MFA Delete is not served."
_REPLAY = "Stored and returned; there is no website endpoint that would follow it."
_CLASS = "Stored and returned; every class is kept, and read, alike."

_NOTES: Mapping[str, str] = {
    "AnnotationDirective": "Object annotations are not served.",
    "BucketKeyEnabled": _SSE,
    "BucketNamespace": "Account-regional bucket namespaces are not served.",
    "BypassGovernanceRetention": _LOCK,
    "CopySourceSSECustomerAlgorithm": _SSE_C,
    "CopySourceSSECustomerKey": _SSE_C,
    "CopySourceSSECustomerKeyMD5": _SSE_C,
    "CreateBucketConfiguration.Bucket": _DIRECTORY,
    "CreateBucketConfiguration.Location": _DIRECTORY,
    "Delete.Objects[].LastModifiedTime": _DIRECTORY,
    "Delete.Objects[].Size": _DIRECTORY,
    "GrantFullControl": _ACL,
    "GrantRead": _ACL,
    "GrantReadACP": _ACL,
    "GrantWrite": _ACL,
    "GrantWriteACP": _ACL,
    "IfMatchInitiatedTime": _DIRECTORY,
    "IfMatchLastModifiedTime": _DIRECTORY,
    "IfMatchSize": _DIRECTORY,
    "MFA": _MFA,
    "ObjectLockEnabledForBucket": _LOCK,
    "ObjectLockEventHold": _LOCK,
    "ObjectLockEventHoldDurationDays": _LOCK,
    "ObjectLockEventHoldDurationYears": _LOCK,
    "ObjectLockLegalHoldStatus": _LOCK,
    "ObjectLockMode": _LOCK,
    "ObjectLockRetainUntilDate": _LOCK,
    "SSECustomerAlgorithm": _SSE_C,
    "SSECustomerKey": _SSE_C,
    "SSECustomerKeyMD5": _SSE_C,
    "SSEKMSEncryptionContext": _SSE,
    "SSEKMSKeyId": _SSE,
    "ServerSideEncryption": _SSE,
    "StorageClass": _CLASS,
    "WebsiteRedirectLocation": _REPLAY,
    "WriteOffsetBytes": _DIRECTORY,
}

_STORED = (
    "BucketKeyEnabled",
    "ServerSideEncryption",
    "SSEKMSEncryptionContext",
    "SSEKMSKeyId",
    "StorageClass",
    "WebsiteRedirectLocation",
)
_CUSTOMER_KEY = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")
_SOURCE_KEY = ("CopySourceSSECustomerAlgorithm", "CopySourceSSECustomerKey", "CopySourceSSECustomerKeyMD5")
_GRANTS = ("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWriteACP")
_LOCKS = (
    "ObjectLockEventHold",
    "ObjectLockEventHoldDurationDays",
    "ObjectLockEventHoldDurationYears",
    "ObjectLockLegalHoldStatus",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
)
_DESCRIBING = (
    "ACL",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "Metadata",
    "Tagging",
)
_CHECKSUMS = tuple(
    f"Checksum{name}"
    for name in ("CRC32", "CRC32C", "CRC64NVME", "MD5", "SHA1", "SHA256", "SHA512", "XXHASH128", "XXHASH3", "XXHASH64")
)
_DIGESTED = ("ChecksumAlgorithm", "ContentMD5")
_READ_CONDITIONS = ("IfMatch", "IfModifiedSince", "IfNoneMatch", "IfUnmodifiedSince")
_WRITE_CONDITIONS = ("IfMatch", "IfNoneMatch")
_SOURCE_CONDITIONS = tuple(f"CopySource{name}" for name in _READ_CONDITIONS)
_READ = (
    *_READ_CONDITIONS,
    "ChecksumMode",
    "PartNumber",
    "Range",
    "ResponseCacheControl",
    "ResponseContentDisposition",
    "ResponseContentEncoding",
    "ResponseContentLanguage",
    "ResponseContentType",
    "ResponseExpires",
    "VersionId",
)


def _fields(
    served: tuple[str, ...] = (), stored: tuple[str, ...] = (), refused: tuple[str, ...] = ()
) -> Mapping[str, Field]:
    table = dict.fromkeys((*_SERVED_EVERYWHERE, *served), Field.SERVED)
    table.update(dict.fromkeys(stored, Field.STORED))
    table.update(dict.fromkeys(refused, Field.REFUSED))
    return table


FIELDS: Mapping[str, Mapping[str, Field]] = {
    "AbortMultipartUpload": _fields(("UploadId",), refused=("IfMatchInitiatedTime",)),
    "CompleteMultipartUpload": _fields(
        ("MultipartUpload", "UploadId", "ChecksumType", "MpuObjectSize", *_CHECKSUMS, *_WRITE_CONDITIONS),
        refused=_CUSTOMER_KEY,
    ),
    "CopyObject": _fields(
        (
            "ChecksumAlgorithm",
            "CopySource",
            "ExpectedSourceBucketOwner",
            "MetadataDirective",
            "TaggingDirective",
            *_DESCRIBING,
            *_SOURCE_CONDITIONS,
            *_WRITE_CONDITIONS,
        ),
        _STORED,
        (*_GRANTS, *_CUSTOMER_KEY, *_SOURCE_KEY, *_LOCKS, "AnnotationDirective"),
    ),
    "CreateBucket": _fields(
        (
            "ACL",
            "CreateBucketConfiguration.LocationConstraint",
            "CreateBucketConfiguration.Tags",
            "ObjectOwnership",
        ),
        refused=(
            "CreateBucketConfiguration.Bucket",
            "CreateBucketConfiguration.Location",
            *_GRANTS,
            "GrantWrite",
            "ObjectLockEnabledForBucket",
            "BucketNamespace",
        ),
    ),
    "CreateMultipartUpload": _fields(
        ("ChecksumAlgorithm", "ChecksumType", *_DESCRIBING), _STORED, (*_GRANTS, *_CUSTOMER_KEY, *_LOCKS)
    ),
    "DeleteBucket": _fields(),
    "DeleteBucketCors": _fields(),
    "DeleteBucketTagging": _fields(),
    "DeleteObject": _fields(
        ("IfMatch", "VersionId"),
        refused=("MFA", "BypassGovernanceRetention", "IfMatchLastModifiedTime", "IfMatchSize"),
    ),
    "DeleteObjectTagging": _fields(("VersionId",)),
    "DeleteObjects": _fields(
        (
            "ChecksumAlgorithm",
            "Delete.Objects[].ETag",
            "Delete.Objects[].Key",
            "Delete.Objects[].VersionId",
            "Delete.Quiet",
        ),
        refused=(
            "Delete.Objects[].LastModifiedTime",
            "Delete.Objects[].Size",
            "MFA",
            "BypassGovernanceRetention",
        ),
    ),
    "GetBucketCors": _fields(),
    "GetBucketLocation": _fields(),
    "GetBucketTagging": _fields(),
    "GetBucketVersioning": _fields(),
    "GetObject": _fields(_READ, refused=_CUSTOMER_KEY),
    "GetObjectAttributes": _fields(
        ("MaxParts", "ObjectAttributes", "PartNumberMarker", "VersionId"), refused=_CUSTOMER_KEY
    ),
    "GetObjectTagging": _fields(("VersionId",)),
    "HeadBucket": _fields(),
    "HeadObject": _fields(_READ, refused=_CUSTOMER_KEY),
    "ListBuckets": _fields(("BucketRegion", "ContinuationToken", "MaxBuckets", "Prefix")),
    "ListMultipartUploads": _fields(
        ("Delimiter", "EncodingType", "KeyMarker", "MaxUploads", "Prefix", "UploadIdMarker")
    ),
    "ListObjectVersions": _fields(
        (
            "Delimiter",
            "EncodingType",
            "KeyMarker",
            "MaxKeys",
            "OptionalObjectAttributes",
            "Prefix",
            "VersionIdMarker",
        )
    ),
    "ListObjects": _fields(("Delimiter", "EncodingType", "Marker", "MaxKeys", "OptionalObjectAttributes", "Prefix")),
    "ListObjectsV2": _fields(
        (
            "ContinuationToken",
            "Delimiter",
            "EncodingType",
            "FetchOwner",
            "MaxKeys",
            "OptionalObjectAttributes",
            "Prefix",
            "StartAfter",
        )
    ),
    "ListParts": _fields(("MaxParts", "PartNumberMarker", "UploadId"), refused=_CUSTOMER_KEY),
    "PutBucketCors": _fields(("CORSConfiguration", *_DIGESTED)),
    "PutBucketTagging": _fields(("Tagging", *_DIGESTED)),
    "PutBucketVersioning": _fields(("VersioningConfiguration", *_DIGESTED), refused=("MFA",)),
    "PutObject": _fields(
        (
            "Body",
            "ChecksumAlgorithm",
            "ContentLength",
            "ContentMD5",
            *_CHECKSUMS,
            *_DESCRIBING,
            *_WRITE_CONDITIONS,
        ),
        _STORED,
        (*_GRANTS, *_CUSTOMER_KEY, *_LOCKS, "WriteOffsetBytes"),
    ),
    "PutObjectTagging": _fields(("Tagging", "VersionId", *_DIGESTED)),
    "UploadPart": _fields(
        ("Body", "ChecksumAlgorithm", "ContentLength", "ContentMD5", "PartNumber", "UploadId", *_CHECKSUMS),
        refused=_CUSTOMER_KEY,
    ),
    "UploadPartCopy": _fields(
        ("CopySource", "CopySourceRange", "ExpectedSourceBucketOwner", "PartNumber", "UploadId", *_SOURCE_CONDITIONS),
        refused=(*_CUSTOMER_KEY, *_SOURCE_KEY),
    ),
}


def notes(operation: str) -> Mapping[str, str]:
    """The reasons for the stored and refused fields of one operation."""
    return {path: _NOTES[path] for path, field in FIELDS[operation].items() if field is not Field.SERVED}
