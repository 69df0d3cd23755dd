"""What can go wrong, as facts. Doors choose codes, statuses and texts from these (edge/aws/errors.py)."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(eq=False)
class DomainError(Exception):
    """The root of every refusal and failure that a user may see.

    Subclasses are dataclasses, not frozen ones: Python itself sets attributes of an exception as it travels.
    """

    def __str__(self) -> str:
        facts = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return f"{type(self).__name__}({facts})"


@dataclass(eq=False)
class NotFound(DomainError):  # noqa: N818 - named by the fact, as the field does
    """No such resource. `kind` is a resource noun (`endpoint`); `arn` is what was asked for."""

    kind: str
    name: str
    arn: str


@dataclass(eq=False)
class AlreadyExists(DomainError):  # noqa: N818
    """A resource of that name (compared without case) exists."""

    kind: str
    name: str
    arn: str


@dataclass(eq=False)
class InTransition(DomainError):  # noqa: N818
    """The resource is being created, updated or deleted and refuses the change until that ends."""

    kind: str
    name: str
    arn: str


@dataclass(eq=False)
class Invalid(DomainError):  # noqa: N818
    """The request breaks a rule. `message` names the field, the value and the remedy."""

    message: str


@dataclass(eq=False)
class NotServed(DomainError):  # noqa: N818
    """A feature or field that Clary knows and does not serve yet: refused by name, never ignored."""

    what: str
    remedy: str = ""


@dataclass(eq=False)
class LimitExceeded(DomainError):  # noqa: N818
    """A documented limit was reached. `limit` is in `unit`."""

    what: str
    limit: int
    unit: str


@dataclass(eq=False)
class ArtifactError(DomainError):
    """A model artifact cannot be used. `cause` says why, `remedy` what to do; both end in FailureReason."""

    cause: str
    remedy: str
