"""Tags: AddTags' rules (API reference) that a shape cannot say."""

from __future__ import annotations

from clary.domain.errors import Invalid, LimitExceeded

TAGS_MAX = 50
"""Tags on one resource."""


def merge_tags(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Old tags with the new ones over them. Raises LimitExceeded above 50, Invalid for the reserved prefix."""
    for key in new:
        if key.lower().startswith("aws:"):
            raise Invalid(f"The tag key '{key}' starts with aws:, which is reserved.")
    merged = {**old, **new}
    if len(merged) > TAGS_MAX:
        raise LimitExceeded("tags on a resource", TAGS_MAX, "tags")
    return merged


def unique_tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Pairs as a mapping; Invalid where a key stands twice."""
    tags = dict(pairs)
    if len(tags) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in {k for k, _ in pairs[:index]})
        raise Invalid(f"Duplicate tag keys found: '{twice}' is given more than once.")
    return tags
