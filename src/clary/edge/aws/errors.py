"""What went wrong, in each service's code, status and words. The only module that knows them.

Where a text comes from stands beside its snapshot in `tests/unit/edge/test_aws_errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clary.domain import errors as domain
from clary.kit import sigv4

SAGEMAKER_NOUNS = {"endpoint-config": "endpoint configuration"}
"""How SageMaker's errors call a kind of resource, where not by its own name."""
SAGEMAKER_JOBS = {
    "training-job": "training job",
    "hyper-parameter-tuning-job": "hyperparameter tuning job",
}
"""Kinds whose errors have other words and codes (seen in public reports of the service's answers)."""


@dataclass(eq=False)
class AwsError(Exception):
    """An answer that is an error. Resource modules raise it where a service has a code of its own for a fact."""

    code: str
    """Error code as clients see it in `ClientError.response["Error"]["Code"]`."""
    message: str
    status: int = 400
    members: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the error's shape, by wire name."""

    @property
    def sender(self) -> bool:
        """Whether the client is at fault."""
        return self.status < 500

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def _validation_code(service: str) -> str:
    """SageMaker's control plane, CloudTrail, EventBridge and autoscaling say ValidationException; others
    ValidationError."""
    if service == "logs":
        return "InvalidParameterException"
    if service == "sns":
        return "InvalidParameter"
    named = service in ("sagemaker", "cloudtrail", "application-autoscaling", "events")
    return "ValidationException" if named else "ValidationError"


def invalid(service: str, message: str) -> AwsError:
    """A request that breaks a rule."""
    return AwsError(_validation_code(service), message)


def of_domain(service: str, error: domain.DomainError) -> AwsError:
    """The service's error for a fact of the domain."""
    if isinstance(error, domain.LimitExceeded):
        code = "ResourceLimitExceeded" if service == "sagemaker" else "LimitExceeded"
        return AwsError(code, f"The limit of {error.limit} {error.unit} for {error.what} is reached.")
    if isinstance(error, domain.AlreadyExists) and error.kind in SAGEMAKER_JOBS:
        return AwsError("ResourceInUse", _text(error))
    return invalid(service, _text(error))


def _text(error: domain.DomainError) -> str:
    if isinstance(error, (domain.NotFound, domain.AlreadyExists)) and error.kind in SAGEMAKER_JOBS:
        noun = SAGEMAKER_JOBS[error.kind]
        if isinstance(error, domain.NotFound):
            return "Requested resource not found."
        return (
            f"{noun.capitalize()} names must be unique within an AWS account and region, and a {noun} with this name "
            f"already exists ({error.arn})"
        )
    if isinstance(error, domain.NotFound):
        return f'Could not find {_noun(error.kind)} "{error.arn}".'
    if isinstance(error, domain.AlreadyExists):
        return f'Cannot create already existing {_noun(error.kind)} "{error.arn}".'
    if isinstance(error, domain.InTransition):
        return f'Cannot update in-progress {_noun(error.kind)} "{error.arn}".'
    if isinstance(error, domain.Invalid):
        return error.message
    if isinstance(error, domain.NotServed):
        return f"{error.what} is not served by Clary. {error.remedy}".rstrip()
    if isinstance(error, domain.ArtifactError):
        return f"{error.cause} {error.remedy}".rstrip()
    return str(error)


def _noun(kind: str) -> str:
    return SAGEMAKER_NOUNS.get(kind, kind)


def internal(protocol: str) -> AwsError:
    """For an exception nobody foresaw: logged by the door, never described to the client."""
    if protocol == "s3":
        return AwsError("InternalError", "We encountered an internal error. Please try again.", 500)
    return AwsError(
        "InternalFailure", "The request processing has failed because of an unknown error, exception or failure.", 500
    )


def store_away(protocol: str) -> AwsError:
    """For a database that does not answer: clients ask again (botocore retries a 503)."""
    code = "InternalError" if protocol == "s3" else "ServiceUnavailable"
    return AwsError(code, "The server's database cannot be reached now. Please try again.", 503)


DISK_FULL = "The disk that holds HOME is full. Make room on the server's machine and try again."


def disk_full(protocol: str) -> AwsError:
    """For a write that found no room: nobody's bug, and the client may say it to whoever can help."""
    return AwsError("InternalError" if protocol == "s3" else "InternalFailure", DISK_FULL, 500)


def unreadable(protocol: str, message: str) -> AwsError:
    """A body whose types do not fit."""
    return AwsError("MalformedInput" if protocol == "query" else "SerializationException", message)


def too_large(body_bytes_max: int) -> AwsError:
    return AwsError("RequestEntityTooLarge", f"The request body is longer than {body_bytes_max} bytes.", 413)


def too_slow(body_s: float) -> AwsError:
    return AwsError("RequestTimeout", f"The request body did not come within {body_s:g} seconds.", 408)


def unknown_operation(what: str) -> AwsError:
    """A request for something that no service has."""
    return AwsError("UnknownOperationException", f"{what} Clary serves what docs/reference/operations.md lists.")


def not_served(service_title: str, operation: str, protocol: str) -> AwsError:
    """An operation that the service has and Clary does not, or not in the client's protocol."""
    how = " over smithy-rpc-v2-cbor; choose its json or query protocol" if protocol == "cbor" else " yet"
    text = (
        f"Clary does not serve {operation} of {service_title}{how}. docs/reference/operations.md lists what it serves."
    )
    return AwsError("UnknownOperationException", text)


def wrong_scope(protocol: str, signing: str) -> AwsError:
    """A good signature that was made for another service."""
    code = "SignatureDoesNotMatch" if protocol == "query" else "InvalidSignatureException"
    text = f"Credential should be scoped to correct service: '{signing}'."
    return AwsError(code, text, 403 if protocol == "query" else 400)


def refused_field(service: str, path: str, note: str) -> AwsError:
    """A field that Clary knows and does not serve: named, with the reason."""
    text = f"1 validation error detected: Value at '{path}' failed to satisfy constraint: Member is not served by Clary"
    return invalid(service, f"{text}: {note}" if note else f"{text}.")


def forbidden_origin(protocol: str, message: str) -> AwsError:
    """A request from a page of another site, or under a name that is not this machine's."""
    return AwsError("AccessDeniedException" if protocol in ("json", "rest-json") else "AccessDenied", message, 403)


# -- signatures --------------------------------------------------------------------------------------------------------

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


def of_signature(protocol: str, error: sigv4.SigV4Error | None) -> AwsError:
    """The answer to a request that is not, or badly, signed (None: not at all).

    `protocol`: `s3`, `query` (a query-compatible JSON service counts as one: its clients keep the codes they know), or
    any other.
    """
    if protocol == "s3":
        return _s3_signature(error)
    code, message, status = _signature(error)
    if protocol == "query":
        # The query services name their codes without a suffix and answer 403.
        renamed = {"UnrecognizedClientException": "InvalidClientTokenId", "InvalidSignatureException": _S3_MISMATCH}
        return AwsError(renamed.get(code, code.removesuffix("Exception")), message, 403)
    return AwsError(code, message, status)


_S3_MISMATCH = "SignatureDoesNotMatch"


def _signature(error: sigv4.SigV4Error | None) -> tuple[str, str, int]:
    if error is None:
        return "MissingAuthenticationTokenException", "Request is missing Authentication Token", 400
    if isinstance(error, sigv4.UnknownKey):
        return "UnrecognizedClientException", "The security token included in the request is invalid.", 400
    if isinstance(error, sigv4.SessionExpired):
        return "ExpiredTokenException", "The security token included in the request is expired", 400
    if isinstance(error, sigv4.Stale):
        return "InvalidSignatureException", _stale(error), 400
    if isinstance(error, sigv4.Expired):
        expired, now = sigv4.timestamp_of(error.expired_s), sigv4.timestamp_of(error.now_s)
        return "InvalidSignatureException", f"Signature expired: {expired} is now earlier than {now}.", 400
    if isinstance(error, sigv4.Unsigned):
        name = error.headers[0]
        shown = "'Host' or ':authority'" if name == "host" else f"'{name}'"
        return "InvalidSignatureException", f"{shown} must be a 'SignedHeader' in the AWS Authorization.", 400
    if isinstance(error, sigv4.Malformed):
        return "IncompleteSignatureException", error.message, 400
    return "InvalidSignatureException", _MISMATCH, 400


def _stale(error: sigv4.Stale) -> str:
    now = sigv4.timestamp_of(error.now_s)
    if error.too_old:
        edge = sigv4.timestamp_of(error.now_s - sigv4.SKEW_S)
        return f"Signature expired: {error.timestamp} is now earlier than {edge} ({now} - 15 min.)"
    edge = sigv4.timestamp_of(error.now_s + sigv4.SKEW_S)
    return f"Signature not yet current: {error.timestamp} is still later than {edge} ({now} + 15 min.)"


def _s3_signature(error: sigv4.SigV4Error | None) -> AwsError:
    if error is None:
        return AwsError("AccessDenied", "Access Denied", 403)
    if isinstance(error, sigv4.UnknownKey):
        text = "The AWS Access Key Id you provided does not exist in our records."
        return AwsError("InvalidAccessKeyId", text, 403, {"AWSAccessKeyId": error.key_id})
    if isinstance(error, sigv4.SessionExpired):
        return AwsError("ExpiredToken", "The provided token has expired.", 400)
    if isinstance(error, sigv4.Stale):
        members = {
            "RequestTime": error.timestamp,
            "ServerTime": _iso(error.now_s),
            "MaxAllowedSkewMilliseconds": str(sigv4.SKEW_S * 1000),
        }
        text = "The difference between the request time and the current time is too large."
        return AwsError("RequestTimeTooSkewed", text, 403, members)
    if isinstance(error, sigv4.Expired):
        members = {
            "X-Amz-Expires": str(error.expires_s),
            "Expires": _iso(error.expired_s),
            "ServerTime": _iso(error.now_s),
        }
        return AwsError("AccessDenied", "Request has expired", 403, members)
    if isinstance(error, sigv4.Unsigned):
        text = "There were headers present in the request which were not signed"
        return AwsError("AccessDenied", text, 403, {"HeadersNotSigned": ", ".join(error.headers)})
    if isinstance(error, sigv4.Malformed):
        if error.presigned:
            return AwsError("AuthorizationQueryParametersError", error.message, 400)
        text = f"The authorization header is malformed; {error.message}"
        return AwsError("AuthorizationHeaderMalformed", text, 400)
    text = f"{_MISMATCH.partition('Check')[0]}Check your key and signing method."
    members = {}
    if isinstance(error, sigv4.BadSignature):
        members = {
            "AWSAccessKeyId": error.key_id,
            "StringToSign": error.string_to_sign,
            "SignatureProvided": error.provided,
            "CanonicalRequest": error.canonical_request,
        }
    return AwsError("SignatureDoesNotMatch", text, 403, members)


def _iso(at_s: int) -> str:
    stamp = sigv4.timestamp_of(at_s)
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:]}"
