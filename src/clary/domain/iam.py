"""Roles and policies as IAM keeps them: stored and returned, not enforced.

Every access key of an account may do everything in it; a role says whose name a session bears, no more. Rules are
IAM's of the API reference and its quotas page, those that a shape cannot say.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Mapping  # noqa: UP035 - Python 3.9

from clary.domain.errors import DomainError, Invalid, LimitExceeded

ROLES_MAX = 1_000
POLICIES_MAX = 1_500
ATTACHED_MAX = 10
"""Managed policies attached to one role."""
TRUST_CHARS_MAX = 4_096
MANAGED_CHARS_MAX = 6_144
INLINE_CHARS_MAX = 10_240
"""All inline policies of one role together; white space counts nowhere."""
SESSION_DEFAULT_S = 3_600
MANAGED_BY_AWS = re.compile(r"arn:aws[a-z-]*:iam::aws:policy/(?P<path>[!-~]+/)?(?P<name>[\w+=,.@-]+)", re.ASCII)
_VERSIONS = ("2012-10-17", "2008-10-17")


@dataclass(eq=False)
class MalformedPolicy(Invalid):
    """A policy document that is none."""


@dataclass(eq=False)
class InUse(DomainError):  # noqa: N818 - named by the fact
    """Something still hangs on it. `message` says what to do first."""

    message: str


@dataclass(frozen=True)
class RoleSpec:
    """A role. Documents as they were given."""

    trust: str
    """AssumeRolePolicyDocument."""
    path: str = "/"
    description: str = ""
    session_s: int = SESSION_DEFAULT_S
    """MaxSessionDuration in seconds."""
    boundary: str = ""
    """ARN of the permissions boundary; empty where none is given."""
    tags: Mapping[str, str] = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    """ARNs of managed policies, in the order of attaching."""
    inline: Mapping[str, str] = field(default_factory=dict)
    """Documents by policy name."""


@dataclass(frozen=True)
class PolicySpec:
    """A customer managed policy, in its one version v1."""

    document: str
    path: str = "/"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def check_policy(document: str, chars_max: int, what: str) -> None:
    """MalformedPolicy for what is no policy in JSON, LimitExceeded for one that is too long without white space."""
    try:
        said = json.loads(document)
    except ValueError:
        raise MalformedPolicy("This policy contains invalid Json") from None
    if not isinstance(said, dict) or said.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise MalformedPolicy("Syntax errors in policy.")
    statements = said.get("Statement")
    listed = [statements] if isinstance(statements, dict) else statements
    if not isinstance(listed, list) or not listed:
        raise MalformedPolicy("Syntax errors in policy.")
    for statement in listed:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise MalformedPolicy("Syntax errors in policy.")
        if not ("Action" in statement or "NotAction" in statement):
            raise MalformedPolicy("Policy statement must contain actions.")
    size = size_of(document)
    if size > chars_max:
        raise LimitExceeded(what, chars_max, "characters")


def size_of(document: str) -> int:
    """Characters that count: white space does not."""
    return sum(not char.isspace() for char in document)
