"""S3's errors: codes, statuses and texts, and which of them the store's own refusals become.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; texts as the service sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

from clary.domain.errors import DomainError, Invalid, NotFound
from clary.edge.aws.protocols.rest_xml import element
from clary.objects.errors import (
    BucketNotEmpty,
    DigestMismatch,
    Hidden,
    IsMarker,
    PartNotFound,
    PartsOutOfOrder,
    PartTooSmall,
    PreconditionFailed,
)

_KNOWN: Mapping[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
    "AccessDenied": (403, "Access Denied"),
    "AccessForbidden": (403, "CORSResponse: This CORS request is not allowed."),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match what the server received."),
    "BadRequest": (400, "Bad Request"),
    "BucketAlreadyExists": (
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
        "Please select a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": (
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed size"),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
    "IllegalLocationConstraintException": (
        400,
        "The unspecified location constraint is incompatible for the region specific endpoint this request was sent "
        "to.",
    ),
    "IllegalVersioningConfigurationException": (
        400,
        "The Versioning element must be specified",
    ),
    "IncompleteBody": (
        400,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    ),
    "IncorrectNumberOfFilesInPostRequest": (400, "POST requires exactly one file upload per request."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidChunkSizeError": (403, "Only the last chunk is allowed to have a size less than 8192 bytes"),
    "InvalidDigest": (400, "The Content-MD5 you specified was invalid."),
    "InvalidEncryptionAlgorithmError": (
        400,
        "The encryption request you specified is not valid. Supported values: AES256, aws:kms, aws:kms:dsse.",
    ),
    "InvalidLocationConstraint": (400, "The specified location-constraint is not valid"),
    "InvalidPart": (
        400,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag.",
    ),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order. Parts must be ordered by part number."),
    "InvalidPolicyDocument": (400, "The content of the form does not meet the conditions specified in the policy."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidStorageClass": (400, "The storage class you specified is not valid"),
    "InvalidTag": (400, "The tag provided was not a valid tag"),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedPOSTRequest": (400, "The body of your POST request is not well-formed multipart/form-data."),
    "MalformedTrailerError": (
        400,
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    ),
    "MalformedXML": (
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MaxPostPreDataLengthExceeded": (400, "Your POST request fields preceding the upload file were too large."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size"),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchTagSet": (404, "The TagSet does not exist"),
    "NoSuchUpload": (
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
    ),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NotImplemented": (501, "A header you provided implies functionality that is not implemented"),
    "NotModified": (304, "Not Modified"),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period. Idle "
        "connections will be closed.",
    ),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
    ),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
}


NULL_VERSION = "null"
"""How S3 calls the version of what was written without versioning."""


class S3Error(Exception):
    """An answer in S3's error form. `details` become elements of the document, in their order."""

    def __init__(self, code: str, message: str = "", /, **details: str) -> None:
        super().__init__(code)
        self.code = code
        self.status, text = _KNOWN[code]
        self.message = message or text
        self.details = details
        self.headers: dict[str, str] = {}

    def document(self, resource: str, request_id: str, host_id: str) -> bytes:
        """The XML body. S3 errors have no namespace."""
        facts = {
            "Code": self.code,
            "Message": self.message,
            **self.details,
            "Resource": resource,
            "RequestId": request_id,
            "HostId": host_id,
        }
        inner = "".join(element(name, value) for name, value in facts.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def from_domain(error: DomainError) -> S3Error:
    """What S3 says for a refusal of the store."""
    match error:
        case NotFound(kind="bucket"):
            return S3Error("NoSuchBucket", BucketName=error.name)
        case NotFound(kind="upload"):
            return S3Error("NoSuchUpload", UploadId=error.name)
        case NotFound(kind="version"):
            return S3Error("NoSuchVersion", Key=error.name)
        case Hidden():
            return _of_marker(S3Error("NoSuchKey", Key=error.name), error.version)
        case NotFound():
            return S3Error("NoSuchKey", Key=error.name)
        case IsMarker():
            refusal = S3Error("MethodNotAllowed", Method="GET", ResourceType="DeleteMarker")
            refusal.headers.update({"Allow": "DELETE", "Last-Modified": http_date(error.modified_us)})
            return _of_marker(refusal, error.version)
        case BucketNotEmpty():
            return S3Error("BucketNotEmpty", BucketName=error.name)
        case PreconditionFailed():
            return S3Error("PreconditionFailed", Condition=error.condition)
        case PartNotFound():
            return S3Error("InvalidPart", UploadId=error.upload_id, PartNumber=str(error.number), ETag=error.etag)
        case PartsOutOfOrder():
            return S3Error("InvalidPartOrder", UploadId=error.upload_id)
        case PartTooSmall():
            return S3Error(
                "EntityTooSmall",
                ProposedSize=str(error.size),
                MinSizeAllowed=str(error.size_min),
                PartNumber=str(error.number),
                ETag=error.etag,
            )
        case DigestMismatch():
            return digest_mismatch(error)
        case Invalid():
            return S3Error("InvalidRequest", error.message)
        case _:
            raise error


def _of_marker(error: S3Error, version: str) -> S3Error:
    """The same, with the headers that tell of a delete marker."""
    error.headers.update({"x-amz-delete-marker": "true", "x-amz-version-id": version or NULL_VERSION})
    return error


def http_date(at_us: int) -> str:
    """An instant in whole seconds, as HTTP writes it."""
    return formatdate(at_us // 1_000_000, usegmt=True)


def digest_mismatch(error: DigestMismatch) -> S3Error:
    """BadDigest in the words S3 has for the digest in question."""
    if error.header == "content-md5":
        return S3Error(
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
            ExpectedDigest=error.expected,
            CalculatedDigest=error.actual,
        )
    if error.header == "x-amz-content-sha256":
        return S3Error(
            "XAmzContentSHA256Mismatch",
            ClientComputedContentSHA256=error.expected,
            S3ComputedContentSHA256=error.actual,
        )
    algorithm = error.header.removeprefix("x-amz-checksum-").upper()
    return S3Error("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
