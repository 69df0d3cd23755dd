"""ARNs and names.

Endpoint and endpoint-config ARNs carry the name in lower case while the resource keeps the case it was given;
names that differ only in case are one name (observed from the hosted service, 2023).
"""

from __future__ import annotations

from clary.domain.principal import Scope

KINDS = ("model", "endpoint-config", "endpoint")


def arn_of(kind: str, scope: Scope, name: str) -> str:
    """`arn:aws:sagemaker:REGION:ACCOUNT:KIND/name`, the name in lower case."""
    return f"arn:aws:sagemaker:{scope.region}:{scope.account}:{kind}/{name.lower()}"


def name_key(name: str) -> str:
    """What two names that are one name have in common."""
    return name.lower()
