"""What is wrong with an expression."""

from __future__ import annotations

from dataclasses import dataclass

from clary.domain.errors import DomainError


@dataclass(eq=False)
class BadExpression(DomainError):  # noqa: N818 - named by the fact, as the domain's errors are
    """An expression that cannot be read, or that cannot be applied to what it refers to.

    `message` has no full stop; whoever knows the expression's id puts it in front.
    """

    message: str

    def __str__(self) -> str:
        return self.message
