"""Who asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """The caller of one request; goes into every audit row and log line."""

    account: str
    """Twelve digits."""
    arn: str
    """`arn:aws:iam::ACCOUNT:root` without --auth, else `arn:aws:iam::ACCOUNT:user/NAME`."""
    key_id: str
    """The access key id as sent; empty for an unsigned request."""
    session: str = ""
    """Name of the assumed-role session; empty for a long-term key."""
    user_id: str = ""
    """`AROA...:NAME` of an assumed role; empty: the key id stands for it."""
    temporary: bool = False
    """Whether the credentials end (AssumeRole, GetSessionToken)."""
    parent: str = ""
    """The long-term key behind temporary credentials; empty where the server itself made them, for a worker."""


@dataclass(frozen=True)
class Scope:
    """Where a resource lives: names are unique within one account and region."""

    account: str
    region: str


def _nothing() -> str:
    return ""


@dataclass
class Asked:
    """What a request asks for, as far as the audit keeps it; empty for what Clary does by itself."""

    source: str = ""
    """The service: `sagemaker.amazonaws.com`."""
    operation: str = ""
    """As its clients name it: `CreateEndpoint`."""
    user_agent: str = ""
    source_ip: str = ""
    parameters: Callable[[], str] = _nothing
    """Gives the input as JSON, secrets hidden."""
    kind: str = ""
    """The noun of what it names, where no use case tells: `log-group`."""
    name: str = ""
    """Its name."""
    recorded: bool = False
    """Set once an audit row tells of it."""
