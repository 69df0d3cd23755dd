"""Error codes and texts, frozen: Terraform, Airflow, SDKs and waiters match on them.

Each row says where its text comes from: `public-issue` (seen in answers of the hosted service that users posted),
`aws-docs` (API reference or user guide), `ours`.
"""

from __future__ import annotations

import pytest

from clary.domain import errors as domain
from clary.edge.aws import errors
from clary.edge.aws.errors import AwsError, of_domain, of_signature
from clary.kit import sigv4

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
CREDENTIAL = sigv4.Credential("AK", "20310105", "us-east-1", "sagemaker")
AT_S = sigv4.instant_s("20310105T080000Z")
MISMATCH = "The request signature we calculated does not match the signature you provided. "
CONSULT = "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
BAD = sigv4.BadSignature("AK", "to sign", "canonical", "00")

FACTS = [
    ("public-issue", domain.NotFound("endpoint", "e", f"{ARN}:endpoint/e"), "ValidationException", 400,
     f'Could not find endpoint "{ARN}:endpoint/e".'),
    ("public-issue", domain.NotFound("endpoint-config", "c", f"{ARN}:endpoint-config/c"), "ValidationException", 400,
     f'Could not find endpoint configuration "{ARN}:endpoint-config/c".'),
    ("public-issue", domain.NotFound("model", "m", f"{ARN}:model/m"), "ValidationException", 400,
     f'Could not find model "{ARN}:model/m".'),
    ("public-issue", domain.AlreadyExists("endpoint", "e", f"{ARN}:endpoint/e"), "ValidationException", 400,
     f'Cannot create already existing endpoint "{ARN}:endpoint/e".'),
    ("public-issue", domain.AlreadyExists("endpoint-config", "c", f"{ARN}:endpoint-config/c"), "ValidationException",
     400, f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/c".'),
    ("public-issue", domain.AlreadyExists("model", "m", f"{ARN}:model/m"), "ValidationException", 400,
     f'Cannot create already existing model "{ARN}:model/m".'),
    ("public-issue", domain.InTransition("endpoint", "e", f"{ARN}:endpoint/e"), "ValidationException", 400,
     f'Cannot update in-progress endpoint "{ARN}:endpoint/e".'),
    ("ours", domain.Invalid("X is not Y; give Z."), "ValidationException", 400, "X is not Y; give Z."),
    ("ours", domain.NotServed("DataCaptureConfig", "Leave it out."), "ValidationException", 400,
     "DataCaptureConfig is not served by Clary. Leave it out."),
    ("ours", domain.LimitExceeded("tags on a resource", 50, "tags"), "ResourceLimitExceeded", 400,
     "The limit of 50 tags for tags on a resource is reached."),
    ("ours", domain.ArtifactError("The archive is not a tar.gz.", "Pack it anew."), "ValidationException", 400,
     "The archive is not a tar.gz. Pack it anew."),
]  # fmt: skip

SIGNATURES = [
    ("aws-docs", "json", None, "MissingAuthenticationTokenException", 400,
     "Request is missing Authentication Token"),
    ("public-issue", "json", sigv4.UnknownKey("AK"), "UnrecognizedClientException", 400,
     "The security token included in the request is invalid."),
    ("public-issue", "json", BAD, "InvalidSignatureException", 400, MISMATCH + CONSULT),
    ("public-issue", "json", sigv4.Stale("20310105T080000Z", AT_S + 3600), "InvalidSignatureException", 400,
     "Signature expired: 20310105T080000Z is now earlier than 20310105T084500Z (20310105T090000Z - 15 min.)"),
    ("public-issue", "json", sigv4.Stale("20310105T080000Z", AT_S - 3600), "InvalidSignatureException", 400,
     "Signature not yet current: 20310105T080000Z is still later than 20310105T071500Z (20310105T070000Z + 15 min.)"),
    ("aws-docs", "json", sigv4.Malformed("Authorization header requires 'Credential' parameter."),
     "IncompleteSignatureException", 400, "Authorization header requires 'Credential' parameter."),
    ("public-issue", "json", sigv4.Unsigned(("host",)), "InvalidSignatureException", 400,
     "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."),
    ("aws-docs", "query", None, "MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
    ("public-issue", "query", sigv4.UnknownKey("AK"), "InvalidClientTokenId", 403,
     "The security token included in the request is invalid."),
    ("public-issue", "query", BAD, "SignatureDoesNotMatch", 403, MISMATCH + CONSULT),
    ("public-issue", "query", sigv4.Malformed("m"), "IncompleteSignature", 403, "m"),
    ("public-issue", "s3", None, "AccessDenied", 403, "Access Denied"),
    ("aws-docs", "s3", sigv4.UnknownKey("AK"), "InvalidAccessKeyId", 403,
     "The AWS Access Key Id you provided does not exist in our records."),
    ("aws-docs", "s3", BAD, "SignatureDoesNotMatch", 403, MISMATCH + "Check your key and signing method."),
    ("aws-docs", "s3", sigv4.Stale("20310105T080000Z", AT_S + 3600), "RequestTimeTooSkewed", 403,
     "The difference between the request time and the current time is too large."),
    ("public-issue", "s3", sigv4.Expired(AT_S, AT_S + 1, 60), "AccessDenied", 403, "Request has expired"),
    ("public-issue", "s3", sigv4.Unsigned(("x-amz-acl",)), "AccessDenied", 403,
     "There were headers present in the request which were not signed"),
    ("public-issue", "s3", sigv4.Malformed("the Credential is mal-formed"), "AuthorizationHeaderMalformed", 400,
     "The authorization header is malformed; the Credential is mal-formed"),
    ("aws-docs", "s3", sigv4.Malformed("m", presigned=True), "AuthorizationQueryParametersError", 400, "m"),
]  # fmt: skip

OTHERS = [
    ("aws-docs", errors.internal("json"), "InternalFailure", 500,
     "The request processing has failed because of an unknown error, exception or failure."),
    ("aws-docs", errors.internal("s3"), "InternalError", 500,
     "We encountered an internal error. Please try again."),
    ("ours", errors.not_served("Amazon SageMaker", "CreateLabelingJob", "json"), "UnknownOperationException", 400,
     "Clary does not serve CreateLabelingJob of Amazon SageMaker yet. docs/reference/operations.md lists what it "
     "serves."),
    ("ours", errors.refused_field("sagemaker", "dataCaptureConfig", "Comes later."), "ValidationException", 400,
     "1 validation error detected: Value at 'dataCaptureConfig' failed to satisfy constraint: Member is not served by "
     "Clary: Comes later."),
    ("public-issue", errors.invalid("cloudwatch", "1 validation error detected: ..."), "ValidationError", 400,
     "1 validation error detected: ..."),
    ("public-issue", errors.invalid("sagemaker-runtime", "m"), "ValidationError", 400, "m"),
    ("public-issue", errors.unreadable("json", "NUMBER_VALUE can not be converted to a String"),
     "SerializationException", 400, "NUMBER_VALUE can not be converted to a String"),
    ("public-issue", errors.unreadable("query", "timestamp must follow ISO8601"), "MalformedInput", 400,
     "timestamp must follow ISO8601"),
    ("public-issue", errors.wrong_scope("json", "sagemaker"), "InvalidSignatureException", 400,
     "Credential should be scoped to correct service: 'sagemaker'."),
]  # fmt: skip


def check(error: AwsError, code: str, status: int, text: str) -> None:
    assert (error.code, error.status, error.message) == (code, status, text)


@pytest.mark.parametrize(("source", "fact", "code", "status", "text"), FACTS)
def test_facts_of_the_domain(source: str, fact: domain.DomainError, code: str, status: int, text: str) -> None:
    check(of_domain("sagemaker", fact), code, status, text)


@pytest.mark.parametrize(("source", "protocol", "error", "code", "status", "text"), SIGNATURES)
def test_signatures(
    source: str, protocol: str, error: sigv4.SigV4Error | None, code: str, status: int, text: str
) -> None:
    check(of_signature(protocol, error), code, status, text)


@pytest.mark.parametrize(("source", "error", "code", "status", "text"), OTHERS)
def test_others(source: str, error: AwsError, code: str, status: int, text: str) -> None:
    check(error, code, status, text)


def test_every_fact_of_the_domain_has_words() -> None:
    told = {type(fact) for _, fact, *_ in FACTS}
    facts = {fact for fact in domain.DomainError.__subclasses__() if fact.__module__ == domain.__name__}
    assert facts - told == set()


def test_s3_shows_what_it_signed() -> None:
    members = of_signature("s3", BAD).members
    assert members["StringToSign"] == "to sign"
    assert of_signature("s3", sigv4.Expired(AT_S, AT_S + 1, 60)).members["Expires"] == "2031-01-05T08:00:00Z"
