"""Being a role: the target with a session's credentials, as code in a notebook has them."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from clary.cli.api import Api, ApiError, xml_text
from clary.cli.connect import Keys, Target

SESSION = "SageMaker"
"""Session name; that of the hosted notebooks."""
LONGEST_S = 43_200
"""As long as a session may be; a role that was created with less gives what it has by default."""


def as_role(target: Target, role: str) -> Target:
    """`target`, asked by a session of `role`, a name in the caller's account or an ARN. Raises CliError."""
    api = Api(target)
    arn = role if role.startswith("arn:") else f"arn:aws:iam::{api.account()}:role/{role}"
    try:
        answer = _assume(api, arn, {"DurationSeconds": str(LONGEST_S)})
    except ApiError as error:
        if error.aws_code != "ValidationError":
            raise
        answer = _assume(api, arn, {})
    key_id, secret, token = (xml_text(answer, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return replace(target, keys=Keys(key_id, secret, token, f"role {arn}"))


def _assume(api: Api, arn: str, more: dict[str, str]) -> bytes:
    fields = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": arn, "RoleSessionName": SESSION, **more}
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return api.call("POST", "/", service="sts", headers=headers, body=urlencode(fields).encode()).body
