"""Which S3 operation a request is: by method, by whether it names a bucket and a key, by sub-resource.

What is not served is named all the same, from the service model, so that the refusal can say what was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from botocore.model import ServiceModel

from clary.edge.aws.s3.address import Address
from clary.edge.aws.s3.errors import S3Error

SERVED = frozenset(
    {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteBucket",
        "DeleteBucketCors",
        "DeleteBucketTagging",
        "DeleteObject",
        "DeleteObjectTagging",
        "DeleteObjects",
        "GetBucketCors",
        "GetBucketLocation",
        "GetBucketTagging",
        "GetBucketVersioning",
        "GetObject",
        "GetObjectAttributes",
        "GetObjectTagging",
        "HeadBucket",
        "HeadObject",
        "ListBuckets",
        "ListMultipartUploads",
        "ListObjectVersions",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
        "PutBucketCors",
        "PutBucketTagging",
        "PutBucketVersioning",
        "PutObject",
        "PutObjectTagging",
        "UploadPart",
        "UploadPartCopy",
    }
)

_PLAIN = {
    ("GET", 0): "ListBuckets",
    ("PUT", 1): "CreateBucket",
    ("HEAD", 1): "HeadBucket",
    ("GET", 1): "ListObjects",
    ("DELETE", 1): "DeleteBucket",
    ("PUT", 2): "PutObject",
    ("GET", 2): "GetObject",
    ("HEAD", 2): "HeadObject",
    ("DELETE", 2): "DeleteObject",
}
"""By method and level (0 service, 1 bucket, 2 object), where no sub-resource is named."""

_BY_QUERY = {
    ("GET", 1, "list-type"): "ListObjectsV2",
    ("GET", 2, "uploadId"): "ListParts",
    ("PUT", 2, "uploadId"): "UploadPart",
    ("POST", 2, "uploadId"): "CompleteMultipartUpload",
    ("DELETE", 2, "uploadId"): "AbortMultipartUpload",
}
"""Those that the model tells apart by a query member, not by the URI."""


@dataclass(frozen=True)
class Routes:
    """Operations by (method, level, sub-resource), from the model's URIs."""

    by_subresource: Mapping[tuple[str, int, str], str]

    def operation(self, method: str, address: Address, query: Collection[str], headers: Mapping[str, str]) -> str:
        """The name of the operation; MethodNotAllowed where S3 has none."""
        level = 2 if address.key else 1 if address.bucket else 0
        named = self._named(method, level, query)
        if named is None:
            named = _PLAIN.get((method, level))
        if named in ("PutObject", "UploadPart") and "x-amz-copy-source" in headers:
            return "CopyObject" if named == "PutObject" else "UploadPartCopy"
        if named is None and method == "POST" and level == 1:
            raise S3Error("InvalidRequest", "A browser-based upload (POST Object) takes multipart/form-data, unsigned.")
        if named is None:
            raise S3Error("MethodNotAllowed", Method=method)
        return named

    def _named(self, method: str, level: int, query: Collection[str]) -> str | None:
        for name in query:
            found = self.by_subresource.get((method, level, name))
            if found is not None:
                return found
        return None


def routes(model: ServiceModel) -> Routes:
    """Read the routes out of the model. Two operations of one URI: the one of one thing stands for both."""
    found: dict[tuple[str, int, str], str] = dict(_BY_QUERY)
    for name in sorted(model.operation_names, key=_plain_first):
        http = model.operation_model(name).http
        path, _, query = http["requestUri"].partition("?")
        level = 2 if "{Key" in path else 1 if "{Bucket}" in path else 0
        for part in _subresources(query):
            found.setdefault((http["method"], level, part), name)
    return Routes(found)


def _subresources(query: str) -> Iterable[str]:
    return (part for part in query.split("&") if part and "=" not in part)


def _plain_first(name: str) -> tuple[bool, str]:
    return name.startswith("List") and not name.endswith(("Uploads", "Versions")), name
