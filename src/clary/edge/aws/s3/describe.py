"""What an object's headers say: from a request into the store, and back into answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from clary.edge.aws.operation import Members
from clary.edge.aws.s3.errors import NULL_VERSION, S3Error
from clary.edge.aws.s3.tagsets import OBJECT_TAGS_MAX, header_tags
from clary.objects.checksums import ALGORITHMS
from clary.objects.records import FULL_OBJECT, Attributes, Bucket, Checksum, Condition, ObjectRecord, Upload

METADATA_BYTES_MAX = 2048
"""Names and values of user metadata together (S3 user guide, "Working with object metadata")."""

_STORED = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "Expires": "expires",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
}
"""Members kept as text, by the name they have in a record."""

_ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled")
_ENCRYPTIONS = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})
_STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
    }
)
_ACLS = frozenset({"private", "bucket-owner-full-control"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at_us: int) -> datetime:
    """A persisted instant in whole seconds: S3 keeps no finer ones."""
    return _EPOCH + timedelta(seconds=at_us // 1_000_000)


def attributes(members: Members) -> Attributes:
    """What a write says of its object; S3Error for a value S3 refuses."""
    check_acl(members)
    headers = {}
    for member, header in _STORED.items():
        value = members.get(member)
        if value is not None:
            headers[header] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    encoding = _without_chunking(headers.pop("content-encoding", ""))
    if encoding:
        headers["content-encoding"] = encoding
    headers.setdefault("content-type", "binary/octet-stream")
    _check_encryption(headers)
    user = dict(members.get("Metadata", {}))
    if sum(len(name.encode()) + len(value.encode()) for name, value in user.items()) > METADATA_BYTES_MAX:
        raise S3Error("MetadataTooLarge", MaxSizeAllowed=str(METADATA_BYTES_MAX))
    storage_class = members.get("StorageClass", "STANDARD")
    if storage_class not in _STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)
    return Attributes(headers, user, storage_class, header_tags(members.get("Tagging", ""), OBJECT_TAGS_MAX))


def check_acl(members: Members) -> None:
    """Refuse an ACL that would give somebody else access."""
    if members.get("ACL", "private") not in _ACLS:
        raise S3Error("AccessControlListNotSupported")


def record_members(record: ObjectRecord) -> dict[str, Any]:
    """Members of GetObject's and HeadObject's outputs that do not depend on what of it was asked for."""
    members: dict[str, Any] = {
        member: record.headers[header] for member, header in _STORED.items() if header in record.headers
    }
    members.update(
        AcceptRanges="bytes", LastModified=instant(record.modified_us), ETag=f'"{record.etag}"', Metadata=record.user
    )
    if record.storage_class != "STANDARD":
        members["StorageClass"] = record.storage_class
    if record.tags:
        members["TagCount"] = len(record.tags)
    return members


def encryption_members(record: ObjectRecord | Upload | Attributes) -> dict[str, str]:
    """Members of a write's answer that repeat how the object is (said to be) encrypted."""
    return {name: record.headers[_STORED[name]] for name in _ENCRYPTION if _STORED[name] in record.headers}


def checksum_members(checksum: Checksum | None) -> dict[str, str]:
    """`ChecksumCRC32` (or another) and `ChecksumType`; empty where there is none."""
    if checksum is None:
        return {}
    return {f"Checksum{checksum.algorithm}": checksum.value, "ChecksumType": checksum.kind}


def given_checksum(members: Members) -> Checksum | None:
    """The checksum among members named `Checksum<algorithm>`; of unknown kind, so FULL_OBJECT."""
    for algorithm in ALGORITHMS:
        value = members.get(f"Checksum{algorithm}")
        if value is not None:
            return Checksum(algorithm, value, FULL_OBJECT)
    return None


def write_condition(members: Members) -> Condition:
    """If-Match and If-None-Match of a write; S3Error for what S3 does not serve either."""
    absent = members.get("IfNoneMatch")
    if absent is not None and absent.strip() != "*":
        raise S3Error("NotImplemented", "If-None-Match on a write takes only *.", Header="If-None-Match")
    match = members.get("IfMatch")
    if match is not None and absent is not None:
        raise S3Error("NotImplemented", "If-Match and If-None-Match exclude each other on a write.", Header="If-Match")
    return Condition(None if match is None else unquoted(match), absent is not None)


def unquoted(etag: str) -> str:
    """An ETag without quotes and without the mark of a weak one."""
    return etag.strip().removeprefix("W/").strip('"')


def version_of(members: Members) -> str | None:
    """The version that a request names: None for none, empty for the null version; S3Error."""
    version = members.get("VersionId")
    if version == "":
        raise S3Error("InvalidArgument", "Version id cannot be the empty string", ArgumentName="versionId")
    return "" if version == NULL_VERSION else version


def version_members(record: ObjectRecord, bucket: Bucket) -> dict[str, str]:
    """`VersionId`, where the bucket has or had versions."""
    return {"VersionId": record.version or NULL_VERSION} if bucket.versioning or record.version else {}


def _check_encryption(headers: Mapping[str, str]) -> None:
    kind = headers.get(_STORED["ServerSideEncryption"])
    if kind is not None and kind not in _ENCRYPTIONS:
        raise S3Error(
            "InvalidEncryptionAlgorithmError", ArgumentName="x-amz-server-side-encryption", ArgumentValue=kind
        )
    if _STORED["SSEKMSKeyId"] in headers and kind not in ("aws:kms", "aws:kms:dsse"):
        raise S3Error(
            "InvalidArgument",
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
            "aws:kms",
            ArgumentName="x-amz-server-side-encryption",
        )


def _without_chunking(encoding: str) -> str:
    return ",".join(part.strip() for part in encoding.split(",") if part.strip() not in ("", "aws-chunked"))
